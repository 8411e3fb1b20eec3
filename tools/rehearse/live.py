"""A client of the live API of a deployed stack."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tools.rehearse.checks import SECONDS, Failed

Event = dict[str, Any]
PROTOCOL = "practice.v1"


class Socket:
    """One connection, and the events that it has received."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._events: list[Event] = []

    def send(self, action: str, own_id: str, **fields: object) -> None:
        self._connection.send(json.dumps({"action": action, "id": own_id, **fields}))

    def wait(self, kind: str, own_id: str) -> Event:
        """The first event of this type for this id. An error for the id ends the drive, unless it is waited for."""
        deadline = time.monotonic() + SECONDS
        while True:
            for event in self.of(own_id):
                if event["type"] == kind:
                    return event
                if event["type"] == "error":
                    raise Failed(f"{own_id} got {event}, not {kind}")
            try:
                text = self._connection.recv(timeout=max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                raise Failed(f"no {kind} for {own_id} within {SECONDS:.0f} s: {self.of(own_id)}") from None
            except ConnectionClosed as closed:
                raise Failed(f"the connection ended before {kind} for {own_id}: {closed}") from closed
            self._events.append(json.loads(text))

    def of(self, own_id: str) -> list[Event]:
        return [event for event in self._events if event["id"] == own_id]

    def text(self, own_id: str) -> dict[int, str]:
        """The stored answers of a turn, as a client puts them together."""
        texts: dict[int, str] = {}
        done: dict[int, str] = {}
        for event in self.of(own_id):
            match event["type"]:
                case "answer.delta":
                    before = texts.setdefault(event["response_id"], "")
                    if event["offset"] != len(before):
                        raise Failed(f"a delta of {own_id} has offset {event['offset']}, not {len(before)}")
                    texts[event["response_id"]] = before + event["text"]
                case "answer.restarted":
                    texts.pop(event["response_id"], None)
                case "answer.done":
                    response_id = event["result"]["response_id"]
                    done[response_id] = texts[response_id]
                    if event["sha256"] != sha256(done[response_id].encode()).hexdigest():
                        raise Failed(f"the deltas of {own_id} are not the stored answer")
        return done


@contextmanager
def connected(url: str, token: str, *, is_browser: bool = False) -> Iterator[Socket]:
    """With the token in the header, or as a browser offers it among the subprotocols."""
    with connect(
        url,
        additional_headers={} if is_browser else {"authorization": f"Bearer {token}"},
        subprotocols=[Subprotocol(PROTOCOL), Subprotocol(f"bearer.{token}")] if is_browser else None,
        open_timeout=SECONDS,
        proxy=None,
    ) as connection:
        yield Socket(connection)


def refusal(url: str, token: str) -> int:
    """The status of a handshake that must be refused."""
    try:
        with connected(url, token):
            raise Failed("a connection without a valid token is accepted")
    except InvalidStatus as refused:
        return refused.response.status_code
