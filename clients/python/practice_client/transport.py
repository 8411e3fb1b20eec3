"""HTTP layer of the client: the token, safe retries, JSON to dataclasses."""

import json
import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from datetime import datetime
from enum import Enum
from functools import cached_property, lru_cache
from types import NoneType, TracebackType, UnionType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, get_args, get_origin, get_type_hints
from urllib.parse import urlencode

import urllib3
from urllib3.exceptions import HTTPError

from practice_client.errors import ConnectionFailed, refusal, retry_after

if TYPE_CHECKING:
    from practice_client.live import Live


class Unset(Enum):
    """Marks an omitted argument, because None means null."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET
NDJSON: Final = "application/x-ndjson"


T = TypeVar("T")


class Items(list[T]):
    """A page of a list: `next_cursor` leads to the next page."""

    next_cursor: str | None = None


class Transport:
    """Safe to share between threads.

    `token` is a text, or a function that returns a valid one. `live_url` is the address of the live API, an output of the
    stack; without it, that of the local stack. A request is sent at most `tries` times. It is repeated after
    429 and 503 when the seconds of `Retry-After` have passed, and after a lost connection; a POST also after 409
    `request_in_flight`. A POST has an `Idempotency-Key`, so it takes effect once. A change with `if_match` is repeated only
    after 429, because its own success would look like the change of another client. A repeated DELETE may get 404.
    """

    def __init__(
        self,
        base_url: str,
        token: str | Callable[[], str],
        *,
        live_url: str | None = None,
        tries: int = 4,
        timeout: float = 35.0,
        longest_pause: float = 60.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._token = token
        self._live_url = live_url or f"ws{self._base_url.removeprefix('http')}/live"
        self._tries = tries
        self._timeout = timeout
        self._longest_pause = longest_pause
        self._sleep = sleep
        self._pool = urllib3.PoolManager(maxsize=10)

    @cached_property
    def live(self) -> "Live":
        """The live API. Needs the package websockets: `pip install practice-client[live]`."""
        from practice_client.live import Live

        return Live(self, self._live_url)

    def token(self) -> str:
        return self._token if isinstance(self._token, str) else self._token()

    def close(self) -> None:
        self._pool.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _request(
        self,
        method: str,
        path: str,
        kinds: Mapping[int, Any],
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | str | None = None,
        if_match: str | None = None,
        idempotency_key: str | None = None,
        prefer: str | None = None,
        tries: int | None = None,
    ) -> Any:
        """The result, of the type in `kinds` for its status. Raises PracticeError and ConnectionFailed."""
        if method == "POST":
            idempotency_key = idempotency_key or str(uuid.uuid4())
        named = {"if-match": if_match, "idempotency-key": idempotency_key, "prefer": prefer}
        headers = {name: value for name, value in named.items() if value is not None}
        content = None
        if isinstance(body, str):
            content, headers["content-type"] = body.encode(), NDJSON
        elif body is not None:
            content, headers["content-type"] = json.dumps(given(body)).encode(), "application/json"
        parameters = urlencode({name: _parameter(value) for name, value in given(query or {}).items()})
        target = path + (f"?{parameters}" if parameters else "")
        response = self._send(method, target, headers, content, tries or self._tries)
        received = {name.lower(): value for name, value in response.headers.items()}
        value = _parsed(response.data, received.get("content-type", ""))
        if response.status not in kinds:
            raise refusal(response.status, value, received)
        return _with_headers(read(kinds[response.status], value), received)

    def _send(
        self, method: str, target: str, headers: dict[str, str], content: bytes | None, tries: int
    ) -> urllib3.BaseHTTPResponse:
        for attempt in range(1, tries + 1):
            sent = {**headers, "authorization": f"Bearer {self.token()}", "accept": "application/json"}
            pause = random.uniform(0, min(8.0, 0.25 * 2**attempt))  # noqa: S311  # jitter of retries, not a secret
            try:
                response = self._pool.request(
                    method,
                    self._base_url + target,
                    body=content,
                    headers=sent,
                    timeout=self._timeout,
                    retries=False,
                    redirect=False,
                )
            except HTTPError as error:
                if attempt == tries or "if-match" in headers:
                    reason = f"{method} {target.partition('?')[0]}: {type(error).__name__}"
                    raise ConnectionFailed(reason, headers.get("idempotency-key")) from error
            else:
                asked = retry_after({name.lower(): value for name, value in response.headers.items()})
                is_worth_it = _may_come_again(response.status, headers, asked)
                if attempt == tries or not is_worth_it or (asked or 0) > self._longest_pause:
                    return response
                pause += asked or 0
            self._sleep(pause)
        raise ValueError("tries must be at least 1")

    def _walk(self, path: str, kind: Any, query: Mapping[str, Any]) -> Iterator[Any]:
        """Every item of a list, over all pages."""
        cursor: str | Unset = UNSET
        while True:
            page = self._request("GET", path, {200: kind}, query={**query, "cursor": cursor})
            yield from page if isinstance(page, Items) else page.items
            if page.next_cursor is None:
                return
            cursor = page.next_cursor


def _may_come_again(status: int, headers: Mapping[str, str], asked: float | None) -> bool:
    if status == 409:
        return asked is not None
    return status == 429 or (status == 503 and "if-match" not in headers)


def given(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Without the omitted ones."""
    return {name: value for name, value in arguments.items() if value is not UNSET}


def _parameter(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int) else ",".join(map(str, value))


def _parsed(data: bytes, content_type: str) -> Any:
    text = data.decode()
    if not content_type.startswith("application/json"):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def read(kind: Any, value: Any) -> Any:
    """A JSON value as its type in the contract. Unknown fields of a newer service are ignored."""
    origin = get_origin(kind)
    if origin is UnionType:
        return read(_member(get_args(kind), value), value)
    if origin in (list, Items):
        return origin(read(get_args(kind)[0], item) for item in value)
    if kind is datetime:
        return datetime.fromisoformat(value)
    if isinstance(kind, type) and is_dataclass(kind):
        return kind(
            **{
                name: read(hint, value[_sent(name)])
                for name, hint in _hints(kind).items()
                if _sent(name) in value
            }
        )
    return None if kind is None else value


@lru_cache(maxsize=256)
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _member(kinds: tuple[Any, ...], value: Any) -> Any:
    """Of several types, the one with the most fields that are all present."""
    if value is None:
        return None
    if not isinstance(value, dict):
        return next(kind for kind in kinds if kind is not NoneType and not is_dataclass(kind))
    fitting = [kind for kind in kinds if is_dataclass(kind) and _required(kind) <= value.keys()]
    return max(fitting, key=lambda kind: len(_required(kind)), default=None) or dict


def _required(kind: Any) -> set[str]:
    return {_sent(field.name) for field in fields(kind) if field.default is MISSING}


def _sent(name: str) -> str:
    """The name in JSON of a field whose name would be a word of Python, such as `from_`."""
    return name.removesuffix("_")


def _with_headers(made: Any, headers: Mapping[str, str]) -> Any:
    """Fields of an object that come in headers: its version and the cursor of the next page."""
    found = {"etag": headers.get("etag"), "next_cursor": headers.get("x-next-cursor")}
    if isinstance(made, Items):
        made.next_cursor = found["next_cursor"]
    elif is_dataclass(made) and not isinstance(made, type):
        names = {field.name for field in fields(made)}
        return replace(made, **{name: value for name, value in found.items() if value and name in names})
    return made
