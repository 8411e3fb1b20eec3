"""The blocks of a document, and a place to run them in: a copy of the tree, with a stack beside it."""

import os
import re
import shutil
import signal
import socket
import subprocess
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import cache_from_source
from pathlib import Path
from typing import Final

from local.stack import ROOT, SHELL

FENCE: Final = re.compile(r"^```(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HERE: Final = "127.0.0.1:3000"
"""Where documents say that the stack is."""
OF_MAKE: Final = {"MAKELEVEL", "MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "ARGS", "FILE", "HOST", "USER_ID"}
OF_ANOTHER_STACK: Final = {
    "BASE_URL",
    "TOKEN",
    "ANOTHER_TOKEN",
    "TOKEN_SECRET",
    "TOKEN_ISSUER",
    "TOKEN_AUDIENCE",
}


@dataclass(frozen=True)
class Block:
    section: str
    line: int
    info: str
    """What follows the fence: the language, and how the block is to be checked."""
    text: str

    def __str__(self) -> str:
        return f"{self.section}, line {self.line} ({self.info})"


def blocks_of(document: Path) -> list[Block]:
    text = document.read_text()
    headings = [(found.start(), found[1]) for found in re.finditer(r"^## (.+)$", text, re.MULTILINE)]
    found = []
    for fence in FENCE.finditer(text):
        section = next((name for start, name in reversed(headings) if start < fence.start()), "")
        found.append(Block(section, text.count("\n", 0, fence.start()) + 1, fence[1].strip(), fence[2]))
    return found


class Place:
    """A copy of the tree in which blocks run in order; a block sees the variables and functions of the blocks before it."""

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self.folder = folder / "tree"
        # As in a reader's terminal: without the variables of the make that started this test, and of its stack.
        shell = {name: value for name, value in SHELL.items() if name not in OF_MAKE | OF_ANOTHER_STACK}
        self.variables = {**shell, **variables}
        self._shell = folder / "shell"
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        )
        for name in filter(None, listed.stdout.split("\0")):
            self._copy(name)
            if name.endswith(".py"):  # compiled already: each command would do it again
                self._copy(cache_from_source(name))
        for name in (".venv", "node_modules"):
            self._borrow(name)
        self._copy(".tools/translated/template.json")  # as after a first command, which makes it

    def _copy(self, name: str) -> None:
        if (ROOT / name).exists():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, self.folder / name, follow_symlinks=False)

    def _borrow(self, name: str) -> None:
        """What is installed, with stamps of its own: make installs nothing, and would install it here."""
        (self.folder / name).mkdir()
        for entry in (ROOT / name).iterdir() if (ROOT / name).exists() else ():
            if entry.name.startswith("installed"):
                (self.folder / name / entry.name).touch()
            else:
                (self.folder / name / entry.name).symlink_to(entry)

    def here(self, text: str) -> str:
        return text.replace(HERE, f"127.0.0.1:{self.variables['PORT']}")

    def run(self, *command: str | Path, text: str = "") -> str:
        done = subprocess.run(
            command, input=text, cwd=self.folder, env=self.variables, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{text}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def shell(self, script: str) -> str:
        """What it prints. Fails as soon as a command of it does."""
        before = f"source {self._shell} 2> /dev/null || true\n" if self._shell.exists() else ""
        after = f"\n{{ declare -p; declare -f; }} > {self._shell}\n"
        return self.run("bash", "-s", text=f"{before}set -euo pipefail\n{self.here(script)}{after}")

    @contextmanager
    def serving(self, script: str) -> Iterator[None]:
        """Runs what starts a stack, as in another terminal, until the end of the block."""
        log = self.folder.parent / "log"
        with log.open("w") as errors:
            started = subprocess.Popen(
                ["bash", "-c", f"set -euo pipefail\n{script}"],
                cwd=self.folder,
                env=self.variables,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        assert started.stdout
        drain = threading.Thread(target=deque, args=(started.stdout, 0), daemon=True)
        try:
            assert started.stdout.readline().startswith("ready: "), log.read_text()
            # A full pipe would block the stack at its next line of log.
            drain.start()
            yield
        finally:
            os.killpg(started.pid, signal.SIGTERM)
            try:
                started.wait(timeout=30)
            except subprocess.TimeoutExpired:
                os.killpg(started.pid, signal.SIGKILL)
                started.wait()
                raise
            finally:
                if drain.is_alive():
                    drain.join()
                started.stdout.close()

    def apply(self, diff: str) -> None:
        self.run("git", "apply", "-C1", "-", text=diff)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
