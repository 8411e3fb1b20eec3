"""The folder that keeps what must survive a restart: secrets, the engine's file, the queues."""

import contextlib
import fcntl
import os
import re
import secrets
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

TOKEN_SECRET = "practice-local-token"  # noqa: S105 (its name)


class DataError(Exception):
    """The folder cannot be used; the message is one line for the user."""


@contextlib.contextmanager
def usable(path: Path) -> Iterator[None]:
    """Raises DataError when a part of the folder is not what it was made as."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path} cannot be used ({reason}): set DATA to another folder") from None


class DataFolder:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: TextIO | None = None
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            (path / "secrets").mkdir(mode=0o700, exist_ok=True)
            with tempfile.TemporaryFile(dir=path):
                pass
        except OSError as error:
            reason = error.strerror or error
            raise DataError(
                f"DATA={path} is not a folder to write to ({reason}): set DATA to another"
            ) from None

    def lock(self) -> None:
        """Keep other stacks out until `unlock` or the end of this process."""
        with usable(self.path / "lock"):
            lock = (self.path / "lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise DataError(
                f"{self.path} is in use by another stack; set DATA to a folder of its own"
            ) from None
        self._lock = lock

    def unlock(self) -> None:
        if self._lock:
            self._lock.close()
            self._lock = None

    def secret(self, name: str) -> str:
        """The secret of that name, made at random when it is first asked for."""
        assert re.fullmatch(r"[\w.-]+", name), name
        folder = self.path / "secrets"
        path = folder / name
        with usable(path):
            if not path.exists():
                # mkstemp makes it readable by its owner alone; the link fails if another process was faster.
                handle, made = tempfile.mkstemp(dir=folder)
                with os.fdopen(handle, "w") as file:
                    file.write(secrets.token_urlsafe(48))
                with contextlib.suppress(FileExistsError):
                    os.link(made, path)
                Path(made).unlink()
            return path.read_text()
