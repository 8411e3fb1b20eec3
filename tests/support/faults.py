"""Faults of AWS, put under the clients at one request of an operation."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError
from botocore.httpsession import URLLib3Session

from practice import table
from practice.events import outbound
from practice.runtime import queues
from practice.transfers import files
from tests.support.hooks import hooked
from tests.support.processes import Killed, Process, mortal
from tests.support.torture import count

Fault = Callable[[Any], AWSResponse | None]


@dataclass
class Injected:
    """What happened: `requests` counts those of the operation, a retried one once for each time it is sent."""

    requests: int = 0
    done: int = 0
    first: int = 0
    """The number of the first request that was hit; there may be some before it that the fault spares."""
    process: Process = field(default_factory=Process)
    """Once it was killed, none of its threads asks for anything more."""


class _Raw:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self.content


def refusal(code: str, **more: Any) -> Callable[[Any], AWSResponse]:
    """A service's answer for an error."""
    body = json.dumps({"__type": f"com.amazonaws.v20120810#{code}", "message": code, **more}).encode()
    status = 500 if code == "InternalServerError" else 400

    def answer(request: Any) -> AWSResponse:
        if not target(request):  # S3, which speaks XML
            xml = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
            return AWSResponse(request.url, 503, HTTPHeaders(), _Raw(xml))
        headers = HTTPHeaders.from_pairs([("content-type", "application/x-amz-json-1.0")])
        return AWSResponse(request.url, status, headers, _Raw(body))

    return answer


def target(request: Any) -> str:
    """The operation, `DynamoDB_20120810.Query`; empty for S3."""
    named = request.headers.get("X-Amz-Target", b"")
    return named.decode() if isinstance(named, bytes) else str(named)


def throttled(request: Any) -> AWSResponse:
    return refusal("ProvisionedThroughputExceededException")(request)


def throttled_with_reasons(request: Any) -> AWSResponse:
    reason = {"reason": "KeyRangeThroughputExceeded", "resource": "arn:aws:dynamodb:::table/practice"}
    return refusal("ThrottlingException", throttlingReasons=[reason])(request)


def broken_inside(request: Any) -> AWSResponse:
    return refusal("InternalServerError")(request)


def in_conflict(request: Any) -> AWSResponse | None:
    """What another transaction on the same items does to a write; reads go on."""
    operation = target(request)
    if "DynamoDB" not in operation or any(read in operation for read in ("Query", "GetItem")):
        return None
    if "TransactWriteItems" in operation:
        return cancelled("TransactionConflict")(request)
    return refusal("TransactionConflictException")(request)


def cancelled(*codes: str) -> Callable[[Any], AWSResponse | None]:
    """A transaction of which the last actions could not be, for these reasons; the others are not to blame."""

    def answer(request: Any) -> AWSResponse | None:
        if "TransactWriteItems" not in target(request):
            return None
        innocent = len(json.loads(request.body)["TransactItems"]) - len(codes)
        reasons = [{"Code": code} for code in (*["None"] * innocent, *codes)]
        return refusal("TransactionCanceledException", CancellationReasons=reasons)(request)

    return answer


def of_transactions(code: str) -> Callable[[Any], AWSResponse | None]:
    def answer(request: Any) -> AWSResponse | None:
        return refusal(code)(request) if "TransactWriteItems" in target(request) else None

    return answer


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
    """The fault hits the request of that number (from 1) to whatever service, or the next one that it does not spare.

    It hits `times` requests in all, retries among them.
    """
    seen = Injected()
    one_by_one = threading.Lock()

    def before_send(request: Any, **_: Any) -> Any:
        with one_by_one:
            if seen.process.is_dead:
                raise Killed
            seen.requests += 1
            if seen.requests < number or seen.done >= times:
                return None
            is_spared = False
            try:
                answer = fault(request)
                is_spared = answer is None
                return answer
            except Killed:
                seen.process.die()
            finally:
                if not is_spared:
                    seen.done += 1
                    seen.first = seen.first or seen.requests

    clients = (table.dynamodb(), queues.client(), outbound.client(), files.client())
    try:
        with hooked("before-send", before_send, *clients), mortal() as seen.process:
            yield seen
    finally:
        count("faults", seen.done)


@contextmanager
def empty_pages() -> Iterator[Injected]:
    """A filter passes over an item a page: most pages hold nothing, and say where the next one starts."""
    seen = Injected()

    def one_item(params: dict[str, Any], **_: Any) -> None:
        if "FilterExpression" in params:
            seen.requests += 1
            params["Limit"] = 1

    def note(parsed: dict[str, Any], **_: Any) -> None:
        seen.done += not parsed.get("Items", True) and "LastEvaluatedKey" in parsed

    try:
        with (
            hooked("provide-client-params.dynamodb.Query", one_item),
            hooked("after-call.dynamodb.Query", note),
        ):
            yield seen
    finally:
        count("faults", seen.done)


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

    def put_off(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        [(name, writes)] = params["RequestItems"].items()
        if len(writes) > 1:
            seen.done += 1
            params["RequestItems"] = {name: writes[:-1]}
            context["put off"] = {name: writes[-1:]}

    def tell(parsed: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        parsed["UnprocessedItems"] = context.get("put off", {})

    hooks: list[tuple[str, Callable[..., None]]] = [
        ("before-call.dynamodb.BatchGetItem", before_call),
        ("after-call.dynamodb.BatchGetItem", after_call),
        ("provide-client-params.dynamodb.BatchWriteItem", put_off),
        ("after-call.dynamodb.BatchWriteItem", tell),
    ]
    try:
        with ExitStack() as hooking:
            for name, hook in hooks:
                hooking.enter_context(hooked(name, hook))
            yield seen
    finally:
        count("faults", seen.done)
