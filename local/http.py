"""Requests and responses between the local server and what answers them."""

import json
from dataclasses import dataclass, field
from typing import Any

Headers = list[tuple[str, str]]


class _Headed:
    headers: Headers

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)


@dataclass(frozen=True)
class Request(_Headed):
    method: str
    target: str
    """Path and query exactly as sent."""
    headers: Headers = field(default_factory=list)
    body: bytes = b""
    client: str = "127.0.0.1"

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]


@dataclass(frozen=True)
class Response(_Headed):
    status: int
    headers: Headers = field(default_factory=list)
    body: bytes = b""


def read_json(text: str | bytes) -> Any:
    """Raises ValueError for what is no JSON, or is nested too deeply to be read."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def json_response(status: int, content: Any, headers: Headers | None = None) -> Response:
    body = json.dumps(content, ensure_ascii=False, default=str).encode("utf-8", "surrogatepass")
    return Response(status, [("content-type", "application/json"), *(headers or [])], body)


def message(status: int, text: str) -> Response:
    """An error in API Gateway's own shape."""
    return json_response(status, {"message": text})
