"""`python -m local run | token | event | page`"""

import argparse
import errno
import json
import logging
import os
import re
import signal
import socket
import sys
from contextlib import suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from local import web
from local.data import TOKEN_SECRET, DataError, DataFolder
from local.engine import EngineError, free_port
from local.functions import InProcess
from local.http import Request, Response, message
from local.intrinsics import TemplateError
from local.server import Server
from local.stack import ROOT, Stack, read_template, settings
from local.terminal import JsonLines, Readable
from local.tokens import mint
from practice.runtime.config import ConfigurationError, config

PLACEHOLDER = "<token>"
"""What an event file has instead of a token of user 1."""
EVENT_TOKEN_SECONDS = 600
MAX_USER_ID = 2**53 - 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("run", help="serve the whole stack until Ctrl-C or SIGTERM")
    serve.add_argument("--json", action="store_true", help="log JSON instead of lines to read (or LOG=json)")
    token = commands.add_parser("token", help="print a bearer token for the local stack")
    token.add_argument("--user-id", default="1")
    token.add_argument(
        "--ttl", type=int, default=30 * 86400, help="seconds until it expires (default: 30 days)"
    )
    event = commands.add_parser("event", help="hand an event file to the running stack")
    event.add_argument("file", type=Path)
    page = commands.add_parser("page", help="serve the page of clients/web for a stack elsewhere")
    page.add_argument("api", help="its HTTP API, the output ApiUrl")
    page.add_argument("live", help="its live API, the output LiveUrl")
    arguments = parser.parse_args()
    try:
        if arguments.command == "event":
            return send_event(arguments.file)
        if arguments.command == "page":
            return serve_page(arguments.api.rstrip("/"), arguments.live)
        if arguments.command == "token":
            return print_token(arguments.user_id, arguments.ttl)
        return run(arguments.json or os.environ.get("LOG") == "json")
    except (DataError, EngineError, TemplateError) as error:
        return _refuse(str(error))


def data_path() -> Path:
    return Path(os.environ.get("DATA") or ".local")


def print_token(user_id: str, ttl: int) -> int:
    if not re.fullmatch("[0-9]{1,16}", user_id) or not 1 <= int(user_id) <= MAX_USER_ID:
        return _refuse(f"USER_ID={user_id} is not an integer from 1 to {MAX_USER_ID}")
    print(local_token(int(user_id), ttl))
    return 0


def local_token(user_id: int, ttl: int) -> str:
    return mint(DataFolder(data_path()).secret(TOKEN_SECRET), user_id, ttl, settings(read_template()))


def send_event(file: Path) -> int:
    """Print what the function answered; refused events end with exit code 1."""
    host, port = address()
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return _refuse(f"cannot read {file}: {error}")
    if PLACEHOLDER in text:
        text = text.replace(PLACEHOLDER, local_token(1, EVENT_TOKEN_SECONDS))
    connection = HTTPConnection("127.0.0.1" if host in ("0.0.0.0", "::") else host, port)  # noqa: S104
    json_type = {"content-type": "application/json"}
    try:
        connection.request("POST", "/_local/events", text.encode(), json_type)
        response = connection.getresponse()
        answer = json.loads(response.read())
    except (OSError, HTTPException, ValueError) as error:
        return _refuse(f"no local stack answers on {host}:{port}, start it with make run ({error})")
    finally:
        connection.close()
    if response.status != HTTPStatus.OK:
        return _refuse(f"refused: {answer.get('refused', answer)}")
    for outcome in answer["outcomes"]:
        print(outcome["function"], file=sys.stderr)
        print(json.dumps(outcome["answer"], indent=2, ensure_ascii=False))
    return 0


def serve_page(api: str, live: str) -> int:
    """Until Ctrl-C or SIGTERM."""
    for given, kinds in ((api, "http"), (live, "ws")):
        if not re.fullmatch(rf"{kinds}s?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~/-]*)?", given):
            return _refuse(f"{given} is not an address of {kinds}:// or {kinds}s://")
    config = f"export const api = {json.dumps(api)};\nexport const live = {json.dumps(live)};\n"

    def answer(request: Request) -> Response:
        found = web.page(ROOT, request.path, connect=f"{api} {live}", config=config)
        return found or message(HTTPStatus.NOT_FOUND, "Not Found")

    stop = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    host, port = address()
    try:
        server = Server(answer, host, port)
    except OSError as error:
        return _refuse(f"cannot serve on {host}:{port}: {error.strerror or error}")
    server.start()
    print(f"ready: {server.url} (CorsOrigins of the stack must have it)", flush=True)
    signal.sigwait(stop)
    server.close()
    return 0


def address() -> tuple[str, int]:
    host, port = os.environ.get("HOST") or "127.0.0.1", os.environ.get("PORT") or "3000"
    if not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
        raise SystemExit(f"PORT={port} is not a port: set it to a number from 1024 to 65535")
    return host, int(port)


def run(as_json: bool) -> int:
    # A pipe, because Python writes to it whichever thread takes the signal, and it keeps what comes before the read. A lock
    # that the main thread waits for is not let go by a signal that another thread took.
    stop, signalled = os.pipe()
    os.set_blocking(signalled, False)
    signal.set_wakeup_fd(signalled, warn_on_full_buffer=False)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    # What a function prints is its log; standard output is for the ready line alone.
    out, sys.stdout = sys.stdout, sys.stderr if as_json else Readable(sys.stderr)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if as_json else logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("botocore").setLevel(logging.WARNING)
    failures: list[str] = []

    def fail(reason: str) -> None:
        failures.append(reason)
        os.write(signalled, b"!")

    host, port = address()
    try:
        stack = Stack(data_path(), host, port, failed=fail)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return _refuse(f"{host}:{port} is in use, PORT={_free_port(host, port)} is free")
        return _refuse(f"cannot serve on {host}:{port}: {error.strerror or error}")
    with stack:
        assert isinstance(stack.invoker, InProcess)
        stack.invoker.load()
        # The functions' logger writes to what is standard output when it is made.
        from practice.turns.configuration import read_models

        try:
            read_models(config().variables)
        except ConfigurationError as error:
            return _refuse(str(error))
        stack.triggers.start()
        print(f"ready: {stack.url} (docs at /docs, data in {stack.data.path})", file=out, flush=True)
        os.read(stop, 1)
    return _refuse(failures[0]) if failures else 0


def _free_port(host: str, taken: int) -> int:
    for port in range(taken + 1, min(taken + 100, 65536)):
        with suppress(OSError), socket.create_server((host, port)):
            return port
    return free_port()


def _refuse(reason: str) -> int:
    print(reason, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
