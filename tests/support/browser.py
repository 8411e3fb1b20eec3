"""A headless Chromium, driven over its debugging pipe."""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

SECONDS = 90
# Chromium reads commands from descriptor 3 and answers on 4.
WRAPPER = """
import fcntl, os, sys
commands, answers, *program = sys.argv[1:]
commands, answers = (fcntl.fcntl(int(given), fcntl.F_DUPFD, 10) for given in (commands, answers))
os.dup2(commands, 3)
os.dup2(answers, 4)
os.execv(program[0], program)
"""


def find_browser() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


class Navigated(RuntimeError):
    """The page that was asked has given way to another one."""


class Chromium:
    """The program. Each page has cookies, storage and a window of its own, as in another browser."""

    def __init__(self, program: str) -> None:
        self._profile = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        commands, self._out = os.pipe()
        self._in, answers = os.pipe()
        arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            "--remote-debugging-pipe",
        ]
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                WRAPPER,
                str(commands),
                str(answers),
                program,
                *arguments,
                f"--user-data-dir={self._profile.name}",
                "about:blank",
            ],
            pass_fds=(commands, answers),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        self._received = b""
        self._sent = 0

    @contextmanager
    def page(self) -> Iterator["Browser"]:
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call(
            "Target.createTarget", url="about:blank", browserContextId=context, width=1280, height=1600
        )["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        try:
            page = Browser(self, attached["sessionId"])
            page.focus()
            yield page
        finally:
            self.call("Target.disposeBrowserContext", browserContextId=context)

    def call(self, method: str, page: str | None = None, **parameters: Any) -> Any:
        self._sent += 1
        command = {"id": self._sent, "method": method, "params": parameters}
        if page:
            command["sessionId"] = page
        os.write(self._out, json.dumps(command).encode() + b"\0")
        while True:
            while b"\0" not in self._received:
                part = os.read(self._in, 1 << 16)
                if not part:
                    raise RuntimeError("the browser ended")
                self._received += part
            message, _, self._received = self._received.partition(b"\0")
            messages = json.loads(message)
            if messages.get("id") == self._sent:
                if "error" in messages:
                    kind = Navigated if "navigated" in messages["error"]["message"] else RuntimeError
                    raise kind(f"{method}: {messages['error']}")
                return messages["result"]

    def close(self) -> None:
        os.close(self._out)
        os.close(self._in)
        self._process.terminate()
        self._process.wait(SECONDS)
        self._profile.cleanup()


class Browser:
    """One page. `evaluate` runs JavaScript in it and waits for what it promises."""

    def __init__(self, chromium: Chromium, page: str) -> None:
        self._chromium = chromium
        self._page = page

    def focus(self) -> None:
        """As the window in front, whichever others there are."""
        self._call("Emulation.setFocusEmulationEnabled", enabled=True)

    def open(self, url: str) -> None:
        self._call("Page.navigate", url=url)

    def resize(self, width: int, height: int, *, is_mobile: bool, scheme: str) -> None:
        """The window of a device, whose user prefers this colour scheme."""
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=is_mobile,
        )
        self._call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def evaluate(self, expression: str) -> Any:
        messages = self._call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in messages:
            raise RuntimeError(messages["exceptionDetails"]["exception"].get("description", messages))
        return messages["result"].get("value")

    def wait_for(self, expression: str) -> Any:
        """The expression's value, as soon as it is true, also across navigations."""
        deadline = time.monotonic() + SECONDS
        while True:
            with suppress(Navigated):
                if value := self.evaluate(expression):
                    return value
            if time.monotonic() > deadline:
                raise TimeoutError(f"never true: {expression}")
            time.sleep(0.05)

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot")["data"]))

    def _call(self, method: str, **parameters: Any) -> Any:
        return self._chromium.call(method, self._page, **parameters)
