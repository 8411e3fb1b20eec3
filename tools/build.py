"""`python -m tools.build [every]`: `sam build` for PYTHON_VERSION and ARCHITECTURE, and a check of the result.

A makefile build does not receive the parameters of the template, so both are set here from one pair of values. If
RELEASE is set, missing bytecode is an error. `every` builds and checks every runtime and processor of the template.
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
    """Fails with one line, or with the output of sam."""
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
        raise SystemExit("the build result cannot be deployed")


def sam_environment() -> dict[str, str]:
    """The environment with the uv of the project first on the PATH."""
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
