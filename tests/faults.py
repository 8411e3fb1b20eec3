"""Faults of the table, put under the client at one request of an operation."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError
from botocore.httpsession import URLLib3Session

from practice import table


class Killed(BaseException):
    """The function's process ends here."""


Fault = Callable[[Any], AWSResponse | None]


@dataclass
class Injected:
    """What happened: `requests` counts those of the operation, a retried one once for each time it is sent."""

    requests: int = 0
    done: int = 0


class _Raw:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self.content


def refusal(code: str, **more: Any) -> Callable[[Any], AWSResponse]:
    """DynamoDB's answer for an error."""
    body = json.dumps(
        {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": code, **more}
    ).encode()
    status = 500 if code == "InternalServerError" else 400

    def answer(request: Any) -> AWSResponse:
        headers = HTTPHeaders.from_pairs([("content-type", "application/x-amz-json-1.0")])
        return AWSResponse(request.url, status, headers, _Raw(body))

    return answer


def throttled(request: Any) -> AWSResponse:
    return refusal("ProvisionedThroughputExceededException")(request)


def broken_inside(request: Any) -> AWSResponse:
    return refusal("InternalServerError")(request)


def in_conflict(request: Any) -> AWSResponse | None:
    """What another transaction on the same items does to a write; reads go on."""
    if any(read in request.headers["X-Amz-Target"] for read in (b"Query", b"GetItem")):
        return None
    if b"TransactWriteItems" in request.headers["X-Amz-Target"]:
        return refusal("TransactionCanceledException", CancellationReasons=[{"Code": "TransactionConflict"}])(
            request
        )
    return refusal("TransactionConflictException")(request)


def reset(request: Any) -> AWSResponse:
    raise ConnectionClosedError(endpoint_url=request.url)


def lost(request: Any) -> AWSResponse:
    """Applied, but the answer never arrives."""
    URLLib3Session().send(request)
    raise ReadTimeoutError(endpoint_url=request.url)


def killed_before(request: Any) -> AWSResponse:
    raise Killed


def killed_after(request: Any) -> AWSResponse:
    URLLib3Session().send(request)
    raise Killed


@contextmanager
def at(number: int, fault: Fault, *, times: int) -> Iterator[Injected]:
    """The fault hits the request of that number (from 1), and its retries, `times` in all."""
    seen = Injected()

    def before_send(request: Any, **_: Any) -> Any:
        seen.requests += 1
        if seen.requests < number or seen.done >= times:
            return None
        seen.done += 1
        answer = fault(request)
        if answer is None:
            seen.done -= 1  # it spares this one
        return answer

    events = table.client().meta.events
    events.register_first("before-send.dynamodb", before_send)
    try:
        yield seen
    finally:
        events.unregister("before-send.dynamodb", before_send)


@contextmanager
def partial_batches() -> Iterator[Injected]:
    """Every batch leaves one of its keys for another request, as a throttled partition does."""
    seen = Injected()
    keys: dict[str, dict[str, Any]] = {}

    def before_call(params: dict[str, Any], **_: Any) -> None:
        asked = json.loads(params["body"])["RequestItems"].values()
        keys.update({key["sk"]["S"]: key for each in asked for key in each["Keys"]})

    def after_call(parsed: dict[str, Any], **_: Any) -> None:
        seen.requests += 1
        for name, items in parsed.get("Responses", {}).items():
            if len(items) > 1:
                seen.done += 1
                key = keys[items.pop()["sk"]["S"]]  # not every request asks for what it knows of an item
                parsed["UnprocessedKeys"] = {name: {"ConsistentRead": True, "Keys": [key]}}

    events = table.client().meta.events
    events.register("before-call.dynamodb.BatchGetItem", before_call)
    events.register("after-call.dynamodb.BatchGetItem", after_call)
    try:
        yield seen
    finally:
        events.unregister("before-call.dynamodb.BatchGetItem", before_call)
        events.unregister("after-call.dynamodb.BatchGetItem", after_call)
