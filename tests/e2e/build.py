"""The build for this machine, in a folder of its own: what is built to be deployed stays as it is."""

import os
import platform
import subprocess
import sys
from pathlib import Path

from tests.e2e.fleet import Runtime
from tools.build import ROOT, build

FOLDER = ROOT / ".aws-sam" / "e2e"
BUILD = FOLDER / "build"
LOGS = FOLDER / "logs"
PYTHON = ROOT / ".tools" / "e2e" / "bin" / "python"
ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}


def architecture() -> str:
    if sys.platform != "linux" or platform.machine() not in ARCHITECTURES:
        raise SystemExit(f"the emulator of Lambda runs on Linux, not on {sys.platform} {platform.machine()}")
    return ARCHITECTURES[platform.machine()]


def runtime() -> Runtime:
    """The emulator is part of aws-sam-cli; the Python is the one that make chose for the project."""
    packages: Path = ROOT / ".tools" / "sam" / "lib"
    [emulator] = packages.glob(f"python3*/site-packages/samcli/local/rapid/aws-lambda-rie-{architecture()}")
    if not os.access(emulator, os.X_OK):  # a package's files need not be
        emulator.chmod(0o755)
    return Runtime(emulator, PYTHON)


def build_for_this_machine() -> None:
    """As a release: without bytecode of this Python it fails."""
    LOGS.mkdir(parents=True, exist_ok=True)
    version = "import sys; print('%d.%d' % sys.version_info[:2])"
    asked = subprocess.run([PYTHON, "-c", version], check=True, capture_output=True, text=True)
    build(BUILD, asked.stdout.strip(), architecture(), release=True)
