"""How a drive ends when a step does not do what it should."""

import time
from collections.abc import Callable

SECONDS = 60.0
"""What follows from a request does so within this time."""


class Failed(Exception):
    """A step did not do what it should."""


def until(what: str, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise Failed(f"not within {SECONDS:.0f} s: {what}")
        time.sleep(0.25)
