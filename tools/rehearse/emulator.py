"""The emulator: one process group on loopback whose files are all in one folder."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import boto3
from botocore.config import Config

from tools.build import ROOT
from tools.processes import with_parent

PYTHON = ROOT / ".tools" / "rehearse" / "bin" / "python"
PROCESS = Path(__file__).with_name("emulator_process.py")
ACCOUNT_KEY = "test"
"""The emulator takes any credentials for those of the account's root."""
REGION = "us-east-1"
START_SECONDS = 30.0
STOP_SECONDS = 10.0


@dataclass(frozen=True)
class Emulator:
    url: str
    log: Path

    @property
    def environment(self) -> dict[str, str]:
        """What makes the SAM CLI and boto3 speak to it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": ACCOUNT_KEY,
            "AWS_SECRET_ACCESS_KEY": ACCOUNT_KEY,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
        }

    def client(self, service: str) -> Any:
        make: Any = boto3.client  # the stubs know only the services that the functions use
        return make(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=ACCOUNT_KEY,
            aws_secret_access_key=ACCOUNT_KEY,
            config=Config(retries={"total_max_attempts": 1}, read_timeout=60),
        )


def address(port: int) -> str:
    return f"http://127.0.0.1:{port}"


@contextmanager
def emulator(folder: Path, port: int, *, iam: bool) -> Iterator[Emulator]:
    """Start it, and leave no process and no file of it behind. `iam` makes it evaluate the roles' policies."""
    if not PYTHON.exists():
        raise SystemExit("the emulator is not installed: make rehearse installs it")
    if in_use(port):
        raise SystemExit(f"port {port} is in use: end what listens there, or set PORT")
    temporary = folder / "temporary"
    remove(temporary)  # of a run that was killed
    temporary.mkdir(parents=True)
    log = folder / "emulator.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*with_parent(), str(PYTHON), "-P", str(PROCESS)],
            cwd=temporary,
            env=_environment(temporary, port, iam),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        running = Emulator(address(port), log)
        _wait(running, process)
        yield running
    finally:
        _end(process)
        remove(temporary)


def _environment(temporary: Path, port: int, iam: bool) -> Mapping[str, str]:
    """Nothing of the shell: functions inherit what the emulator has."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(temporary),
        "TMPDIR": str(temporary),
        "STATE_DIR": str(temporary / "state"),
        "S3_DATA_DIR": str(temporary / "s3"),
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "MINISTACK_REGION": REGION,
        "LOG_LEVEL": "INFO",
        "AUTH": str(iam).lower(),
        "LAMBDA_STRICT": "0",
        # Longer than a step waits for: to start a process takes a second of both cores, to keep it 45 MB.
        "LAMBDA_WARM_TTL_SECONDS": "600",
    }


def _wait(running: Emulator, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urlopen(f"{running.url}/_ministack/health", timeout=2):  # noqa: S310 - the address is ours
                return
        except (URLError, OSError):
            time.sleep(0.1)
    raise SystemExit(f"the emulator does not start: see {running.log}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """The functions are in its process group."""
    for number, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue


def remove(folder: Path) -> None:
    """Some 4,000 files for each process of a function: where the disk waits for each, at the same time."""
    if folder.exists():
        with ThreadPoolExecutor(16) as threads:
            list(threads.map(lambda each: shutil.rmtree(each, ignore_errors=True), folder.iterdir()))
    shutil.rmtree(folder, ignore_errors=True)


def in_use(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
