"""The database engine: dynoxide where there is a build of it, else moto in this process; any other by URL."""

import ctypes
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from local.http import Request, Response
from local.intrinsics import REGION
from local.server import Server

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

CAPABILITIES = frozenset({"persistence", "streams", "capacity", "load"})
STARTUP_SECONDS = 10.0
SHORTEST_LIFE_SECONDS = 5.0
"""An engine that ends sooner would only end again."""

log = logging.getLogger("local.engine")


class EngineError(Exception):
    """The engine cannot be started or used; the message is one line for the user."""


@dataclass(frozen=True)
class Engine:
    name: str
    endpoint: str
    capabilities: frozenset[str]
    _stop: Callable[[], None] = field(default=lambda: None, repr=False)
    _empty: Callable[[], None] = field(default=lambda: None, repr=False)

    def stop(self) -> None:
        self._stop()

    def empty(self) -> None:
        """One in memory begins anew, without tables and without what its streams had; others stay as they are."""
        self._empty()

    def client(self) -> "DynamoDBClient":
        client: DynamoDBClient = self._client("dynamodb")
        return client

    def streams(self) -> Any:
        return self._client("dynamodbstreams")

    def _client(self, service: str) -> Any:
        return botocore.session.Session().create_client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id="local",
            aws_secret_access_key="local",  # noqa: S106 (every engine takes any)
            # dynoxide's sequence numbers and shard ids are shorter than botocore allows.
            config=Config(parameter_validation=False, retries={"max_attempts": 2}),
        )


def start_engine(
    root: Path,
    data: Path | None,
    environment: Mapping[str, str] = os.environ,
    failed: Callable[[str], None] = log.error,
) -> Engine:
    """The engine for this machine, keeping its data in `data`, or in memory without it.

    `failed` is called, with one line for the user, when the engine has ended for good.
    """
    if endpoint := environment.get("DYNAMODB_ENDPOINT"):
        return Engine("DYNAMODB_ENDPOINT", endpoint, CAPABILITIES)
    program = find_dynoxide(root, environment)
    if program:
        process = _Dynoxide(program, data, failed)
        address = f"http://127.0.0.1:{process.port}"
        if data is not None:
            return Engine("dynoxide", address, CAPABILITIES, process.stop)
        return Engine("dynoxide", address, CAPABILITIES - {"persistence"}, process.stop, process.begin_anew)
    if data is not None:
        print(
            "no dynoxide: moto serves the table, its data ends with this process (install Node.js and npm for dynoxide)",
            file=sys.stderr,
        )
    return start_moto()


def find_dynoxide(root: Path, environment: Mapping[str, str] = os.environ) -> str | None:
    if chosen := environment.get("DYNOXIDE"):
        if chosen == "none":
            return None
        if not os.access(chosen, os.X_OK) or not _can_be_run(chosen):
            raise EngineError(f"DYNOXIDE={chosen} is not a program")
        return chosen
    for program in sorted((root / "node_modules" / "@dynoxide").glob("*/dynoxide")):
        if _runs(program):
            return str(program)
    return shutil.which("dynoxide", path=environment.get("PATH"))


def _runs(program: Path) -> bool:
    """Whether it is a build for this machine: npm can be configured to fetch another."""
    try:
        return (
            subprocess.run([program, "--version"], capture_output=True, timeout=STARTUP_SECONDS).returncode
            == 0
        )
    except (OSError, subprocess.TimeoutExpired):
        return False


def _can_be_run(program: str) -> bool:
    """Whether the system takes it as a program, whatever it answers."""
    try:
        subprocess.run([program, "--version"], capture_output=True, timeout=STARTUP_SECONDS, check=False)
    except OSError:
        return False
    except subprocess.TimeoutExpired:
        return True
    return True


