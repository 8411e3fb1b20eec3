"""What the tests of the live API share."""

import json
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from local.consumers import QueueConsumer
from local.stack import Stack
from practice.turns import configuration
from tests.support.processes import SECONDS
from tests.support.providers import FakeProvider, Play, Played, completion


@pytest.fixture
def provider(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeProvider]:
    with FakeProvider() as fake:
        monkeypatch.setenv("MODELS", json.dumps({"*": {"provider": "openai", "base_url": f"{fake.url}/v1"}}))
        configuration.clear_cache()
        yield fake
    configuration.clear_cache()


@pytest.fixture
def class_of(announce: Callable[..., Any]) -> Callable[..., int]:
    def make(*models: str) -> int:
        class_id = random.SystemRandom().randrange(1, 2**50)
        announce(class_id, *models)
        return class_id

    return make


@pytest.fixture
def deliver_turns(stack: Stack) -> Callable[[], None]:
    [trigger] = [each for each in stack.template.queue_triggers if each.function == "work_turn"]
    consumer = QueueConsumer(stack.triggers, trigger)

    def deliver() -> None:
        while consumer.step():
            pass

    return deliver


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
