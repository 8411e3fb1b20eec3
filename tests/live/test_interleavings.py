"""However followers come and go, and however many workers die: the joined deltas are the stored text."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from local.stack import Stack
from practice.schemas.response import Response
from practice.schemas.spending import Spending
from practice.schemas.turn import IN_PROGRESS, AskedModel, ErrorCode, TurnStatus
from practice.store import followers, turn_state, turns
from practice.store.turn_state import Follower
from practice.turns import live as live_module
from practice.turns.live import Live
from tests.support.learners import Learner, made
from tests.support.live import Event, Socket, joined
from tests.support.processes import wait_until

MODELS = 2
LAPSED = turns.Lease(-1, 3600)
PIECES = st.sampled_from(["a", "é", "😀 ", "word ", '\n"\\', "x" * 20_000, "ü" * 9_000])
STEPS = st.one_of(
    st.tuples(st.just("write"), st.integers(0, MODELS - 1), PIECES),
    st.tuples(st.just("restart"), st.integers(0, MODELS - 1)),
    st.tuples(st.just("answer"), st.integers(0, MODELS - 1)),
    st.tuples(st.just("fail"), st.integers(0, MODELS - 1)),
    st.tuples(st.just("look")),
    st.tuples(st.just("arrive")),
    st.tuples(st.just("settle")),
    st.tuples(st.just("finish")),
    st.tuples(st.just("die")),
    st.tuples(st.just("cancel")),
    st.tuples(st.just("follow"), st.integers(0, 2)),
    st.tuples(st.just("follow again"), st.integers(0, 2)),
    st.tuples(st.just("drop"), st.integers(0, 2)),
    st.tuples(st.just("leave"), st.integers(0, 2)),
)


@dataclass
class Client:
    socket: Socket
    follows: list[str] = field(default_factory=list)
    is_here: bool = True


class World:
    """A turn with its worker, which a test moves step by step, and three clients."""

    def __init__(self, stack: Stack, ada: Learner, class_id: int) -> None:
        self.stack, self.ada = stack, ada
        self.session = ada.open_session(class_id=class_id)
        self.clients: dict[int, Client] = {}
        self.all: list[Client] = []
        first = self._client(0)
        first.socket.say("chat", "begun", session_id=self.session["session_id"], prompt_text="Why?")
        first.follows.append("begun")
        self.turn_id = first.socket.wait("turn.started", "begun")["turn_id"]
        self.live: Live | None = None
        self.state: turn_state.TurnState | None = None
        self.written: dict[int, str] = {}
        self.ended: set[int] = set()
        self.is_settled = False
        self._begin()

    def _client(self, number: int) -> Client:
        if number not in self.clients or not self.clients[number].is_here:
            self.clients[number] = Client(Socket.open(self.stack, self.ada))
            self.all.append(self.clients[number])
        return self.clients[number]

    def _begin(self) -> None:
        """The next worker takes the message of the queue, as `run_queued_turn` does."""
        user_id = self.ada.user_id
        claim = turns.claim(user_id, self.turn_id, LAPSED)
        state = turn_state.read(user_id, self.turn_id)
        assert state
        if claim is None:
            assert state.status not in IN_PROGRESS
            self.is_settled = True
            if not state.followers:
                return
        self.live = Live.of_state(user_id, state, None)
        self.state = state
        for follower in state.followers:
            self.live.add(follower, was_sent=claim is None or claim.was_running)
        self.written = {}
        self.ended = {n for n in range(MODELS) if self.asked(n) not in self.state.pending()}
        if claim is None:
            self.finish()

    def asked(self, number: int) -> AskedModel:
        assert self.state
        return self.state.turn.asked[number]

    # What a worker does

    def write(self, number: int, piece: str) -> None:
        if self.live and not self.is_settled and number not in self.ended:
            self.written[number] = self.written.get(number, "") + piece
            self.live.wrote(self.asked(number), piece)

    def restart(self, number: int) -> None:
        if self.live and not self.is_settled and number not in self.ended:
            self.written.pop(number, None)
            self.live.restarted(self.asked(number))

    def answer(self, number: int) -> None:
        """Stored; the worker may die before it tells its followers so."""
        if not self.live or not self.state or self.is_settled or number in self.ended:
            return
        asked, text = self.asked(number), self.written.get(number, "") or "whole"
        response = Response(
            response_id=asked.response_id,
            session_model_id=asked.session_model_id,
            session_id=self.state.turn.session_id,
            model_name=asked.model_name,
            prompt_text="Why?",
            response_text=text,
            token_usage=None,
            latency_ms=1,
            created_at=self.state.turn.created_at,
        )
        kept = turns.store_answer(self.ada.user_id, response, {}, Spending(1, 1, None))
        self.ended.add(number)
        if kept is None:  # cancelled while its lease had lapsed: the places of its answers are gone
            self.live.failed(asked, asked.error(ErrorCode.NOT_STORED, "the session was deleted meanwhile"))
            return
        self.state = turn_state.read(self.ada.user_id, self.turn_id)
        self.live.answered(asked, kept, {})

    def fail(self, number: int) -> None:
        if self.live and not self.is_settled and number not in self.ended:
            error = self.asked(number).error(ErrorCode.PROVIDER_ERROR, "it failed")
            turns.store_error(self.ada.user_id, self.turn_id, error, None)
            self.ended.add(number)
            self.live.failed(self.asked(number), error)

    def look(self) -> None:
        if self.live and not self.is_settled:
            sighting = followers.look(self.ada.user_id, self.turn_id, self.live.followers)
            self.live.sight(sighting.followers, sighting.refused)

    def settle(self) -> None:
        if self.live and not self.is_settled:
            state = turn_state.read(self.ada.user_id, self.turn_id)
            assert state
            if state.status == TurnStatus.RUNNING:
                self.state = turns.settle_turn(self.ada.user_id, state)
            else:
                self.state = state
            self.is_settled = True

    def finish(self) -> None:
        """The rest of a worker's work; the message is deleted."""
        if self.live:
            self.settle()
            assert self.state
            state = turn_state.read(self.ada.user_id, self.turn_id)
            assert state
            self.live.end(state, 20.0)
            self.live = None

    def arrive(self) -> None:
        """What is written reaches those who follow."""
        if not self.live or self.is_settled:
            return
        here = {each.socket.connection.connection_id: each for each in self.all if each.is_here}
        for follower in self.live.followers:
            if client := here.get(follower.connection_id):
                for number, text in self.written.items():
                    if number not in self.ended:
                        of = partial(so_far, client.socket, follower.id, self.asked(number).response_id)
                        wait_until(partial(_is_text, of, text))

    def die(self) -> None:
        """Its threads end with it, wherever they are. Another worker has the message later."""
        if self.live:
            self.live.stop()
            self.live = None
        self.is_settled = False
        self._begin()

    def cancel(self) -> None:
        self.ada.delete(f"/sessions/{self.session['session_id']}/turns/{self.turn_id}")

    # What clients do

    def follow(self, number: int) -> None:
        client = self._client(number)
        name = f"f{len(client.follows)}"
        client.socket.say("follow", name, session_id=self.session["session_id"], turn_id=self.turn_id)
        client.follows.append(name)

    def follow_again(self, number: int) -> None:
        """With the id of before, while it still follows: nothing comes twice."""
        client = self._client(number)
        if client.follows and not any(e["type"] == "turn.done" for e in client.socket.of(client.follows[0])):
            state = turn_state.read(self.ada.user_id, self.turn_id)
            assert state
            if state.status in IN_PROGRESS:
                followers.follow(
                    self.ada.user_id,
                    self.turn_id,
                    Follower(client.socket.connection.connection_id, client.follows[0]),
                )

    def drop(self, number: int) -> None:
        """Without a word: the gateway finds out when something is sent."""
        if number in self.clients:
            self.clients[number].is_here = False
            self.clients[number].socket.is_gone = True

    def leave(self, number: int) -> None:
        if number in self.clients and self.clients[number].is_here:
            self.clients[number].is_here = False
            self.clients[number].socket.leave()

    # What must be true at the end

    def check(self) -> None:
        path = f"/sessions/{self.session['session_id']}/turns/{self.turn_id}"
        turn = made(self.ada.get(path), 200)
        stored = {each["response_id"]: each["response_text"] for each in turn["results"]}
        for client in self.all:
            for name in client.follows:
                if client.is_here:
                    wait_until(lambda c=client, n=name: _is_done(c.socket.of(n)))  # type: ignore[misc]
                events = client.socket.of(name)
                texts = joined(events)
                if client.is_here:
                    assert texts == stored, name
                    assert [e["status"] for e in events if e["type"] == "turn.done"] == [turn["status"]]
                else:
                    assert all(stored[response_id] == text for response_id, text in texts.items())


