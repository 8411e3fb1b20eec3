"""A live API that plays what it is given, for the clients: answers, gaps, lost connections and refused handshakes."""

import hashlib
import json
import threading
from collections.abc import Iterable
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self

from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.http11 import Request as Handshake
from websockets.http11 import Response as Refusal
from websockets.sync.server import ServerConnection, serve

from local.http import Request, Response, json_response
from local.server import Server

Message = dict[str, Any]
LOST: Final = "lost"
"""The connection is closed."""
CUT: Final = "cut"
"""The connection ends without a closing handshake."""
SILENCE: Final = "silence"
"""Nothing more comes on this connection, pongs included."""


class LiveService:
    """Each message that is no ping gets the next play: messages, which get its id, then perhaps LOST, CUT or SILENCE."""

    def __init__(self) -> None:
        self.plays: list[list[Message | str]] = []
        self.refusals: list[int] = []
        """The statuses of the next handshakes."""
        self.answers: list[Response] = []
        """Of the HTTP API; afterwards 200."""
        self.asked: list[Message] = []
        self.handshakes: list[Handshake] = []
        self.requests: list[Request] = []
        self.pings = 0
        self.open = 0
        self._http = Server(self._answer)
        self._live = serve(
            self._converse,
            "127.0.0.1",
            0,
            select_subprotocol=lambda connection, offered: offered[0] if offered else None,
            process_request=self._greet,
        )
        self._thread = threading.Thread(target=self._live.serve_forever, daemon=True)

    @property
    def api(self) -> str:
        return self._http.url

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self._live.socket.getsockname()[1]}/live"

    def __enter__(self) -> Self:
        self._http.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.shutdown()
        self._thread.join()
        self._http.close()

    def _answer(self, request: Request) -> Response:
        self.requests.append(request)
        return self.answers.pop(0) if self.answers else json_response(200, {"items": [], "next_cursor": None})

    def _greet(self, connection: ServerConnection, handshake: Handshake) -> Refusal | None:
        self.handshakes.append(handshake)
        if self.refusals:
            return connection.respond(HTTPStatus(self.refusals.pop(0)), "refused")
        return None

    def _converse(self, connection: ServerConnection) -> None:
        self.open += 1
        is_silent = False
        try:
            for text in connection:
                message = json.loads(text)
                if message["action"] == "ping":
                    self.pings += 1
                    if not is_silent:
                        connection.send(json.dumps({"type": "pong", "id": message["id"]}))
                    continue
                self.asked.append(message)
                for step in self.plays.pop(0) if self.plays else [SILENCE]:
                    if step == LOST:
                        connection.close(CloseCode.GOING_AWAY)
                    elif step == CUT:
                        connection.close_socket()
                    is_silent = step == SILENCE
                    if isinstance(step, dict):
                        sent = step if "message" in step else {"id": message["id"], **step}
                        connection.send(json.dumps(sent))
        except ConnectionClosed:
            pass
        finally:
            self.open -= 1


TURN_ID: Final = 700
SESSION_ID: Final = 500
MODELS: Final = ("claude", "gpt")


def response_id(number: int) -> int:
    return 900 + number


def started(count: int = 1) -> Message:
    models = [
        {
            "session_model_id": 800 + number,
            "model_name": MODELS[number],
            "response_id": response_id(number),
            "is_primary": number == 0,
        }
        for number in range(count)
    ]
    return {"type": "turn.started", "turn_id": TURN_ID, "session_id": SESSION_ID, "models": models}


def delta(offset: int, text: str, number: int = 0) -> Message:
    own = {"type": "answer.delta", "turn_id": TURN_ID, "response_id": response_id(number)}
    return {**own, "offset": offset, "text": text}


def deltas(pieces: Iterable[str], number: int = 0) -> list[Message | str]:
    made: list[Message | str] = []
    offset = 0
    for piece in pieces:
        made.append(delta(offset, piece, number))
        offset += len(piece)
    return made


def restarted(number: int = 0) -> Message:
    return {"type": "answer.restarted", "turn_id": TURN_ID, "response_id": response_id(number)}


def done(text: str, number: int = 0) -> Message:
    result = {
        "session_model_id": 800 + number,
        "model_name": MODELS[number],
        "response_id": response_id(number),
        "token_usage": {"total_tokens": 3},
        "latency_ms": 12,
        "created_at": "2026-01-07T05:31:56.120501Z",
        "is_primary": number == 0,
        "generation_params": {},
    }
    own = {"type": "answer.done", "turn_id": TURN_ID, "result": result, "length": len(text)}
    return {**own, "sha256": hashlib.sha256(text.encode()).hexdigest()}


def failed(number: int = 0) -> Message:
    error = {
        "session_model_id": 800 + number,
        "model_name": MODELS[number],
        "code": "timeout",
        "detail": "too slow",
        "reason": None,
    }
    return {"type": "answer.failed", "turn_id": TURN_ID, "error": error}


def ended(status: str = "done") -> Message:
    return {"type": "turn.done", "turn_id": TURN_ID, "status": status, "session_title": "Small talk"}


def refused(status: int, detail: str) -> Message:
    return {"type": "error", "status": status, "detail": detail}
