"""`sam build` for this machine, in a folder of its own: what is built to be deployed stays as it is."""

import os
import platform
import subprocess
import sys
from pathlib import Path

from tests.e2e.fleet import Runtime
from tools import artefacts

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".aws-sam" / "e2e"
BUILD = FOLDER / "build"
LOGS = FOLDER / "logs"
ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}


def architecture() -> str:
    if sys.platform != "linux" or platform.machine() not in ARCHITECTURES:
        raise SystemExit(f"the emulator of Lambda runs on Linux, not on {sys.platform} {platform.machine()}")
    return ARCHITECTURES[platform.machine()]


def runtime() -> Runtime:
    """The emulator is part of aws-sam-cli; the Python is the one that make installed for the project."""
    rapid = ROOT / ".tools" / "sam" / "lib"
    [emulator] = rapid.glob(f"python3*/site-packages/samcli/local/rapid/aws-lambda-rie-{architecture()}")
    if not os.access(emulator, os.X_OK):  # a package's files need not be
        emulator.chmod(0o755)
    return Runtime(emulator, ROOT / ".tools" / "e2e" / "bin" / "python")


def python_version() -> str:
    version = "import sys; print('%d.%d' % sys.version_info[:2])"
    python = ROOT / ".tools" / "e2e" / "bin" / "python"
    return subprocess.run([python, "-c", version], check=True, capture_output=True, text=True).stdout.strip()


def build() -> None:
    """Build every function and layer, and check the result as a release is checked."""
    version = python_version()
    print(f"building for python{version} on {architecture()}", flush=True)
    LOGS.mkdir(parents=True, exist_ok=True)
    sam = [
        str(ROOT / ".tools" / "sam" / "bin" / "python"),
        "-m",
        "samcli",
        "build",
        "--build-dir",
        str(BUILD),
    ]
    parameters = [f"LambdaRuntime=python{version}", f"LambdaArchitecture={architecture()}"]
    path = os.pathsep.join([str(ROOT / ".venv" / "bin"), os.environ.get("PATH", os.defpath)])
    target = {"PYTHON_VERSION": version, "ARCHITECTURE": architecture(), "RELEASE": "1"}
    done = subprocess.run(
        [*sam, "--parameter-overrides", *parameters],
        cwd=ROOT,
        env={**os.environ, "SAM_CLI_TELEMETRY": "0", "PATH": path, **target},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    if artefacts.main(BUILD, version, architecture(), release=True):
        raise SystemExit("what was built is not what may be deployed")