def so_far(socket: Socket, own_id: str, response_id: int) -> str:
    text = ""
    for event in socket.of(own_id):
        if event.get("response_id") == response_id:
            text = text + event["text"] if event["type"] == "answer.delta" else ""
    return text


def _is_text(read: Callable[[], str], text: str) -> bool:
    return read() == text


def _is_done(events: list[Event]) -> bool:
    return any(event["type"] == "turn.done" for event in events)


@pytest.fixture(scope="module")
def class_id() -> int:
    return int(time.time()) + 10**9


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(STEPS, max_size=14))
@example([("write", 0, "old"), ("arrive",), ("die",), ("write", 0, "new"), ("answer", 0)])
@example([("write", 0, "old"), ("arrive",), ("answer", 0), ("die",), ("die",), ("finish",)])
@example([("write", 0, "old"), ("follow", 1), ("look",), ("arrive",), ("die",), ("die",), ("answer", 1)])
@example(
    [("write", 1, "a"), ("arrive",), ("restart", 1), ("write", 1, "b"), ("follow", 2), ("settle",), ("die",)]
)
@example([("answer", 0), ("settle",), ("follow", 1), ("die",), ("follow", 2)])
@example([("write", 0, "a"), ("arrive",), ("cancel",), ("answer", 0), ("look",), ("follow", 1), ("die",)])
@example(
    [
        ("drop", 0),
        ("write", 0, "x" * 20_000),
        ("follow", 0),
        ("look",),
        ("arrive",),
        ("leave", 0),
        ("finish",),
    ]
)
def test_the_joined_deltas_are_the_stored_text_for_every_follower(
    stack: Stack,
    another_learner: Callable[[], Learner],
    announce: Any,
    class_id: int,
    monkeypatch: pytest.MonkeyPatch,
    steps: list[tuple[Any, ...]],
) -> None:
    monkeypatch.setattr(live_module, "DELTA_SECONDS", 0.0)
    announce(class_id, *[f"model-{n}" for n in range(MODELS)])
    world = World(stack, another_learner(), class_id)
    for name, *arguments in steps:
        getattr(world, name.replace(" ", "_"))(*arguments)
    if world.live is None:
        world.die()
    world.finish()
    world.check()
