"""The measured code as deployed: the layers with their bytecode, built for this machine, with nothing else on the path."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from tools.build import ROOT, sam_environment

FOLDER = ROOT / ".aws-sam" / "bench"
FUNCTIONS = ROOT / "functions"
PEERS = ROOT / "benchmarks" / "peers"
LAYERS = ("DependenciesLayer", "PracticeLayer")
SOURCES = (
    "Makefile",
    "dependencies/requirements.txt",
    "practice/practice/runtime/services.py",
    "reduce_descriptions.py",
)
"""Of the first one."""
PEER_NAMES = {
    "FastAPI + Mangum": "fastapi_mangum",
    "Powertools resolver": "powertools",
    "Flask + apig-wsgi": "flask_wsgi",
    "PynamoDB": "pynamodb_store",
}
PEER_PACKAGES = sorted((ROOT / ".tools" / "bench" / "lib").glob("python3*/site-packages"))
PYTHON_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}


def make_layers() -> None:
    """Builds with the makefile that `sam build` calls, without cryptography, as for a deployment with a shared secret."""
    for layer in LAYERS:
        target = FOLDER / layer
        made = target / ".made"
        newest = max((ROOT / "layers" / source).stat().st_mtime for source in SOURCES)
        if layer == "DependenciesLayer" and made.exists() and made.stat().st_mtime > newest:
            continue
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        subprocess.run(
            [
                "make",
                "--no-print-directory",
                "-C",
                ROOT / "layers",
                f"build-{layer}",
                f"ARTIFACTS_DIR={target}",
            ],
            env=sam_environment()
            | {
                "PYTHON_VERSION": PYTHON_VERSION,
                "ARCHITECTURE": ARCHITECTURES[platform.machine()],
                "RELEASE": "1",
                "PATH": f"{Path(sys.base_prefix) / 'bin'}:{sam_environment()['PATH']}",
            },
            check=True,
            stdout=subprocess.DEVNULL,
        )
        made.touch()

    compiled = FOLDER / "peers"
    for packages in PEER_PACKAGES:
        lock = ROOT / "requirements" / "bench.txt"
        if not compiled.exists() or compiled.stat().st_mtime < lock.stat().st_mtime:
            command = [
                sys.executable,
                "-m",
                "compileall",
                "-q",
                "-f",
                "--invalidation-mode",
                "unchecked-hash",
            ]
            subprocess.run([*command, packages], check=True)
            compiled.touch()


def path_of_ours(operation: str) -> list[Path]:
    return [FUNCTIONS / operation, *(FOLDER / layer / "python" for layer in LAYERS)]


def path_of_floor() -> list[Path]:
    return [PEERS / "floor", FOLDER / "DependenciesLayer" / "python"]


def path_of_peer(name: str) -> list[Path]:
    """With the package of the service last, for its schemas."""
    return [PEERS / name, PEERS / "shared", *PEER_PACKAGES, FOLDER / "PracticeLayer" / "python"]


def environment(path: list[Path], variables: dict[str, str]) -> dict[str, str]:
    """For a process that imports only from `path` and writes no bytecode."""
    return {
        "PATH": "/usr/bin:/bin",
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_FUNCTION_NAME": "measured",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "AWS_LAMBDA_FUNCTION_TIMEOUT": "29",
        **variables,
    }
