"""`python -m tools.build [every]`: `sam build` for PYTHON_VERSION and ARCHITECTURE, and a check of what came out.

A makefile build learns nothing of the template's parameters: here both are set from one pair of values. With
RELEASE set there must be bytecode. `every` builds for each runtime and processor that the template allows, and keeps none.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from local.intrinsics import parse
from tools import artefacts

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / ".aws-sam" / "build"
SAM = [str(ROOT / ".tools" / "sam" / "bin" / "python"), "-m", "samcli"]


def build(folder: Path, version: str, architecture: str, release: bool) -> None:
    """Fails with one clear line, or with all that sam said."""
    if architecture not in artefacts.ELF_MACHINES:
        raise SystemExit(f"ARCHITECTURE is {' or '.join(artefacts.ELF_MACHINES)}, not {architecture!r}")
    print(f"building for python{version} on {architecture}", flush=True)
    target = {"PYTHON_VERSION": version, "ARCHITECTURE": architecture, "RELEASE": "1" if release else ""}
    parameters = [f"LambdaRuntime=python{version}", f"LambdaArchitecture={architecture}"]
    done = subprocess.run(
        [*SAM, "build", "--build-dir", str(folder), "--parameter-overrides", *parameters],
        cwd=ROOT,
        env=sam_environment() | target,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    if artefacts.main(folder, version, architecture, release):
        raise SystemExit("what was built cannot be deployed")


def sam_environment() -> dict[str, str]:
    """The project's uv comes first on the PATH."""
    path = os.pathsep.join([str(ROOT / ".venv" / "bin"), os.environ.get("PATH", os.defpath)])
    return {**os.environ, "PATH": path, "SAM_CLI_TELEMETRY": "0"}


def targets() -> list[tuple[str, str]]:
    """Every pair of a Python and a processor that the template allows."""
    parameters = parse((ROOT / "template.yaml").read_text())["Parameters"]
    runtimes, processors = (
        parameters[name]["AllowedValues"] for name in ("LambdaRuntime", "LambdaArchitecture")
    )
    return [(runtime.removeprefix("python"), processor) for runtime in runtimes for processor in processors]


def build_every() -> None:
    for version, architecture in targets():
        with tempfile.TemporaryDirectory() as folder:
            build(Path(folder) / "build", version, architecture, release=False)


def main(arguments: list[str], environment: Mapping[str, str] = os.environ) -> None:
    if arguments == ["every"]:
        build_every()
        return
    version, architecture = environment.get("PYTHON_VERSION"), environment.get("ARCHITECTURE")
    build(BUILD, version or "3.13", architecture or "arm64", bool(environment.get("RELEASE")))
    print(f"built in {BUILD.relative_to(ROOT)}")


if __name__ == "__main__":
    main(sys.argv[1:])
