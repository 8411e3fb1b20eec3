"""What the tests of the live API share."""

import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.support.learners import BASE_URL
from tests.support.live import LIVE_URL, LiveApi, Remote
from tests.support.processes import SECONDS
from tests.support.providers import Play, Played, completion


class Gate:
    """Plays of models that answer when a test lets them."""

    def __init__(self) -> None:
        self._open: dict[str, threading.Event] = {}
        self.asked: dict[str, threading.Event] = {}

    def play(self, text: str) -> Play:
        opened, asked = threading.Event(), threading.Event()
        self._open[text], self.asked[text] = opened, asked

        def play(request: dict[str, Any]) -> Played:
            asked.set()
            assert opened.wait(SECONDS)
            return Played(completion(text))

        return play

    def open(self, text: str) -> None:
        self._open[text].set()

    def open_all(self) -> None:
        for each in self._open.values():
            each.set()


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.open_all()


@pytest.fixture
def live_api(request: pytest.FixtureRequest) -> Iterator[LiveApi]:
    """What sockets are opened at: the local stack in this process, or with BASE_URL the live API at LIVE_URL."""
    if not BASE_URL:
        yield request.getfixturevalue("stack")
    elif LIVE_URL:
        with closing(Remote(LIVE_URL)) as remote:
            yield remote
    else:
        pytest.skip("needs LIVE_URL")
