"""From values and refusals to HTTP: statuses, headers, JSON."""

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel

from practice import errors
from practice.limits import FUNCTION_RESULT_BYTES

HttpResponse = dict[str, Any]
"""A response in API Gateway's payload format 2.0."""

Body = TypeVar("Body", bound="BaseModel | Sequence[BaseModel] | str | None")

RETRY_AFTER_SECONDS: Final = "1"
_DAY: Final = 24 * 3600
_LARGEST_INTEGER: Final = 10**15 - 1
"""Of a structured field (RFC 9651, 3.3.1)."""

STATUSES: Final[dict[type[errors.PracticeError], HTTPStatus]] = {
    errors.BadRequest: HTTPStatus.BAD_REQUEST,
    errors.Unauthorized: HTTPStatus.UNAUTHORIZED,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.Conflict: HTTPStatus.CONFLICT,
    errors.VersionConflict: HTTPStatus.PRECONDITION_FAILED,
    errors.IdempotencyKeyReused: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.TooMany: HTTPStatus.TOO_MANY_REQUESTS,
    errors.NoModelAnswered: HTTPStatus.BAD_GATEWAY,
    errors.StoreUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.StorageFull: HTTPStatus.INSUFFICIENT_STORAGE,
}
"""A subclass has the status of its nearest base."""


class Reply(Generic[Body]):
    """A response that is more than a model: a status, headers, or a body that is JSON already."""

    def __init__(
        self,
        body: Body,
        status: HTTPStatus | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.body = body
        self.status = status
        self.headers = dict(headers or {})


def status_of(error_reply: type[errors.PracticeError]) -> HTTPStatus:
    return next(STATUSES[base] for base in error_reply.__mro__ if base in STATUSES)


def error_reply(error: errors.PracticeError) -> Reply[str]:
    headers = {}
    if isinstance(error, errors.Unauthorized):
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, errors.StoreUnavailable):
        headers["retry-after"] = RETRY_AFTER_SECONDS
    if isinstance(error, errors.RequestInFlight | errors.TooManyRequests | errors.DailyBudgetSpent):
        headers["retry-after"] = str(error.seconds)
    if isinstance(error, errors.DailyBudgetSpent):
        headers |= rate_limit(error.day)
    if isinstance(error, errors.VersionConflict):
        headers["etag"] = etag(error.version)
    return Reply(detail(error.detail), status_of(type(error)), headers)


def rate_limit(day: errors.DayLeft) -> dict[str, str]:
    """As draft-ietf-httpapi-ratelimit-headers-10 spells them; none without a budget."""
    if not day.budgets:
        return {}
    return {
        "ratelimit-policy": ", ".join(
            f'"{each.name}";q={min(each.quota, _LARGEST_INTEGER)};w={_DAY}' for each in day.budgets
        ),
        "ratelimit": ", ".join(
            f'"{each.name}";r={min(each.remaining, _LARGEST_INTEGER)};t={day.seconds}' for each in day.budgets
        ),
    }


def etag(version: int) -> str:
    """A strong one (RFC 9110, 8.8.3)."""
    return f'"{version}"'


def detail(content: object) -> str:
    """The JSON body of an error."""
    return json.dumps({"detail": content}, separators=(",", ":"))


def json_text(body: BaseModel | Sequence[BaseModel] | str) -> str:
    if isinstance(body, str):
        return body
    if isinstance(body, BaseModel):
        return body.model_dump_json()
    return "[" + ",".join(item.model_dump_json() for item in body) + "]"


def http_response(reply: Reply[Any], status: HTTPStatus, request_id: str) -> HttpResponse:
    """`status` is the one of a success that names none."""
    headers = {"x-request-id": request_id, **reply.headers}
    response: HttpResponse = {"statusCode": int(reply.status or status), "headers": headers}
    if reply.body is not None:
        headers.setdefault("content-type", "application/json")
        response |= as_returned(reply.body)
    return response


_WORST_ESCAPE: Final = 12
"""Bytes that a runtime can take for a character of a body: two `\\u` escapes for one outside the basic plane."""


def as_returned(body: str) -> dict[str, object]:
    """The fields of a function's result that hold its body. A large one is base64, which no Python runtime escapes."""
    if len(body) * _WORST_ESCAPE <= FUNCTION_RESULT_BYTES:
        return {"body": body}
    return {"body": b64encode(body.encode()).decode(), "isBase64Encoded": True}
