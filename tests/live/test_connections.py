"""Who may open a live connection, what ends it, and what bad messages are answered with."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest

from local.stack import Stack
from practice.runtime.config import config
from practice.store import accounts
from practice.turns import worker
from tests.live.conftest import Gate
from tests.support import deliveries
from tests.support.learners import BASE_URL, Learner
from tests.support.live import LiveApi, Refused, Socket
from tests.support.providers import FakeProvider

ALL_TOKENS = {"issued_before": "2100-01-01T00:00:00Z"}


def token(secret: str, ada: Learner, **claims: Any) -> str:
    now = int(time.time())
    given = {"sub": str(ada.user_id), "iat": now, "exp": now + 600, **claims}
    present = {name: value for name, value in given.items() if value is not None}
    return jwt.encode(present, secret, algorithm="HS256")


# The handshake


def test_a_token_among_the_subprotocols_opens_a_connection(live_api: LiveApi, ada: Learner) -> None:
    socket = Socket.open(live_api, None, sec_websocket_protocol=f"practice.v1, bearer.{ada.token}")

    assert socket.protocol == "practice.v1"
    socket.say("ping")
    socket.wait("pong")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer x"},
        {"authorization": "Basic {token}"},
        {"sec_websocket_protocol": "bearer.{token}"},
        {"sec_websocket_protocol": "practice.v1"},
        {"sec_websocket_protocol": "practice.v1, bearer."},
        {"sec_websocket_protocol": "practice.v1, bearer.{token}, bearer.{token}"},
        {"authorization": "Bearer x", "sec_websocket_protocol": "practice.v1, bearer.{token}"},
    ],
    ids=str,
)
def test_a_handshake_without_a_good_token_is_401(
    live_api: LiveApi, ada: Learner, headers: dict[str, str]
) -> None:
    filled = {name: value.replace("{token}", ada.token) for name, value in headers.items()}

    with pytest.raises(Refused) as refused:
        Socket.open(live_api, None, **filled)

    assert refused.value.status == 401
    if not BASE_URL:  # AWS does not document which headers of a refusal reach the client
        assert refused.value.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "claims",
    [{"exp": 1_700_000_000}, {"sub": None}, {"exp": None}, {"sub": "0"}, {"iat": True}],
    ids=str,
)
def test_a_token_with_bad_claims_opens_nothing(
    live_api: LiveApi, ada: Learner, signing_secret: str, claims: dict[str, Any]
) -> None:
    if not signing_secret:
        pytest.skip("needs TOKEN_SECRET")
    with pytest.raises(Refused) as refused:
        Socket.open(live_api, None, authorization=f"Bearer {token(signing_secret, ada, **claims)}")

    assert refused.value.status == 401


@pytest.mark.parametrize(
    ("origin", "accepted"),
    [
        (None, True),
        ("https://learn.example.com", True),
        ("https://evil.example.com", False),
        ("https://learn.example.com.evil.example.com", False),
        ("null", False),
    ],
)
def test_a_browser_opens_connections_for_pages_of_the_allowed_origins_alone(
    stack: Stack, ada: Learner, monkeypatch: pytest.MonkeyPatch, origin: str | None, accepted: bool
) -> None:
    headers = {"origin": origin} if origin else {}
    with monkeypatch.context() as patched:
        patched.setenv("CORS_ORIGINS", "https://learn.example.com,https://other.example.com")
        config.cache_clear()
        try:
            status = Socket.open(stack, ada, **headers).closed or 101
        except Refused as refused:
            status = refused.status
    config.cache_clear()

    assert status == (101 if accepted else 403)


def test_a_revoked_token_opens_nothing_from_that_moment_on(stack: Stack, ada: Learner, hand_in: Any) -> None:
    """What this process remembers of the account does not count."""
    Socket.open(stack, ada)
    hand_in("TokensRevoked", {"user_id": ada.user_id, **ALL_TOKENS})

    with pytest.raises(Refused) as refused:
        Socket.open(stack, ada)

    assert refused.value.status == 401


# What ends it


def test_a_connection_ends_with_its_token(
    stack: Stack, ada: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local.live.IDLE_SECONDS", 7200.0)  # the gateway would end it first
    socket = Socket.open(stack, ada)
    later = time.time() + 3700
    monkeypatch.setattr(time, "time", lambda: later)

    socket.say("ping")

    assert socket.wait_closed() == 1000
    assert socket.events == []


def test_a_revocation_ends_a_connection_at_its_next_message(stack: Stack, ada: Learner, hand_in: Any) -> None:
    socket = Socket.open(stack, ada)
    hand_in("TokensRevoked", {"user_id": ada.user_id, **ALL_TOKENS})
    accounts.clear_cache()  # it is remembered for 50 seconds

    socket.say("ping")

    assert socket.wait_closed() == 1000
    assert socket.events == []


@pytest.mark.parametrize("how", ["revoked", "erased", "expired", "left"])
def test_a_follower_who_may_follow_no_more_is_sent_nothing_more(
    stack: Stack,
    ada: Learner,
    class_of: Any,
    provider: FakeProvider,
    deliver_turns: Callable[[], None],
    gate: Gate,
    hand_in: Any,
    how: str,
) -> None:
    """The runner looks once a second."""
    session = ada.open_session(class_id=class_of("alpha", "beta"))
    provider.plays["beta"] = gate.play("late")
    seconds = 3 if how == "expired" else 600
    own = token(stack.token_secret, ada, exp=int(time.time()) + seconds)
    socket = Socket.open(stack, None, authorization=f"Bearer {own}")
    socket.say("chat", "c", session_id=session["session_id"], prompt_text="Why?")
    working = threading.Thread(target=deliver_turns, daemon=True)
    working.start()
    socket.wait("answer.done", "c")

    if how == "revoked":
        hand_in("TokensRevoked", {"user_id": ada.user_id, **ALL_TOKENS})
    elif how == "erased":
        hand_in("UserErased", {"user_id": ada.user_id})
    elif how == "left":
        socket.leave()
        socket.close(1005)
    socket.wait_closed()
    seen = len(socket.events)
    gate.open("late")
    working.join(30)

    assert len(socket.events) == seen
    assert "turn.done" not in {event["type"] for event in socket.events}


def test_an_erasure_leaves_no_connection_behind(
    stack: Stack, ada: Learner, hand_in: Any, items_of: Any
) -> None:
    sockets = [Socket.open(stack, ada) for _ in range(3)]
    delivered = deliveries.of(stack)

    hand_in("UserErased", {"user_id": ada.user_id})
    delivered.run()

    assert {sk for _, sk in items_of(ada)} == {"ACCOUNT"}
    for socket in sockets:
        socket.say("ping")
        assert socket.wait_closed() == 1000
        assert socket.events == []


def test_a_connection_that_is_unknown_is_closed(stack: Stack, ada: Learner) -> None:
    socket = Socket.open(stack, ada)
    stack.live.disconnect(socket.connection)
    stack.live._connections[socket.connection.connection_id] = socket.connection

    socket.say("ping")

    assert socket.wait_closed() == 1000
    assert socket.events == []


# Bad messages

FIELDS = {"session_id": 32768, "prompt_text": "Why?"}
TURN = {"session_id": 32768, "turn_id": 32770}


def message(action: object, **fields: object) -> str:
    return json.dumps({"action": action, "id": "1", **fields})


@pytest.mark.parametrize(
    ("text", "status", "detail"),
    [
        ("", 422, None),
        ("ping", 422, None),
        ("[]", 422, None),
        ("null", 422, None),
        ('"ping"', 422, None),
        ("NaN", 422, None),
        ("[" * 20_000, 422, None),
        ('{"id": "1"}', 422, [["body", "action"]]),
        ('{"action": "ping"}', 422, [["body", "id"]]),
        ('{"action": "ping", "id": 1}', 422, [["body", "id"]]),
        ('{"action": "ping", "id": null}', 422, [["body", "id"]]),
        (json.dumps({"action": "ping", "id": "x" * 65}), 422, [["body", "id"]]),
        ('{"action": "ping", "id": "\\ud800"}', 422, [["body", "id"]]),
        ('{"action": "ping", "id": "a\\u0000"}', 422, [["body", "id"]]),
        (message("ping", more=1), 422, [["body", "more"]]),
        (message("delete_all"), 404, "unknown action"),
        (message("$connect"), 404, "unknown action"),
        (message("$disconnect"), 404, "unknown action"),
        (message(""), 404, "unknown action"),
        (message(["ping"]), 404, "unknown action"),
        (message(7), 404, "unknown action"),
        (message("chat"), 422, [["path", "session_id"], ["body", "prompt_text"]]),
        (message("chat", **FIELDS | {"prompt_text": " "}), 422, [["body", "prompt_text"]]),
        (message("chat", **FIELDS | {"session_id": 0}), 422, [["path", "session_id"]]),
        (message("chat", **FIELDS, temperature=1), 422, [["body", "temperature"]]),
        (message("chat", **FIELDS, idempotency_key=""), 422, [["header", "idempotency-key"]]),
        (message("chat", **FIELDS, idempotency_key="x" * 256), 422, [["header", "idempotency-key"]]),
        (message("chat", **FIELDS), 404, "session not found"),
        (message("chat", **FIELDS | {"session_id": 2**70}), 404, "session not found"),
        (message("run", prompt_text="Why?"), 422, [["query", "class_id"]]),
        (message("run", class_id=2**60, prompt_text="Why?"), 422, [["query", "class_id"]]),
        (message("run", class_id=7, prompt_text="?", agent_id="x"), 422, [["body", "agent_id"]]),
        (message("follow", session_id=32768), 422, [["path", "turn_id"]]),
        (message("follow", **TURN), 404, "session not found"),
        (message("follow", **TURN, more=1), 422, [["body", "more"]]),
        (message("cancel", **TURN | {"turn_id": "x"}), 422, [["path", "turn_id"]]),
        (message("cancel", **TURN | {"turn_id": 2**80}), 404, "session not found"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_bad_message_is_an_error_and_the_connection_stays(
    live_api: LiveApi, ada: Learner, text: str, status: int, detail: Any
) -> None:
    socket = Socket.open(live_api, ada)

    socket.say_raw(text)
    [error] = socket.arrived(1)
    socket.say("ping", "after")

    [_, pong] = socket.arrived(2)
    assert pong == {"type": "pong", "id": "after"}
    assert (error["type"], error["status"]) == ("error", status)
    assert error["id"] == ("1" if '"id": "1"' in text else None)
    if isinstance(detail, list):
        assert [each["loc"] for each in error["detail"]] == detail
    elif detail:
        assert error["detail"] == detail
    socket.of("after")


def test_a_422_as_large_as_it_gets_fits_a_message(live_api: LiveApi, ada: Learner) -> None:
    socket = Socket.open(live_api, ada)
    names = {"\x01" * 250 + str(n): 1 for n in range(18)}

    socket.say_raw(message("chat", **FIELDS, **names))

    socket.arrived(1)
    [error] = socket.of("1")
    assert error["status"] == 422
    assert error["detail"]


@pytest.mark.parametrize("action", ["follow", "cancel", "chat"])
def test_the_turn_of_another_learner_is_not_found(
    live_api: LiveApi, ada: Learner, ben: Learner, action: str
) -> None:
    session = ada.open_session()
    response = ada.add_response(session)
    socket = Socket.open(live_api, ben)
    fields = {"prompt_text": "Why?"} if action == "chat" else {"turn_id": response["response_id"]}

    socket.say(action, "theirs", session_id=session["session_id"], **fields)
    socket.arrived(1)
    socket.say(action, "unknown", session_id=2**40, **fields)

    [theirs, unknown] = socket.arrived(2)
    assert theirs == {"type": "error", "id": "theirs", "status": 404, "detail": "session not found"}
    assert theirs | {"id": "unknown"} == unknown


def test_a_turn_of_another_session_is_not_found(live_api: LiveApi, ada: Learner) -> None:
    session, other = ada.open_session(), ada.open_session()
    response = ada.add_response(other)
    socket = Socket.open(live_api, ada)

    for turn_id in (response["response_id"], session["session_id"] + 30_000):
        socket.say("follow", session_id=session["session_id"], turn_id=turn_id)

    assert [event["detail"] for event in socket.arrived(2)] == ["turn not found"] * 2


def test_what_is_refused_over_http_is_refused_with_the_same_words(
    live_api: LiveApi, ada: Learner, announce: Any
) -> None:
    announce(900_001, "alpha", status="ended")
    socket = Socket.open(live_api, ada)
    session_id = ada.open_session()["session_id"]
    run, chat = "/sessions/run?class_id=", f"/sessions/{session_id}/chat"
    refused: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
        ("run", {"class_id": 900_001}, {}, f"{run}900001"),
        ("run", {"class_id": 1}, {"model_names": ["no"]}, f"{run}1"),
        ("run", {"class_id": 1}, {"few_shot_example_ids": [77]}, f"{run}1"),
        ("run", {"class_id": 1}, {"generation_params": {"top_p": 7}}, f"{run}1"),
        ("chat", {"session_id": session_id}, {"model_names": ["no"]}, chat),
        ("chat", {"session_id": session_id}, {"prompt_text": "\0"}, chat),
    ]

    for number, (action, own, more, path) in enumerate(refused):
        body = {"prompt_text": "Why?", **more}
        over_http = ada.post(path, body)
        socket.say(action, str(number), **own, **body)

        error = socket.wait("error", str(number))
        assert (error["status"], error["detail"]) == (over_http.status, over_http.detail), (action, more)


def test_a_fault_of_ours_is_a_500_that_says_nothing(
    stack: Stack, ada: Learner, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("the learner's secret")

    socket = Socket.open(stack, ada)
    with monkeypatch.context() as broken:
        broken.setattr(accounts, "admit", fails)
        socket.say("ping")

    assert socket.events == [{"type": "error", "id": "1", "status": 500, "detail": "internal server error"}]
    assert "secret" not in capsys.readouterr().out


def test_followers_have_their_time_within_that_of_the_worker() -> None:
    assert worker.WORKER_LEASE.seconds > worker.LIVE_SECONDS
