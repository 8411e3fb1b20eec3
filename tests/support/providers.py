"""A model provider on the loopback that plays what a test gives it, and counts how often it was asked."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import inf
from typing import Any, Self

Part = bytes | float
"""Of an answer's body: what is sent, or seconds of silence; infinite ones end with the provider."""


class Played:
    """One answer: its status, its headers, its body in parts; cut before its end when it is `cut`."""

    def __init__(
        self,
        body: object,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        *,
        silence: float = 0.0,
        parts: list[Part] | None = None,
        cut: bool = False,
    ) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.parts: list[Part] = parts if parts is not None else [raw]
        self.status = status
        self.headers = dict(headers or {})
        self.silence = silence
        self.cut = cut


Play = Callable[[dict[str, Any]], Played]


def completion(text: object, **usage: int) -> dict[str, Any]:
    return {
        "model": "fake-1",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": usage or {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
    }


def replies(text: object) -> Play:
    return lambda request: Played(completion(text))


def in_turn(*plays: Play) -> Play:
    """Each once, the last for ever."""
    left = list(plays)

    def play(request: dict[str, Any]) -> Played:
        next_one = left.pop(0) if len(left) > 1 else left[0]
        return next_one(request)

    return play


class FakeProvider:
    """Serves `POST /v1/chat/completions`, Bedrock's `POST /model/<id>/converse` and `POST /knowledgebases/<id>/retrieve`."""

    def __init__(self) -> None:
        self.plays: dict[str, Play] = {}
        self.requests: list[dict[str, Any]] = []
        self.authorizations: list[str | None] = []
        self._lock = threading.Lock()
        self._closed = threading.Event()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                model = body.get("model") or self.path.split("/")[2]
                with fake._lock:
                    fake.requests.append(body | {"model": model})
                    fake.authorizations.append(self.headers.get("authorization"))
                played = fake.play(model, body)
                try:
                    self._answer(played)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            def _answer(self, played: Played) -> None:
                fake._closed.wait(played.silence)
                self.send_response(played.status)
                length = sum(len(part) for part in played.parts if isinstance(part, bytes))
                for name, value in {
                    "content-type": "application/json",
                    "content-length": str(length + played.cut),
                    **played.headers,
                }.items():
                    self.send_header(name, value)
                self.end_headers()
                for part in played.parts:
                    if isinstance(part, bytes):
                        self.wfile.write(part)
                        self.wfile.flush()
                    else:
                        fake._closed.wait(None if part == inf else part)
                self.close_connection = self.close_connection or played.cut

            def log_message(self, *_: Any) -> None:
                """Silence."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def play(self, model: str, body: dict[str, Any]) -> Played:
        return self.plays.get(model, replies(f"{model} says so"))(body)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def asked(self) -> Counter[str]:
        """How often each model was asked."""
        with self._lock:
            return Counter(request["model"] for request in self.requests)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()
