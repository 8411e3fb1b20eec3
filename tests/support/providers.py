"""A model provider on the loopback that plays what a test gives it, and counts how often it was asked.

An answer that is played whole is sent as a stream when the request asks for one.
"""

import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import inf
from typing import Any, Self
from zlib import crc32

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
        parts: Iterable[Part] | None = None,
        cut: bool = False,
    ) -> None:
        self.body = body
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.parts: list[Part] = list(parts) if parts is not None else [raw]
        self.is_whole = parts is None
        self.status = status
        self.headers = dict(headers or {})
        self.silence = silence
        self.cut = cut


def sse(*events: object, end: bytes = b"\n\n") -> list[bytes]:
    """As chat completions are streamed; a text goes out as it is."""
    datas = [each if isinstance(each, str) else json.dumps(each) for each in events]
    return [b"data: " + each.encode(errors="surrogateescape") + end for each in datas]


def chunk(content: object = None, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    delta = fields if content is None else {"content": content, **fields}
    return {"model": "fake-1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def streamed(*texts: str, usage: dict[str, int] | None = None, finish: str | None = "stop") -> list[bytes]:
    """A whole stream of these pieces."""
    counts = usage or {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    last = {"model": "fake-1", "choices": [], "usage": counts}
    return sse(*map(chunk, texts), chunk(finish=finish), last, "[DONE]")


def event_stream(*events: tuple[str, object], kind: str = "event") -> list[bytes]:
    """As Bedrock frames them."""
    return [_frame({":message-type": kind, f":{kind}-type": name}, body) for name, body in events]


def _frame(headers: dict[str, str], body: object) -> bytes:
    packed = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + len(value).to_bytes(2) + value.encode()
        for name, value in {**headers, ":content-type": "application/json"}.items()
    )
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    prelude = (16 + len(packed) + len(payload)).to_bytes(4) + len(packed).to_bytes(4)
    framed = prelude + crc32(prelude).to_bytes(4) + packed + payload
    return framed + crc32(framed).to_bytes(4)


def _words(text: str) -> list[str]:
    """Of a long text some hundred pieces."""
    size = max(1, len(text) // 500)
    return re.findall(r"\S+\s*|\s+", text) if size < 20 else re.findall(rf"(?s).{{1,{size}}}", text)


def _as_chunks(whole: dict[str, Any], *, with_usage: bool) -> Iterator[object]:
    """Of a chat completion. Each field of the message in pieces: a text by its words, a list by its parts."""
    usage = [{"choices": [], "usage": whole["usage"]}] if with_usage and "usage" in whole else []
    rest = {name: value for name, value in whole.items() if name not in ("choices", "usage")}
    for choice in whole["choices"]:
        message, facts = choice.get("message") or {}, {k: v for k, v in choice.items() if k != "message"}
        yield rest | {"choices": [facts | {"delta": {"role": "assistant"}, "finish_reason": None}]}
        for name, value in message.items():
            pieces = value if isinstance(value, list) and name == "content" else None
            for piece in _words(value) if isinstance(value, str) else [value] if pieces is None else pieces:
                delta = {name: piece if pieces is None else [piece]}
                yield rest | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
        yield rest | {"choices": [facts | {"delta": {}}]}
    for each in usage:
        yield rest | each
    yield "[DONE]"


def _as_events(whole: dict[str, Any]) -> Iterator[tuple[str, object]]:
    """Of an answer of Converse."""
    yield "messageStart", {"role": "assistant"}
    for index, block in enumerate(whole["output"]["message"]["content"]):
        if "text" in block:
            deltas: list[object] = [{"text": each} for each in _words(block["text"])]
        else:
            deltas = [{"reasoningContent": {"text": block["reasoningContent"]["reasoningText"]["text"]}}]
        for delta in deltas:
            yield "contentBlockDelta", {"contentBlockIndex": index, "delta": delta}
        yield "contentBlockStop", {"contentBlockIndex": index}
    yield "messageStop", {"stopReason": whole["stopReason"]}
    yield "metadata", {"usage": whole["usage"], "metrics": whole["metrics"]}


SSE_HEADERS = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
EVENT_STREAM_HEADERS = {
    "content-type": "application/vnd.amazon.eventstream",
    "transfer-encoding": "chunked",
}


def _as_asked(played: "Played", request: dict[str, Any], *, is_converse: bool) -> "Played":
    whole = played.body
    if not isinstance(whole, dict):
        return played
    if is_converse and "output" in whole:
        events = event_stream(*_as_events(whole))
        return Played(
            b"", headers=played.headers | EVENT_STREAM_HEADERS, parts=events, silence=played.silence
        )
    if request.get("stream") and (whole.get("choices") or "error" in whole):
        usage = (request.get("stream_options") or {}).get("include_usage", False)
        chunks = [whole] if "error" in whole else _as_chunks(whole, with_usage=usage)
        return Played(b"", headers=played.headers | SSE_HEADERS, parts=sse(*chunks), silence=played.silence)
    return played


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
    """Serves `POST /v1/chat/completions`, Bedrock's `POST /model/<id>/converse` and `/converse-stream`, and
    `POST /knowledgebases/<id>/retrieve`.
    """

    streams = True
    """Else it ignores that it is asked to."""

    def __init__(self) -> None:
        self.plays: dict[str, Play] = {}
        self.requests: list[dict[str, Any]] = []
        self.authorizations: list[str | None] = []
        self._lock = threading.Lock()
        self._closed = threading.Event()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                model = body.get("model") or self.path.split("/")[2]
                with fake._lock:
                    fake.requests.append(body | {"model": model})
                    fake.authorizations.append(self.headers.get("authorization"))
                played = fake.play(model, body)
                if fake.streams and played.status == 200 and played.is_whole and not played.cut:
                    played = _as_asked(played, body, is_converse=self.path.endswith("/converse-stream"))
                try:
                    self._answer(played)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            def _answer(self, played: Played) -> None:
                fake._closed.wait(played.silence)
                self.send_response(played.status)
                is_chunked = played.headers.get("transfer-encoding") == "chunked"
                length = sum(len(part) for part in played.parts if isinstance(part, bytes))
                framing = {} if is_chunked else {"content-length": str(length + played.cut)}
                for name, value in {
                    "content-type": "application/json",
                    **framing,
                    **played.headers,
                }.items():
                    self.send_header(name, value)
                self.end_headers()
                for part in played.parts:
                    if isinstance(part, bytes):
                        self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part) if is_chunked else part)
                        self.wfile.flush()
                    else:
                        fake._closed.wait(None if part == inf else part)
                if is_chunked and not played.cut:
                    self.wfile.write(b"0\r\n\r\n")
                self.close_connection = self.close_connection or played.cut

            def log_message(self, *_: Any) -> None:
                """Silence."""

        class Server(ThreadingHTTPServer):
            request_queue_size = 100

        self._server = Server(("127.0.0.1", 0), Handler)
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
