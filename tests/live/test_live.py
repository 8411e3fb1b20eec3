"""A learner watches answers while they are written."""

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import groupby
from typing import Any, NamedTuple

import pytest
from botocore.httpsession import URLLib3Session

from local.stack import Stack
from practice import table
from practice.http import rates
from practice.runtime import connections, queues
from practice.runtime.config import config
from practice.schemas.base import BaseModel
from practice.schemas.response import Response
from practice.schemas.turn import AskedModel, TurnStatus
from practice.store import turns
from practice.store.turn_state import Follower
from practice.store.turns import LONGEST_LEASE_SECONDS
from practice.table.keys import Key
from practice.turns import worker
from practice.turns.live import Live, _Sender, _Sent
from practice.turns.run import POLL_SECONDS
from tests.live.conftest import Gate
from tests.support.hooks import hooked
from tests.support.learners import Learner, made
from tests.support.live import LiveApi, Socket, joined
from tests.support.processes import SECONDS, Killed, mortal, wait_until
from tests.support.providers import FakeProvider, Part, Played


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
    assert set(kinds) == {"turn.started", "answer.delta", "answer.done", "turn.done"}
    assert [kinds.count(each) for each in ("turn.started", "answer.done", "turn.done")] == [1, 2, 1]
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


def started(
    stack: Stack, who: Learner, session: dict[str, Any], prompt: str = "Why?", **more: Any
) -> tuple[Socket, int]:
    """A connection of the learner's with a turn that it began, and follows as `c`."""
    socket = Socket.open(stack, who)
    socket.say("chat", "c", session_id=session["session_id"], prompt_text=prompt, **more)
    return socket, socket.wait("turn.started", "c")["turn_id"]


def connections_in(items: dict[tuple[str, str], Any]) -> list[Any]:
    [listed] = [item["open"]["L"] for (_, sk), item in items.items() if sk == "CONNECTIONS"]
    assert isinstance(listed, list)
    return listed


