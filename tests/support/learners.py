"""Learners, as the tests see them: they have a token, send HTTP requests and read the answers.

By default a request is answered in process, by the local stack's gateway, from the same event that API Gateway would send.
`BASE_URL` points the same tests at any running stack, with `TOKEN_SECRET` (its HS256 secret), or with `TOKEN` and
`ANOTHER_TOKEN` of two learners who have nothing there.
"""

import json
import os
import random
import secrets
import string
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from http.client import HTTPConnection, HTTPSConnection
from threading import Barrier, BoundedSemaphore
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import jwt
import pytest

from local.http import Request, Response
from local.stack import Stack, read_template, settings
from local.tokens import mint

BASE = "/user/practice"
BASE_URL = os.environ.get("BASE_URL", "")
CONNECTIONS = int(os.environ.get("CONNECTIONS") or 100)
"""Requests at once to BASE_URL."""
KEPT_SECONDS = 2.0
"""How long a connection is used again."""
DEFAULT_PARAMS = {
    "temperature": 0.7,
    "top_p": 0.9,
    "response_length_preset": None,
    "max_completion_tokens": 10240,
    "max_tokens": 10240,
}
"""The generation parameters of new settings and models."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def etag(self) -> str:
        return self.headers["etag"]

    @property
    def detail(self) -> Any:
        return self.json["detail"]


Send = Callable[[str, str, Mapping[str, str], bytes | None], Answer]


def in_process(stack: Stack) -> Send:
    def send(method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        response: Response = stack.answer(Request(method, target, list(headers.items()), body or b""))
        return Answer(
            response.status, {name.lower(): value for name, value in response.headers}, response.body
        )

    return send


def over_http(base_url: str) -> Send:
    parts = urlsplit(base_url)
    connect = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    turnstile = BoundedSemaphore(CONNECTIONS)
    kept: deque[tuple[float, HTTPConnection]] = deque()

    def connection() -> HTTPConnection:
        """One that was used a moment ago, which no server closes so soon, or a new one."""
        while kept:
            used_at, newest = kept.pop()
            if time.monotonic() - used_at < KEPT_SECONDS:
                return newest
            newest.close()
        return connect(parts.netloc, timeout=60)

    def send(method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        # As every client does with what is not ASCII.
        encoded = quote(parts.path.rstrip("/") + target, safe=string.punctuation)
        # The host is that of the URL: by it API Gateway knows which API is meant.
        sent = {name: value for name, value in headers.items() if name != "host"}
        with turnstile:
            used = connection()
            try:
                used.request(method, encoded, body, sent)
                response = used.getresponse()
                answer = Answer(
                    response.status,
                    {name.lower(): value for name, value in response.getheaders()},
                    response.read(),
                )
            except BaseException:
                used.close()
                raise
            kept.append((time.monotonic(), used))
        return answer

    return send


def new_user_id() -> int:
    """Of no learner so far: every test has learners of its own in the one table."""
    return random.SystemRandom().randrange(1, 2**50)


@dataclass
class Learner:
    send: Send = field(repr=False)
    token: str = field(repr=False)
    user_id: int
    headers: dict[str, str] = field(default_factory=dict)
    key_suffix: str = ""
    """Of idempotency keys, which a learner who was here before may have used."""

    def ask(
        self,
        method: str,
        path: str,
        body: object = ...,
        *,
        raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Sends `body` as JSON, or `raw` as it is; a path without the base is below `/user/practice`."""
        target = path if path.startswith((BASE, "/openapi", "//")) else BASE + path
        content = raw if raw is not None or body is ... else json.dumps(body).encode()
        sent = {"host": "localhost", "authorization": f"Bearer {self.token}", **self.headers}
        if content is not None:
            sent["content-type"] = "application/json"
        sent |= {name.lower(): value for name, value in (headers or {}).items()}
        if self.key_suffix and sent.get("idempotency-key"):
            sent["idempotency-key"] += self.key_suffix
        return self.send(method, target, {name: value for name, value in sent.items() if value}, content)

    def get(self, path: str, **options: Any) -> Answer:
        return self.ask("GET", path, **options)

    def post(self, path: str, body: object = ..., **options: Any) -> Answer:
        return self.ask("POST", path, body, **options)

    def put(self, path: str, body: object = ..., **options: Any) -> Answer:
        return self.ask("PUT", path, body, **options)

    def patch(self, path: str, body: object = ..., **options: Any) -> Answer:
        return self.ask("PATCH", path, body, **options)

    def delete(self, path: str, **options: Any) -> Answer:
        return self.ask("DELETE", path, **options)

    # The steps that tests begin with. They fail loudly, so that no test goes on without them.

    def open_session(self, **fields: object) -> dict[str, Any]:
        return made(self.post("/sessions", {"class_id": 1, **fields}), 201)

    def add_example(self, **fields: object) -> dict[str, Any]:
        return made(self.post("/few-shot-examples", {"input_text": "2+2", "output_text": "4", **fields}), 201)

    def models_of(self, session: Mapping[str, Any]) -> list[dict[str, Any]]:
        models: list[dict[str, Any]] = self.get(f"/sessions/{session['session_id']}/models").json
        return models

    def add_response(self, session: Mapping[str, Any], **fields: object) -> dict[str, Any]:
        """To the session's primary model."""
        model = self.models_of(session)[0]["session_model_id"]
        body = {"prompt_text": "Why?", "response_text": "Because.", **fields}
        return made(self.post(f"/models/{model}/responses", body), 201)


