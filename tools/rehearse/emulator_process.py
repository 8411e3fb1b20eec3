"""The emulator's own process, run by its own Python.

It unpacks code and layers anew for each process of a function: 100 MB in 4,000 files. Here each is unpacked once. Most of
its other work is HTTP, of which uvloop does more in C.
"""

import hashlib
import runpy
import tempfile
import threading
import zipfile
from pathlib import Path
from typing import Final, Self

import uvloop  # type: ignore[import-not-found]  # of the emulator's environment
from ministack.core import lambda_runtime  # type: ignore[import-not-found]

UNPACKED: Final = Path(tempfile.gettempdir()) / "unpacked"
_one_at_a_time = threading.Lock()


class UnpackedOnce:
    """In place of a ZipFile: gives a process links to what was unpacked before."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.folder = UNPACKED / hashlib.sha256(Path(name).read_bytes()).hexdigest()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def namelist(self) -> list[str]:
        """Of names that might lead elsewhere: archives that this project made have none."""
        return []

    def extractall(self, folder: str) -> None:
        with _one_at_a_time:
            if not self.folder.exists():
                with zipfile.ZipFile(self.name) as archive:
                    archive.extractall(self.folder)
        for entry in self.folder.iterdir():
            (Path(folder) / entry.name).symlink_to(entry)


class Zipfile:
    """What the emulator takes of the module when it starts a process."""

    ZipFile = UnpackedOnce
    BadZipFile = zipfile.BadZipFile
    LargeFileError = (
        zipfile.LargeZipFile
    )  # the name that the emulator looks up, which the module does not have


if __name__ == "__main__":
    lambda_runtime.zipfile = Zipfile
    uvloop.install()
    runpy.run_module("ministack", run_name="__main__")
