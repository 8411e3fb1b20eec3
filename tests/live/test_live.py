"""A learner watches answers while they are written."""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from local.consumers import QueueConsumer
from local.stack import Stack
from practice.turns import configuration
from tests.support.learners import Learner, made
from tests.support.live import Refused, Socket, joined
from tests.support.providers import FakeProvider


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


def test_a_chat_is_shown_from_its_beginning_to_its_end(
    stack: Stack, ada: Learner, class_of: Any, provider: FakeProvider, deliver_turns: Any
) -> None:
    session = ada.open_session(class_id=class_of("alpha", "beta"))
    socket = Socket.open(stack, ada)

    socket.say("chat", "c1", session_id=session["session_id"], prompt_text="Why?")
    started = socket.wait("turn.started", "c1")
    deliver_turns()
    socket.wait("turn.done", "c1")

    turn = made(ada.get(f"/sessions/{session['session_id']}/turns/{started['turn_id']}"), 200)
    assert started["models"] == turn["asked"]
    assert started["session_id"] == session["session_id"]
    kinds = [event["type"] for event in socket.of("c1")]
    assert sorted(kinds) == sorted(["turn.started", *["answer.delta", "answer.done"] * 2, "turn.done"])
    assert (kinds[0], kinds[-1]) == ("turn.started", "turn.done")
    texts = joined(socket.of("c1"))
    assert texts == {each["response_id"]: each["response_text"] for each in turn["results"]}
    results = {
        event["result"]["response_id"]: event["result"]
        for event in socket.events
        if event["type"] == "answer.done"
    }
    for stored in turn["results"]:
        del stored["prompt_text"], stored["response_text"]
        assert results[stored["response_id"]] == stored


def test_ping_is_answered_with_pong(stack: Stack, ada: Learner) -> None:
    socket = Socket.open(stack, ada)

    socket.say("ping", "p")

    assert socket.events == [{"id": "p", "type": "pong"}]


def test_without_a_token_there_is_no_connection(stack: Stack) -> None:
    with pytest.raises(Refused) as refused:
        Socket.open(stack, None)

    assert refused.value.status == 401
