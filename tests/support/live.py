"""A client of the live API: of the local stack in this process, or of the stack at LIVE_URL."""

import json
import os
import threading
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Self

from jsonschema import Draft202012Validator
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from local.http import Response
from local.stack import Stack
from tests.support.learners import Learner
from tests.support.processes import SECONDS

Event = dict[str, Any]

LIVE_URL: Final = os.environ.get("LIVE_URL", "")
"""Of the stack at BASE_URL."""

CONTRACT: Final = json.loads((Path(__file__).parents[2] / "asyncapi.json").read_text())
SCHEMA: Final = Draft202012Validator(
    {
        "components": CONTRACT["components"],
        "oneOf": [
            {"$ref": f"#/components/schemas/{message['$ref'].rpartition('/')[2]}"}
            for message in CONTRACT["operations"]["events"]["messages"]
        ],
    }
)


class Refused(Exception):
    """The handshake, with its status."""

    def __init__(self, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers


@dataclass(frozen=True)
class Shaken:
    """The answer to a handshake, as the local stack's gateway gives it."""

    connection: ClientConnection | None
    response: Response


class Remote:
    """The live API at LIVE_URL, in the place of the local stack with its gateway."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._open = ExitStack()

    @property
    def live(self) -> Self:
        return self

    def connect(self, headers: Iterable[tuple[str, str]], peer: "Socket") -> Shaken:
        sent = {name: value for name, value in headers if name != "host"}
        offered = sent.pop("sec-websocket-protocol", "")
        try:
            connection = self._open.enter_context(
                connect(
                    self._url,
                    additional_headers=sent,
                    subprotocols=[Subprotocol(each) for each in offered.split(", ")] if offered else None,
                    open_timeout=SECONDS,
                    proxy=None,
                )
            )
        except InvalidStatus as refused:
            return Shaken(
                None, Response(refused.response.status_code, list(refused.response.headers.items()))
            )
        threading.Thread(target=self._read, args=(connection, peer), daemon=True).start()
        own = [("sec-websocket-protocol", str(connection.subprotocol))] if connection.subprotocol else []
        return Shaken(connection, Response(101, own))

    @staticmethod
    def _read(connection: ClientConnection, peer: "Socket") -> None:
        with suppress(ConnectionClosed):
            while True:
                peer.send(str(connection.recv()))
        peer.close(connection.close_code or 1006)

    def receive(self, connection: Any, text: str) -> None:
        with suppress(ConnectionClosed):
            connection.send(text)

    def disconnect(self, connection: Any) -> None:
        connection.close()

    def close(self) -> None:
        self._open.close()


LiveApi = Stack | Remote


class Socket:
    """One connection. `stack` sends it events; tests send messages, and wait for what comes."""

    def __init__(self, stack: LiveApi) -> None:
        self._stack = stack
        self._arrived = threading.Condition()
        self.events: list[Event] = []
        self.sizes: list[int] = []
        self.faults: list[str] = []
        """Where an event is not what asyncapi.json says."""
        self.closed: int | None = None
        self.is_gone = False
        """As if the client had left without a word."""
        self.reads = threading.Event()
        self.reads.set()
        self.connection: Any
        self.protocol: str | None = None

    @classmethod
    def open(cls, stack: LiveApi, who: Learner | None, **headers: str) -> Self:
        """Raises Refused."""
        socket = cls(stack)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if who is not None:
            sent.setdefault("authorization", f"Bearer {who.token}")
        shaken = stack.live.connect([("host", "localhost"), *sent.items()], socket)
        own = {name.lower(): value for name, value in shaken.response.headers}
        if shaken.connection is None:
            raise Refused(shaken.response.status, own)
        socket.connection, socket.protocol = shaken.connection, own.get("sec-websocket-protocol")
        return socket

    # What the gateway calls

    def send(self, text: str) -> None:
        if not self.reads.wait(SECONDS) or self.is_gone:
            raise ConnectionError
        with self._arrived:
            if self.closed is not None:
                raise ConnectionError
            self.events.append(json.loads(text))
            self.faults += [error.message for error in SCHEMA.iter_errors(self.events[-1])]
            self.sizes.append(len(text.encode()))
            self._arrived.notify_all()

    def close(self, code: int) -> None:
        with self._arrived:
            self.closed = code
            self._arrived.notify_all()

    # What tests call

    def say(self, action: str, id: str = "1", **fields: Any) -> None:
        self.say_raw(json.dumps({"action": action, "id": id, **fields}))

    def say_raw(self, text: str) -> None:
        self._stack.live.receive(self.connection, text)

    def leave(self) -> None:
        self._stack.live.disconnect(self.connection)

    def of(self, id: str) -> list[Event]:
        with self._arrived:
            assert self.faults == []
            assert all(size <= 32 * 1024 for size in self.sizes)
            return [event for event in self.events if event["id"] == id]

    def arrived(self, count: int) -> list[Event]:
        """All events so far, of which there are `count`."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.events) >= count, SECONDS), self.events
            return list(self.events)

    def wait(self, kind: str, id: str = "1", count: int = 1) -> Event:
        """The `count`-th event of this type for this id."""

        def found() -> list[Event]:
            return [event for event in self.events if (event["type"], event["id"]) == (kind, id)]

        with self._arrived:
            assert self._arrived.wait_for(
                lambda: len(found()) >= count or self.closed is not None, SECONDS
            ), f"no {kind} among {[event['type'] for event in self.events]}"
            assert len(found()) >= count, f"closed with {self.closed} before {kind}"
            return found()[count - 1]

    def wait_closed(self) -> int:
        with self._arrived:
            assert self._arrived.wait_for(lambda: self.closed is not None, SECONDS)
            assert self.closed is not None
            return self.closed


def joined(events: list[Event]) -> dict[int, str]:
    """The text of each answer as a client puts it together; what the contract promises of the events is asserted."""
    texts: dict[int, str] = {}
    done: dict[int, Event] = {}
    is_under_way = True
    for event in events:
        kind = event["type"]
        assert is_under_way, event
        if kind == "answer.delta":
            text = texts.setdefault(event["response_id"], "")
            assert event["offset"] == len(text), event
            assert event["text"]
            assert event["response_id"] not in done, event
            texts[event["response_id"]] += event["text"]
        elif kind == "answer.restarted":
            texts.pop(event["response_id"], None)
            done.pop(event["response_id"], None)
        elif kind == "answer.done":
            response_id = event["result"]["response_id"]
            text = texts[response_id]
            assert event["length"] == len(text), event
            assert event["sha256"] == sha256(text.encode()).hexdigest()
            done[response_id] = event
        elif kind == "turn.done":
            is_under_way = False
    return {response_id: texts[response_id] for response_id in done}
