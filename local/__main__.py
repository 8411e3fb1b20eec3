"""`python -m local run | token | event`"""

import argparse
import json
import logging
import os
import signal
import sys
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from local.data import TOKEN_SECRET, DataFolder, InUseError
from local.engine import EngineError
from local.functions import InProcess
from local.intrinsics import TemplateError
from local.stack import Stack, read_template, settings
from local.tokens import mint

PLACEHOLDER = "<token>"
"""Stands in an event file for a token of user 1."""
EVENT_TOKEN_SECONDS = 600


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="serve the whole stack until Ctrl-C or SIGTERM")
    token = commands.add_parser("token", help="print a bearer token for the local stack")
    token.add_argument("--user-id", type=_user_id, default=1)
    token.add_argument(
        "--ttl", type=int, default=30 * 86400, help="seconds until it expires (default: 30 days)"
    )
    event = commands.add_parser("event", help="hand an event file to the running stack")
    event.add_argument("file", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "event":
        return send_event(arguments.file)
    if arguments.command == "token":
        return print_token(arguments.user_id, arguments.ttl)
    return run()


def _user_id(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a user id is an integer >= 1, not {text!r}")
    return int(text)


def data_path() -> Path:
    return Path(os.environ.get("DATA") or ".local")


def print_token(user_id: int, ttl: int) -> int:
    print(local_token(user_id, ttl))
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
    try:
        connection.request("POST", "/_local/events", text.encode())
        response = connection.getresponse()
        answer = json.loads(response.read())
    except (OSError, HTTPException, ValueError) as error:
        return _refuse(f"no local stack took {file}, is it running on {host}:{port}? ({error})")
    finally:
        connection.close()
    if response.status != HTTPStatus.OK:
        return _refuse(f"refused: {answer.get('refused', answer)}")
    for outcome in answer["outcomes"]:
        print(outcome["function"], file=sys.stderr)
        print(json.dumps(outcome["answer"], indent=2, ensure_ascii=False))
    return 0


def address() -> tuple[str, int]:
    host, port = os.environ.get("HOST") or "127.0.0.1", os.environ.get("PORT") or "3000"
    if not port.isascii() or not port.isdigit():
        raise SystemExit(f"PORT={port} is not a port")
    return host, int(port)


def run() -> int:
    # A pipe, because Python writes to it whichever thread takes the signal, and it keeps what comes before the read. A lock
    # that the main thread waits for is not let go by a signal that another thread took.
    stop, signalled = os.pipe()
    os.set_blocking(signalled, False)
    signal.set_wakeup_fd(signalled, warn_on_full_buffer=False)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    # What a function prints is its log; standard output is for the ready line alone.
    out, sys.stdout = sys.stdout, sys.stderr
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s", datefmt="%H:%M:%S"
    )
    logging.getLogger("botocore").setLevel(logging.WARNING)
    host, port = address()
    try:
        stack = Stack(data_path(), host, port)
    except (EngineError, InUseError, TemplateError) as error:
        return _refuse(str(error))
    except (OSError, OverflowError) as error:
        return _refuse(f"cannot serve on {host}:{port}: {error}")
    with stack:
        assert isinstance(stack.invoker, InProcess)
        try:
            stack.invoker.load()
        except TemplateError as error:
            return _refuse(str(error))
        stack.triggers.start()
        print(f"ready: {stack.url} (docs at /docs, data in {stack.data.path})", file=out, flush=True)
        os.read(stop, 1)
    return 0


def _refuse(reason: str) -> int:
    print(reason, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