class _Dynoxide:
    """The engine's process. One that ends by itself is started again where it keeps its data."""

    def __init__(self, program: str, data: Path | None, failed: Callable[[str], None]) -> None:
        self.port = free_port()
        self._command = [program, "--host", "127.0.0.1", "--port", str(self.port)]
        self._pid_file = data / "engine.pid" if data else None
        if data and self._pid_file:
            database = data / "table.db"
            _stop_orphan(self._pid_file, str(database))
            self._command += ["--db-path", str(database)]
        self._failed = failed
        self._stopping = threading.Event()
        self._start()
        self._begin_to_watch()

    def begin_anew(self) -> None:
        self.stop()
        self._stopping = threading.Event()
        self._start()
        self._begin_to_watch()

    def stop(self) -> None:
        self._stopping.set()
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._output.close()
        if self._pid_file:
            self._pid_file.unlink(missing_ok=True)

    def _start(self) -> None:
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 (as long as the process)
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            # Ctrl-C in the terminal is for the stack, which stops its engine last.
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509
        )
        if self._pid_file:
            self._pid_file.write_text(str(self._process.pid))
        deadline = time.monotonic() + STARTUP_SECONDS
        while not _listens(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                code = self._process.wait()
                raise EngineError(
                    f"the database engine did not start ({self._end(code)}): "
                    "set DATA to another folder, or DYNOXIDE to a working dynoxide"
                )
            time.sleep(0.01)

    def _end(self, code: int) -> str:
        with self._output as output:
            output.seek(0)
            printed = " ".join(output.read(2000).decode(errors="replace").split())
        return f"exit code {code}" + (f", {printed}" if printed else "")

    def _begin_to_watch(self) -> None:
        threading.Thread(target=self._watch, args=(self._stopping,), daemon=True).start()

    def _watch(self, stopping: threading.Event) -> None:
        while True:
            began = time.monotonic()
            code = self._process.wait()
            if stopping.is_set():
                return
            ended = f"the database engine ended by itself ({self._end(code)})"
            if self._pid_file is None or time.monotonic() - began < SHORTEST_LIFE_SECONDS:
                self._failed(f"{ended}: start the stack again")
                return
            log.warning("%s, starting it again", ended)
            try:
                self._start()
            except EngineError as error:
                self._failed(str(error))
                return
            if stopping.is_set():
                self._process.kill()


LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _stop_orphan(pid_file: Path, database: str) -> None:
    """End the engine of a stack that was killed, where the system did not: one file takes one engine."""
    try:
        pid = int(pid_file.read_text())
    except (FileNotFoundError, ValueError):
        return
    ps = ["ps", "-o", "command=", "-p", str(pid)]

    def is_ours() -> bool:
        return database in subprocess.run(ps, capture_output=True, text=True, check=False).stdout

    deadline = time.monotonic() + 5
    while is_ours():
        os.kill(pid, signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL)
        time.sleep(0.05)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_moto() -> Engine:
    """moto behind a loopback port, one request at a time: it does not lock what conditions rely on."""
    import requests
    from moto import mock_aws

    mock = mock_aws(config={"core": {"reset_boto3_session": False}})
    turn = threading.Lock()

    def answer(request: Request) -> Response:
        kept = ("x-amz-target", "content-type", "authorization")
        headers = {name: value for name, value in request.headers if name.lower() in kept}
        with turn:
            answered = requests.post(
                f"http://dynamodb.{REGION}.amazonaws.com/", data=request.body, headers=headers, timeout=60
            )
        return Response(
            answered.status_code, [("content-type", "application/x-amz-json-1.0")], answered.content
        )

    mock.start()
    server = Server(answer, body_limit=lambda target: 1 << 26)
    server.start()

    def stop() -> None:
        server.close()
        mock.stop()

    return Engine("moto", server.url, frozenset(), stop)


@contextmanager
def answering(engine: Engine) -> Iterator[None]:
    """Raises EngineError when what is at the engine's address is no DynamoDB."""
    try:
        yield
    except (BotoCoreError, ClientError, ValueError) as error:
        raise EngineError(f"{engine.name}={engine.endpoint} does not answer as DynamoDB ({error})") from None


def create_table(client: "DynamoDBClient", declared: Mapping[str, Any]) -> None:
    """Make the template's table, unless it is there with the same keys and indexes."""
    name = declared["TableName"]
    kept = (
        "TableName",
        "AttributeDefinitions",
        "KeySchema",
        "LocalSecondaryIndexes",
        "GlobalSecondaryIndexes",
    )
    request: dict[str, Any] = {key: declared[key] for key in kept if key in declared}
    request["BillingMode"] = "PAY_PER_REQUEST"
    if stream := declared.get("StreamSpecification"):
        request["StreamSpecification"] = {"StreamEnabled": True, **stream}
    try:
        client.create_table(**request)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceInUseException":
            raise
        _check_shape(client.describe_table(TableName=name)["Table"], declared)
        return
    ttl = declared.get("TimeToLiveSpecification")
    if ttl and ttl.get("Enabled"):
        client.update_time_to_live(
            TableName=name, TimeToLiveSpecification={"AttributeName": ttl["AttributeName"], "Enabled": True}
        )


def _check_shape(existing: Mapping[str, Any], declared: Mapping[str, Any]) -> None:
    def shape(table: Mapping[str, Any]) -> Any:
        indexes = [*table.get("LocalSecondaryIndexes", []), *table.get("GlobalSecondaryIndexes", [])]
        return sorted(map(repr, table["KeySchema"])), sorted(
            (
                index["IndexName"],
                repr(index["KeySchema"]),
                index["Projection"]["ProjectionType"],
                sorted(index["Projection"].get("NonKeyAttributes", [])),
            )
            for index in indexes
        )

    if shape(existing) != shape(declared):
        raise EngineError(
            f"table {declared['TableName']} was made by another version of the template: "
            "delete the DATA folder, or set DATA to another"
        )
