"""The stand-in for model services that others wrote: @copilotkit/aimock."""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final

import pytest

from local.stack import ROOT

CLI: Final = ROOT / "node_modules" / "@copilotkit" / "aimock" / "dist" / "cli.js"
NODE: Final = shutil.which("node")


@contextmanager
def aimock(folder: Path, *fixtures: dict[str, Any]) -> Iterator[str]:
    """Serves these, in pieces of three characters where it streams."""
    if not NODE or not CLI.exists():
        pytest.skip("needs node and the packages of package.json")
    file = folder / "fixtures.json"
    file.write_text(json.dumps({"fixtures": fixtures}))
    port = free_port()
    command = [NODE, str(CLI), "-p", str(port), "-f", str(file), "-c", "3", "--log-level", "silent"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder)
    try:
        _wait_for(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


def answer(prompt: str, **response: Any) -> dict[str, Any]:
    """A fixture."""
    return {"match": {"userMessage": prompt}, "response": response}


def chaos(url: str, **rates: float) -> None:
    connection = HTTPConnection(url.removeprefix("http://"), timeout=60)
    connection.request("DELETE", "/__aimock/chaos")
    connection.getresponse().read()
    if rates:
        connection.request("POST", "/__aimock/chaos", json.dumps(rates), {"content-type": "application/json"})
        reply = connection.getresponse()
        assert reply.status == 200, reply.read()
    connection.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(port: int) -> None:
    for _ in range(3000):
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.request("GET", "/health")
            connection.getresponse().read()
        except OSError:
            time.sleep(0.02)
        else:
            return
        finally:
            connection.close()
    raise AssertionError("aimock did not start")
