"""WebSockets on the local stack's port, by a client of the `websockets` library."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from local.server import MESSAGES_AT_ONCE
from local.stack import Stack
from tests.support.learners import Learner
from tests.support.processes import SECONDS, wait_until


@pytest.fixture
def opened(stack: Stack, ada: Learner) -> Callable[..., ClientConnection]:
    def open_one(path: str = "/live", **options: Any) -> ClientConnection:
        options.setdefault("additional_headers", {"authorization": f"Bearer {ada.token}"})
        made: ClientConnection = connect(stack.url.replace("http", "ws") + path, **options)
        return made

    return open_one


def close_code(socket: ClientConnection) -> int | None:
    with pytest.raises(ConnectionClosed) as closed:
        socket.recv(SECONDS)
    return closed.value.rcvd.code if closed.value.rcvd else None


def test_a_client_talks_over_a_real_socket(opened: Any) -> None:
    with opened() as socket:
        socket.send(json.dumps({"action": "ping", "id": "1"}))

        assert json.loads(socket.recv(SECONDS)) == {"id": "1", "type": "pong"}


def test_a_browser_sends_its_token_as_a_subprotocol_and_gets_the_other_one_back(
    opened: Any, ada: Learner
) -> None:
    offered = [Subprotocol("practice.v1"), Subprotocol(f"bearer.{ada.token}")]
    with opened(additional_headers={}, subprotocols=offered) as socket:
        assert socket.subprotocol == "practice.v1"


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [("/live", {}, 401), ("/live", {"authorization": "Bearer x"}, 401), ("/elsewhere", {}, 403)],
)
def test_a_handshake_that_is_refused_has_its_status(
    opened: Any, path: str, headers: Any, status: int
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        opened(path, additional_headers=headers)

    assert refused.value.response.status_code == status


def test_a_message_above_32_kb_closes_the_connection_with_1009(opened: Any) -> None:
    with opened() as socket:
        socket.send(json.dumps({"action": "ping", "id": "1", "filler": "x" * 32 * 1024}))

        assert close_code(socket) == 1009


def test_a_binary_message_closes_the_connection_with_1003(opened: Any) -> None:
    with opened() as socket:
        socket.send(b"ping")

        assert close_code(socket) == 1003


def test_a_flood_has_few_messages_under_way_and_loses_none(
    opened: Any, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, opens = threading.Lock(), threading.Event()
    under_way, most, handled = 0, 0, 0

    def receive(connection: object, text: str) -> None:
        nonlocal under_way, most, handled
        with lock:
            under_way += 1
            most = max(most, under_way)
        assert opens.wait(SECONDS)
        with lock:
            under_way -= 1
            handled += 1

    with monkeypatch.context() as patched, opened() as socket:
        patched.setattr(stack.live, "receive", receive)
        for number in range(300):
            socket.send(json.dumps({"action": "ping", "id": str(number)}))
        wait_until(lambda: under_way == MESSAGES_AT_ONCE)
        opens.set()
        wait_until(lambda: handled == 300)

    assert most == MESSAGES_AT_ONCE


def test_the_state_of_the_stack_lists_connections(opened: Any, stack: Stack) -> None:
    with opened() as socket:
        socket.send(json.dumps({"action": "ping", "id": "1"}))
        socket.recv(SECONDS)

        def shown() -> list[tuple[int, int]]:
            return [(each["received"], each["sent"]) for each in stack.state["connections"]]

        wait_until(lambda: shown() == [(1, 1)])
    wait_until(lambda: stack.state["connections"] == [])


def test_what_is_idle_too_long_is_closed(opened: Any, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened() as socket:
        later = time.time() + 601
        with monkeypatch.context() as patched:
            patched.setattr(time, "time", lambda: later)
            stack.live.expire()

        assert close_code(socket) == 1001
