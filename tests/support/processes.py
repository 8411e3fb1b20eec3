"""When a process ends and when its time is up, as a test decides it: no test depends on a margin of real seconds."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Any, Final, NoReturn

import pytest

from practice.turns import live, run
from tests.support.hooks import hooked

SECONDS: Final = 60.0
"""How long a test waits for what has to happen; on a busy machine, too."""


class Killed(BaseException):
    """The function's process ends here."""


@contextmanager
def killed_at(number: int, operation: str = "", *, moment: str = "before-call") -> Iterator[list[int]]:
    """The process ends at its request of that number to the table; the list holds how many there were."""
    seen = [0]

    def kill(**_: Any) -> None:
        seen[0] += 1
        if seen[0] == number:
            raise Killed

    with hooked(f"{moment}.dynamodb.{operation}".rstrip("."), kill):
        yield seen


_KILLED: Final = object()


class _Arrivals(SimpleQueue[Any]):
    """Where a turn waits for its models."""

    def __init__(self, limit: int | None = None, when: threading.Event | None = None) -> None:
        self._left, self._when = limit, when

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        if block and self._left == 0:
            assert self._when is None or self._when.wait(SECONDS)
            raise Empty
        if block and self._left is not None:
            self._left, timeout = self._left - 1, SECONDS
        outcome = super().get(block, timeout)
        if outcome is _KILLED:
            raise Killed
        return outcome

    def get_nowait(self) -> Any:
        return self.get(block=False)


class Process:
    """Of functions that a test kills: all threads end, one that waits for models at once."""

    def __init__(self) -> None:
        self.is_dead = False
        self._lock = threading.Lock()
        self._waiting: list[_Arrivals] = []

    def die(self) -> NoReturn:
        with self._lock:
            self.is_dead = True
            for arrivals in self._waiting:
                arrivals.put(_KILLED)
        raise Killed

    def arrivals(self) -> _Arrivals:
        made = _Arrivals()
        with self._lock:
            self._waiting.append(made)
            if self.is_dead:
                made.put(_KILLED)
        return made


@contextmanager
def mortal() -> Iterator[Process]:
    """The functions that are served meanwhile run in a process that may die."""
    process = Process()
    run_sender = live._Sender.run

    def run_until_killed(sender: Any) -> None:
        try:
            run_sender(sender)
        except Killed:  # otherwise the turn waits for a follower whose thread has ended
            sender._live.drop(sender._follower, is_gone=False)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(run, "SimpleQueue", process.arrivals)
        patched.setattr(live._Sender, "run", run_until_killed)
        yield process


@contextmanager
def time_is_up_after(answers: int, when: threading.Event | None = None) -> Iterator[None]:
    """A turn's deadline passes when so many models have answered, and this has happened."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(run, "SimpleQueue", lambda: _Arrivals(answers, when))
        yield


def wait_until(holds: Callable[[], object]) -> None:
    pause = threading.Event()
    for _ in range(int(SECONDS / 0.02)):
        if holds():
            return
        pause.wait(0.02)
    raise AssertionError(f"not within {SECONDS} seconds")