def in_background(act: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


def texts_of(who: Learner, session: dict[str, Any], turn_id: int) -> dict[int, str]:
    turn = made(who.get(f"/sessions/{session['session_id']}/turns/{turn_id}"), 200)
    return {each["response_id"]: each["response_text"] for each in turn["results"]}


# Who follows


def test_a_run_opens_a_session_and_shows_its_first_turn(
    stack: Stack, ada: Learner, class_of: Any, provider: FakeProvider, deliver_turns: Any
) -> None:
    socket = Socket.open(stack, ada)

    socket.say("run", "r", class_id=class_of("alpha"), prompt_text="Why?", style_preset="creative")
    begun = socket.wait("turn.started", "r")
    deliver_turns()

    assert socket.wait("turn.done", "r")["status"] == "done"
    session = made(ada.get(f"/sessions/{begun['session_id']}"), 200)
    assert session["settings"]["style_preset"] == "creative"
    assert joined(socket.of("r")) == texts_of(ada, session, begun["turn_id"])


def test_a_run_with_an_agent_has_its_snapshot(
    stack: Stack, ada: Learner, class_of: Any, provider: FakeProvider, announce_agent: Callable[..., int]
) -> None:
    agent_id, socket = announce_agent(ada.user_id), Socket.open(stack, ada)

    socket.say("run", class_id=class_of("alpha"), prompt_text="Why?", agent_id=agent_id)

    session_id = socket.wait("turn.started")["session_id"]
    settings = made(ada.get(f"/sessions/{session_id}/settings"), 200)
    assert settings["agent_snapshot"]["system_prompt"] == "Answer with a question."


class HalfAnswered(NamedTuple):
    session: dict[str, Any]
    socket: Socket
    turn_id: int
    working: threading.Thread


@pytest.fixture
def half_answered(
    stack: Stack, ada: Learner, class_of: Any, provider: FakeProvider, deliver_turns: Any, gate: Gate
) -> HalfAnswered:
    """A turn whose first model has answered; its second one does once the gate opens for `late`."""
    session = ada.open_session(class_id=class_of("alpha", "beta"))
    provider.plays["beta"] = gate.play("late")
    socket, turn_id = started(stack, ada, session)
    working = in_background(deliver_turns)
    socket.wait("answer.done", "c")
    return HalfAnswered(session, socket, turn_id, working)


def test_who_comes_in_the_middle_gets_what_is_answered_within_two_seconds(
    stack: Stack, ada: Learner, half_answered: HalfAnswered, gate: Gate
) -> None:
    session, first, turn_id, working = half_answered

    second, came = Socket.open(stack, ada), time.monotonic()
    second.say("follow", "f", session_id=session["session_id"], turn_id=turn_id)
    second.wait("answer.done", "f")
    took = time.monotonic() - came
    gate.open("late")
    second.wait("turn.done", "f")
    working.join()

    assert took < POLL_SECONDS + 1
    assert joined(second.of("f")) == joined(first.of("c")) == texts_of(ada, session, turn_id)


@pytest.mark.parametrize("function", ["chat", "run_session"])
def test_a_turn_begun_over_http_is_followed_too(
    stack: Stack,
    ada: Learner,
    class_of: Any,
    provider: FakeProvider,
    gate: Gate,
    items_of: Any,
    function: str,
) -> None:
    class_id = class_of("alpha", "beta")
    provider.plays["alpha"] = gate.play("late")
    if function == "chat":
        path = f"/sessions/{ada.open_session(class_id=class_id)['session_id']}/chat"
    else:
        path = f"/sessions/run?class_id={class_id}"
    answers: list[Any] = []
    asking = in_background(lambda: answers.append(ada.post(path, {"prompt_text": "Why?"})))
    assert gate.asked["late"].wait(30)
    [session] = made(ada.get(f"/sessions?class_id={class_id}"), 200)["items"]
    [turn] = made(ada.get(f"/sessions/{session['session_id']}/turns"), 200)["items"]

    socket, gone = Socket.open(stack, ada), Socket.open(stack, ada)
    for each in (socket, gone):
        each.say("follow", session_id=session["session_id"], turn_id=turn["turn_id"])
        each.wait("answer.done")
    gone.is_gone = True
    gate.open("late")
    asking.join()
    socket.wait("turn.done")

    assert answers[0].status == 201
    assert joined(socket.of("1")) == texts_of(ada, session, turn["turn_id"])
    wait_until(lambda: len(connections_in(items_of(ada))) == 1)


def test_a_turn_that_has_ended_comes_at_once(
    stack: Stack, ada: Learner, class_of: Any, provider: FakeProvider
) -> None:
    provider.plays["beta"] = lambda _: Played({}, 500)
    session = ada.open_session(class_id=class_of("alpha", "beta"))
    made(ada.post(f"/sessions/{session['session_id']}/chat", {"prompt_text": "Why?"}), 201)
    [turn] = made(ada.get(f"/sessions/{session['session_id']}/turns"), 200)["items"]
    socket = Socket.open(stack, ada)

    for own_id in ("one", "two"):
        socket.say("follow", own_id, session_id=session["session_id"], turn_id=turn["turn_id"])

    for own_id in ("one", "two"):
        kinds = [event["type"] for event in socket.of(own_id)]
        assert sorted({*kinds}) == [
            "answer.delta",
            "answer.done",
            "answer.failed",
            "turn.done",
            "turn.started",
        ]
        assert (kinds[0], kinds[-1]) == ("turn.started", "turn.done")
        assert joined(socket.of(own_id)) == texts_of(ada, session, turn["turn_id"])
    failed = socket.wait("answer.failed", "one")
    assert failed["error"] == turn["errors"][0]


def test_a_response_that_was_added_is_followed_as_a_turn_of_its_own(live_api: LiveApi, ada: Learner) -> None:
    session = ada.open_session()
    response = ada.add_response(session, response_text="By hand: \u00e9\U0001f600.")
    socket = Socket.open(live_api, ada)

    socket.say("follow", session_id=session["session_id"], turn_id=response["response_id"])

    assert socket.wait("turn.done")["status"] == "done"
    assert joined(socket.of("1")) == {response["response_id"]: "By hand: \u00e9\U0001f600."}


@pytest.mark.parametrize(
    "text", ["x" * 100_000, "\u00e9\U0001f600" * 30_000, '\\"\n\t' * 20_000], ids=["ascii", "wide", "escaped"]
)
def test_a_long_answer_is_several_deltas_and_none_is_larger_than_a_message(
    live_api: LiveApi, ada: Learner, text: str
) -> None:
    session = ada.open_session()
    response = ada.add_response(session, response_text=text)
    socket = Socket.open(live_api, ada)

    socket.say("follow", session_id=session["session_id"], turn_id=response["response_id"])
    socket.wait("turn.done")

    assert joined(socket.of("1")) == {response["response_id"]: text}
    sizes = [
        len(json.dumps(e["text"], ensure_ascii=False).encode())
        for e in socket.of("1")
        if e["type"] == "answer.delta"
    ]
    assert len(sizes) > 5
    assert max(sizes) <= 16 * 1024


def test_what_does_not_fit_an_answers_message_is_null_in_it(live_api: LiveApi, ada: Learner) -> None:
    session = ada.open_session(title="t" * 10_000)
    usage = {"note": "x" * 40_000}
    response = ada.add_response(session, response_text="Short.", token_usage=usage)
    socket = Socket.open(live_api, ada)

    socket.say("follow", session_id=session["session_id"], turn_id=response["response_id"])

    assert socket.wait("answer.done")["result"]["token_usage"] is None
    assert socket.wait("turn.done")["session_title"] == "t" * 1_000
    assert joined(socket.of("1")) == {response["response_id"]: "Short."}


def test_an_imported_turn_of_many_long_names_and_details_fits_its_messages(
    live_api: LiveApi, ada: Learner, ben: Learner, class_of: Callable[..., int]
) -> None:
    """Each name and the detail is as long as a file may have it."""
    session = ada.open_session(class_id=class_of("a"))
    made(ada.post(f"/sessions/{session['session_id']}/chat", {"prompt_text": "Why?"}), 201)
    exported = [json.loads(line) for line in ada.get("/export").body.splitlines()]
    lines = [line for line in exported if line["type"] not in ("usage", "response")]
    own, turn = (next(line for line in lines if line["type"] == kind) for kind in ("session", "turn"))
    own["next_id"] += 300
    [asked] = turn["asked"]
    turn["asked"] = [
        {
            **asked,
            "session_model_id": asked["response_id"] + 150 + n,
            "response_id": asked["response_id"] + n,
            "model_name": f"{n:03}" + "\x01" * 253,
        }
        for n in range(100)
    ]
    failed = {name: turn["asked"][0][name] for name in ("session_model_id", "model_name")}
    turn["errors"] = [{**failed, "code": "timeout", "detail": "d" * 31_000}]
    turn["status"] = "failed"
    file = "\n".join(map(json.dumps, lines)).encode()
    made(ben.post("/import", raw=file, headers={"content-type": "application/x-ndjson"}), 201)
    [imported] = ben.get("/sessions").json["items"]
    socket = Socket.open(live_api, ben)

    turn_id = turn["turn_id"] - own["session_id"] + imported["session_id"]
    socket.say("follow", session_id=imported["session_id"], turn_id=turn_id)
    socket.wait("turn.done")

    kinds = [event["type"] for event in socket.of("1")]
    assert kinds == ["turn.started", "answer.failed", "turn.done"]
    shown = socket.wait("turn.started")["models"]
    assert [each["model_name"][:3] for each in shown] == [f"{n:03}" for n in range(100)]
    assert len(socket.wait("answer.failed")["error"]["detail"]) > 10_000


# Cancelling


def test_cancel_ends_a_turn_for_all_who_follow_it(ada: Learner, half_answered: HalfAnswered) -> None:
    session, socket, turn_id, working = half_answered

    socket.say("cancel", "x", session_id=session["session_id"], turn_id=turn_id)
    own = socket.wait("turn.done", "x")
    done = socket.wait("turn.done", "c")
    working.join()

    assert own == {
        "id": "x",
        "type": "turn.done",
        "turn_id": turn_id,
        "status": "cancelled",
        "session_title": None,
    }
    assert done["status"] == "cancelled"
    assert socket.wait("answer.failed", "c")["error"]["code"] == "cancelled"
    assert joined(socket.of("c")) == texts_of(ada, session, turn_id)
    socket.say("cancel", "y", session_id=session["session_id"], turn_id=turn_id)
    assert socket.wait("turn.done", "y")["status"] == "cancelled"


def test_a_queued_turn_that_is_cancelled_ends_for_its_followers(
    stack: Stack, ada: Learner, class_of: Any, provider: FakeProvider, deliver_turns: Any
) -> None:
    session = ada.open_session(class_id=class_of("alpha"))
    socket, turn_id = started(stack, ada, session)

    assert ada.delete(f"/sessions/{session['session_id']}/turns/{turn_id}").status == 204
    deliver_turns()

    assert socket.wait("turn.done", "c")["status"] == "cancelled"
    assert [event["type"] for event in socket.of("c")] == ["turn.started", "turn.done"]
    assert provider.asked() == {}


def test_a_finished_turn_cannot_be_cancelled(live_api: LiveApi, ada: Learner) -> None:
    session = ada.open_session()
    response = ada.add_response(session)
    socket = Socket.open(live_api, ada)

    socket.say("cancel", session_id=session["session_id"], turn_id=response["response_id"])

    assert socket.arrived(1) == [{"type": "error", "id": "1", "status": 409, "detail": "turn_finished"}]


# Workers that die


def test_the_next_worker_begins_every_answer_anew(
    stack: Stack,
    ada: Learner,
    class_of: Any,
    provider: FakeProvider,
    deliver_turns: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = ada.open_session(class_id=class_of("alpha"))
    socket, turn_id = started(stack, ada, session)
    assert turns.claim(ada.user_id, turn_id, worker.WORKER_LEASE)  # and its worker dies
    later = time.time() + 120
    monkeypatch.setattr(time, "time", lambda: later)

    deliver_turns()
    socket.wait("turn.done", "c")

    kinds = [event["type"] for event in socket.of("c")]
    assert [kind for kind, _ in groupby(kinds)] == [
        "turn.started",
        "answer.restarted",
        "answer.delta",
        "answer.done",
        "turn.done",
    ]
    assert joined(socket.of("c")) == texts_of(ada, session, turn_id)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", range(1, 19))
def test_whenever_a_worker_is_killed_its_followers_have_the_stored_text_from_the_next_one(
    stack: Stack,
    ada: Learner,
    class_of: Any,
    provider: FakeProvider,
    deliver_turns: Any,
    monkeypatch: pytest.MonkeyPatch,
    step: int,
    moment: str,
) -> None:
    """Before or after any request that it makes: of the table, or a message to a follower."""
    monkeypatch.setattr(worker, "LIVE_SECONDS", SECONDS)
    session = ada.open_session(class_id=class_of("alpha", "beta"))
    socket, turn_id = started(stack, ada, session)
    late = Socket.open(stack, ada)
    late.say("follow", "l", session_id=session["session_id"], turn_id=turn_id)
    late.wait("turn.started", "l")
    requests, lock = 0, threading.Lock()

    def before_send(request: Any, **_: Any) -> None:
        nonlocal requests
        with lock:
            requests += 1
            dies = requests == step
        if process.is_dead:
            raise Killed
        if dies:
            if moment == "after":
                URLLib3Session().send(request)
            process.die()

    clients = (table.dynamodb(), connections.client())
    with mortal() as process, hooked("before-send", before_send, *clients), suppress(Killed):
        monkeypatch.setattr(threading, "excepthook", lambda _: None)
        deliver_turns()
    assert process.is_dead
    for thread in threading.enumerate():
        if thread.name.startswith(("ask ", "follower", "close")):
            thread.join(SECONDS)
    later = time.time() + LONGEST_LEASE_SECONDS + 1
    monkeypatch.setattr(time, "time", lambda: later)
    deliver_turns()

    for each, own_id in ((socket, "c"), (late, "l")):
        each.wait("turn.done", own_id)
        events = each.of(own_id)
        ended = [event["type"] for event in events].index("turn.done")
        assert joined(events[: ended + 1]) == texts_of(ada, session, turn_id)
        assert len(joined(events[: ended + 1])) == 2


class Died(NamedTuple):
    session: dict[str, Any]
    socket: Socket
    turn_id: int

    @property
    def path(self) -> str:
        return f"/sessions/{self.session['session_id']}/turns/{self.turn_id}"


@pytest.fixture
def died(stack: Stack, ada: Learner, class_of: Any, provider: FakeProvider) -> Died:
    """A turn whose worker died just now. Its message comes back after a quarter of an hour."""
    session = ada.open_session(class_id=class_of("alpha"))
    socket, turn_id = started(stack, ada, session)
    assert turns.claim(ada.user_id, turn_id, worker.WORKER_LEASE)
    stack.queues.purge("practice-local-TurnQueue")
    return Died(session, socket, turn_id)


@pytest.mark.parametrize("how", ["http", "live"])
@pytest.mark.parametrize("lease", ["lapsed", "held"])
def test_a_turn_whose_worker_died_ends_for_its_followers_when_it_is_cancelled(
    ada: Learner,
    died: Died,
    provider: FakeProvider,
    deliver_turns: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    lease: str,
    how: str,
) -> None:
    def pass_time() -> None:
        later = time.time() + LONGEST_LEASE_SECONDS + 1
        monkeypatch.setattr(time, "time", lambda: later)

    if lease == "lapsed":
        pass_time()
    if how == "http":
        assert ada.delete(died.path).status == 204
    else:
        died.socket.say("cancel", "x", session_id=died.session["session_id"], turn_id=died.turn_id)
        assert died.socket.wait("turn.done", "x")["status"] == "cancelled"
    if lease == "held":
        deliver_turns()
        assert "turn.done" not in {event["type"] for event in died.socket.of("c")}
        pass_time()
    deliver_turns()

    assert died.socket.wait("turn.done", "c")["status"] == "cancelled"
    assert died.socket.wait("answer.failed", "c")["error"]["code"] == "cancelled"
    assert provider.asked() == {}


def test_a_turn_is_cancelled_while_its_queue_takes_no_messages_and_its_followers_learn_of_it_by_another_try(
    ada: Learner, died: Died, deliver_turns: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    later = time.time() + LONGEST_LEASE_SECONDS + 1
    monkeypatch.setattr(time, "time", lambda: later)

    def refuse(*_: Any) -> None:
        raise queues.NotSent("ServiceUnavailable")

    with monkeypatch.context() as broken:
        broken.setattr(queues, "send_later", refuse)
        assert ada.delete(died.path).status == 204
    deliver_turns()
    assert "turn.done" not in {event["type"] for event in died.socket.of("c")}

    assert ada.delete(died.path).status == 204
    deliver_turns()
    assert died.socket.wait("turn.done", "c")["status"] == "cancelled"


def test_a_cancelled_turn_waits_as_long_as_a_worker_that_died_may_hold_it() -> None:
    assert worker.WORKER_LEASE.seconds <= LONGEST_LEASE_SECONDS


# What does no harm


def test_a_client_that_has_left_harms_no_turn(
    stack: Stack, ada: Learner, class_of: Any, provider: FakeProvider, deliver_turns: Any, items_of: Any
) -> None:
    session = ada.open_session(class_id=class_of("alpha"))
    socket, turn_id = started(stack, ada, session)
    socket.is_gone = True

    deliver_turns()

    assert texts_of(ada, session, turn_id)
    wait_until(lambda: not connections_in(items_of(ada)))


def test_a_client_that_does_not_read_is_closed_and_follows_again(
    stack: Stack,
    ada: Learner,
    class_of: Any,
    provider: FakeProvider,
    deliver_turns: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker, "LIVE_SECONDS", 0.5)
    session = ada.open_session(class_id=class_of("alpha"))
    socket, turn_id = started(stack, ada, session)
    socket.reads.clear()

    began = time.monotonic()
    deliver_turns()
    took = time.monotonic() - began
    socket.reads.set()

    assert took < 10
    assert socket.wait_closed() == 1000
    again = Socket.open(stack, ada)
    again.say("follow", session_id=session["session_id"], turn_id=turn_id)
    assert joined(again.of("1")) == texts_of(ada, session, turn_id)


def test_a_turn_of_a_deleted_session_is_not_found_for_its_followers(
    stack: Stack,
    ada: Learner,
    class_of: Any,
    provider: FakeProvider,
    deliver_turns: Any,
    gate: Gate,
    items_of: Any,
) -> None:
    session = ada.open_session(class_id=class_of("alpha"))
    provider.plays["alpha"] = gate.play("late")
    socket, turn_id = started(stack, ada, session)
    working = in_background(deliver_turns)
    assert gate.asked["late"].wait(30)

    assert ada.delete(f"/sessions/{session['session_id']}").status == 204
    for _, sk in [each for each in items_of(ada) if "SESSION#" in each[1]]:
        table.write(table.delete(Key(f"USER#{ada.user_id}", sk)))  # the sweep
    working.join()

    assert socket.wait("error", "c") == {
        "type": "error",
        "id": "c",
        "status": 404,
        "detail": "session not found",
    }
    socket.say("follow", "f", session_id=session["session_id"], turn_id=turn_id)
    assert socket.wait("error", "f")["status"] == 404


# Limits


def test_the_eleventh_connection_closes_the_oldest(live_api: LiveApi, ada: Learner) -> None:
    sockets = [Socket.open(live_api, ada) for _ in range(11)]

    assert sockets[0].wait_closed() == 1000
    assert [each.closed for each in sockets[1:]] == [None] * 10
    for socket in sockets[1:]:
        socket.say("ping")
        socket.wait("pong")


def test_a_turn_has_ten_followers_and_room_for_another_when_one_leaves(
    stack: Stack, ada: Learner, class_of: Any, provider: FakeProvider, deliver_turns: Any
) -> None:
    session = ada.open_session(class_id=class_of("alpha"))
    socket, turn_id = started(stack, ada, session)
    other = Socket.open(stack, ada)
    follow = {"session_id": session["session_id"], "turn_id": turn_id}
    for n in range(9):
        other.say("follow", f"f{n}", **follow)

    other.say("follow", "eleventh", **follow)
    other.say("follow", "f0", **follow)
    refused = other.of("eleventh")
    socket.leave()
    other.say("follow", "twelfth", **follow)
    deliver_turns()

    assert refused == [{"type": "error", "id": "eleventh", "status": 429, "detail": "too_many_followers"}]
    for own_id in ("f0", "f8", "twelfth"):
        other.wait("turn.done", own_id)
        assert joined(other.of(own_id)) == texts_of(ada, session, turn_id)
    assert [event["type"] for event in socket.of("c")] == ["turn.started"]


def test_a_flood_is_refused_and_the_connection_stays(
    stack: Stack, ada: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USER_REQUESTS_PER_MINUTE", "10")
    config.cache_clear()
    rates.clear_cache()
    socket = Socket.open(stack, ada)

    for n in range(12):
        socket.say("ping", str(n))

    kinds = [event["type"] for event in socket.events]
    assert kinds == ["pong"] * 9 + ["error"] * 3
    assert socket.events[-1] == {"type": "error", "id": "11", "status": 429, "detail": "too many requests"}
    assert socket.closed is None
    monkeypatch.undo()
    config.cache_clear()
    rates.clear_cache()


def test_a_turn_over_the_daily_budget_is_refused_as_over_http(
    stack: Stack, ada: Learner, class_of: Any, provider: FakeProvider, deliver_turns: Any
) -> None:
    class_id = class_of("alpha", daily_turns=1)
    session = ada.open_session(class_id=class_id)
    socket = Socket.open(stack, ada)
    socket.say("chat", "first", session_id=session["session_id"], prompt_text="Why?")
    deliver_turns()
    socket.wait("turn.done", "first")
    sessions = made(ada.get("/sessions"), 200)["total"]

    socket.say("chat", "second", session_id=session["session_id"], prompt_text="Why not?")
    socket.say("run", "third", class_id=class_id, prompt_text="Why not?")
    deliver_turns()

    for own_id in ("second", "third"):
        refused = {"type": "error", "id": own_id, "status": 429, "detail": "daily_budget_spent"}
        assert socket.of(own_id) == [refused]
    assert socket.closed is None
    assert len(provider.requests) == 1
    assert made(ada.get("/sessions"), 200)["total"] == sessions, "a run that is refused opens none"


# Idempotency


def test_a_key_is_shared_with_the_http_api(
    stack: Stack, ada: Learner, class_of: Any, provider: FakeProvider, deliver_turns: Any
) -> None:
    session = ada.open_session(class_id=class_of("alpha"))
    path, body = f"/sessions/{session['session_id']}/chat", {"prompt_text": "Why?", "model_names": None}
    socket, turn_id = started(stack, ada, session, idempotency_key="k1", model_names=None)
    deliver_turns()
    over_http = made(ada.post(path, body, headers={"idempotency-key": "k2"}), 201)

    socket.say("chat", "again", session_id=session["session_id"], idempotency_key="k1", **body)
    replayed = ada.post(path, body, headers={"idempotency-key": "k1"})
    socket.say("chat", "other", session_id=session["session_id"], idempotency_key="k2", **body)
    socket.say("chat", "reused", session_id=session["session_id"], idempotency_key="k1", prompt_text="What?")

    assert provider.asked() == {"alpha": 2}
    assert joined(socket.of("again")) == joined(socket.of("c")) == texts_of(ada, session, turn_id)
    assert (replayed.status, replayed.json["turn_id"]) == (202, turn_id)
    [result] = over_http["results"]
    assert joined(socket.of("other")) == {result["response_id"]: result["response_text"]}
    assert socket.of("reused") == [
        {"type": "error", "id": "reused", "status": 422, "detail": "idempotency_key_reused"}
    ]


@pytest.mark.parametrize("action", ["chat", "run"])
def test_a_refused_message_gives_its_key_back(
    stack: Stack, ada: Learner, class_of: Any, provider: FakeProvider, action: str
) -> None:
    class_id = class_of("alpha")
    place = {"class_id": class_id} if action == "run" else {}
    if action == "chat":
        place["session_id"] = ada.open_session(class_id=class_id)["session_id"]
    socket = Socket.open(stack, ada)

    socket.say(action, "1", **place, prompt_text="Why?", model_names=["unknown"], idempotency_key="k")
    assert socket.wait("error", "1")["status"] == 400
    socket.say(action, "2", **place, prompt_text="Why?", idempotency_key="k")

    assert socket.wait("turn.started", "2")["models"][0]["model_name"] == "alpha"


def test_a_key_of_run_is_shared_too(
    stack: Stack, ada: Learner, class_of: Any, provider: FakeProvider
) -> None:
    class_id = class_of("alpha")
    headers = {"idempotency-key": "k"}
    body = {"prompt_text": "Why?"}
    first = made(ada.post(f"/sessions/run?class_id={class_id}", body, headers=headers), 201)
    socket = Socket.open(stack, ada)

    socket.say("run", class_id=class_id, idempotency_key="k", **body)

    assert socket.wait("turn.started")["session_id"] == first["session_id"]
    assert provider.asked() == {"alpha": 1}


# Streams


def test_deltas_arrive_while_the_provider_writes(
    stack: Stack, ada: Learner, class_of: Any, provider: FakeProvider, deliver_turns: Any
) -> None:
    words = [f"word-{number} é😀 " for number in range(8)]
    chunks = [{"choices": [{"index": 0, "delta": {"content": word}}]} for word in words]
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    parts: list[Part] = []
    for chunk in (*chunks, last):
        parts += [b"data: " + json.dumps(chunk).encode() + b"\n\n", 0.15]
    provider.plays["alpha"] = lambda _: Played(
        {}, headers={"content-type": "text/event-stream"}, parts=[*parts, b"data: [DONE]\n\n"]
    )
    session = ada.open_session(class_id=class_of("alpha"))
    socket, turn_id = started(stack, ada, session)

    working = in_background(deliver_turns)
    first = socket.wait("answer.delta", "c")
    path = f"/sessions/{session['session_id']}/turns/{turn_id}"
    status = made(ada.get(path), 200)["status"]
    late = Socket.open(stack, ada)
    late.say("follow", session_id=session["session_id"], turn_id=turn_id)
    socket.wait("turn.done", "c")
    late.wait("turn.done")
    working.join()

    assert (first["text"], status) == (words[0], "running")
    assert joined(socket.of("c")) == joined(late.of("1")) == texts_of(ada, session, turn_id)
    assert set(joined(socket.of("c")).values()) == {"".join(words)}
    deltas = [event for event in socket.of("c") if event["type"] == "answer.delta"]
    assert len(deltas) >= 4


def test_thirty_seconds_of_three_models_take_at_most_nine_hundred_messages() -> None:
    """There is always something to send, and a follower is sent it as soon as it is due."""
    asked = [
        AskedModel(
            session_model_id=n,
            model_name=f"model-{n}",
            response_id=10 + n,
            is_primary=n == 1,
            generation_params={},
        )
        for n in (1, 2, 3)
    ]
    live = Live(7, 10, 1, asked, None)
    follower = Follower("connection", "c")
    sent = {each.response_id: _Sent(0) for each in asked}
    sender = _Sender(live, follower, sent, greets=True)
    messages: list[BaseModel] = []

    def send(now: float) -> float:
        """All that is due; when the next is."""
        while (due := sender._next(now))[0] is not None:
            messages.append(due[0])
        return now + (due[1] or 0.0)

    def write() -> None:
        for each in asked:
            live.wrote(each, "word ")

    now, words = 0.0, 1
    write()
    while now <= 30:
        send(now)
        write()
        words += 1
        now = send(now)
    for each in asked:
        text = "word " * words
        response = Response(
            response_id=each.response_id,
            session_model_id=each.session_model_id,
            session_id=1,
            model_name=each.model_name,
            prompt_text="Why?",
            response_text=text,
            token_usage=None,
            latency_ms=1,
            created_at="2026-01-01T00:00:00.000000Z",
        )
        live.answered(each, response, {})
    live.status = TurnStatus.DONE
    send(now)

    assert joined([message.model_dump(mode="json") for message in messages]) == {
        each.response_id: "word " * words for each in asked
    }
    assert 800 < len(messages) <= 900
