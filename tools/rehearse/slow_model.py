"""A model on loopback that writes a word each tenth of a second: turns can be followed and cancelled in the middle."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NAME = "rehearsal-slow"
AT_LENGTH = "at length"
"""A prompt with these words is answered for a minute."""
WORDS, MANY_WORDS = 20, 600
PAUSE_SECONDS = 0.1


@contextmanager
def slow_model() -> Iterator[dict[str, Any]]:
    """Its entry in the configuration of models."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield {NAME: {"provider": "openai", "base_url": f"http://127.0.0.1:{server.server_port}/v1"}}
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    """The chat completions API, as far as it is used."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        is_long = AT_LENGTH in json.dumps(asked["messages"][-1]["content"])
        words = [f"word {number} " for number in range(MANY_WORDS if is_long else WORDS)]
        self.send_response(200)
        if asked.get("stream"):
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            self._stream(words)
        else:
            self.send_header("content-type", "application/json")
            self.end_headers()
            message = {"role": "assistant", "content": "".join(words)}
            self._write(json.dumps(_chunk({"message": message, "finish_reason": "stop"})))

    def _stream(self, words: list[str]) -> None:
        try:
            for word in words:
                self._event(_chunk({"delta": {"content": word}, "finish_reason": None}))
                time.sleep(PAUSE_SECONDS)
            self._event(_chunk({"delta": {}, "finish_reason": "stop"}))
            self._write("data: [DONE]\n\n")
        except ConnectionError:
            pass  # the turn was cancelled

    def _event(self, chunk: dict[str, Any]) -> None:
        self._write(f"data: {json.dumps(chunk)}\n\n")

    def _write(self, text: str) -> None:
        self.wfile.write(text.encode())
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        pass


def _chunk(choice: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "rehearsal",
        "model": NAME,
        "choices": [{"index": 0, **choice}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 20, "total_tokens": 23},
    }