def made(answer: Answer, status: int) -> dict[str, Any]:
    assert answer.status == status, (answer.status, answer.body[:500])
    value: dict[str, Any] = answer.json
    return value


def learner(send: Send, secret: str, user_id: int) -> Learner:
    return Learner(send, mint(secret, user_id, 3600, _token_settings()), user_id)


@lru_cache(maxsize=1)
def _token_settings() -> dict[str, str]:
    return settings(read_template())


class Returning:
    """A learner with a token signed elsewhere, in one test after the other, each time with an empty account."""

    def __init__(self, send: Send, token: str) -> None:
        claims = jwt.decode(token, options={"verify_signature": False})
        self._learner = Learner(send, token, int(claims[_token_settings().get("TOKEN_USER_CLAIM") or "sub"]))
        self._was_here = False

    def anew(self) -> Learner:
        """Whose account is not empty at first may need what is in it: nothing is deleted, and the run ends."""
        if self._was_here:
            self.leave()
        elif any(self._has(path) for path in ("/sessions", "/few-shot-examples")):
            pytest.exit(
                f"user {self._learner.user_id} has sessions or examples: tests need an empty account", 4
            )
        self._was_here = True
        return replace(self._learner, key_suffix=f".{secrets.token_hex(4)}")

    def leave(self) -> None:
        if not self._was_here:
            return
        for path, name in (("/sessions", "session_id"), ("/few-shot-examples", "example_id")):
            while found := self._has(path):
                for each in found:
                    self._learner.delete(f"{path}/{each[name]}")

    def _has(self, path: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = made(self._learner.get(f"{path}?size=200"), 200)["items"]
        return items


T = TypeVar("T")


def at_once(*calls: Callable[[], T]) -> list[T]:
    """Makes all calls at the same time, each in a thread of its own; their results in the order of the calls."""
    ready = Barrier(len(calls))

    def start(call: Callable[[], T]) -> T:
        ready.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(start, calls))


def walk(who: Learner, path: str) -> list[dict[str, Any]]:
    """Every page of a list, from `path` on along its cursors."""
    pages = [who.get(path).json]
    while cursor := pages[-1]["next_cursor"]:
        route, _, query = path.partition("?")
        kept = "&".join(part for part in query.split("&") if part and not part.startswith("page="))
        pages.append(made(who.get(f"{route}?{kept}&cursor={cursor}"), 200))
        assert len(pages) < 1000, "the cursors go in circles"
    return pages
