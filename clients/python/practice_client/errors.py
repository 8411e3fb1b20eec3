"""Errors of requests."""

from collections.abc import Mapping
from typing import Any

from practice_client.models import ValidationError


class ConnectionFailed(Exception):
    """No HTTP response arrived. A POST may have taken effect; repeating it with the same `idempotency_key` is safe."""

    def __init__(self, reason: str, idempotency_key: str | None) -> None:
        super().__init__(reason)
        self.idempotency_key = idempotency_key


class PracticeError(Exception):
    """An error status. `detail` is a stable text, `request_id` identifies the request in the logs of the service."""

    def __init__(self, status: int, body: Any, headers: Mapping[str, str]) -> None:
        self.status = status
        self.body = body
        self.detail = _detail(body)
        self.request_id = headers.get("x-request-id")
        self.retry_after = retry_after(headers)
        super().__init__(f"{status} {self.detail} (request {self.request_id})")


class Unauthorized(PracticeError):
    """The token is not accepted. Only the log of the service has the reason."""


class NotFound(PracticeError):
    """The object does not exist, or belongs to another user."""


class PreconditionFailed(PracticeError):
    """The object has changed; `etag` is its current version."""

    def __init__(self, status: int, body: Any, headers: Mapping[str, str]) -> None:
        super().__init__(status, body, headers)
        self.etag = headers.get("etag")


class Invalid(PracticeError):
    """The request is invalid; `problems` lists all errors, unless the `Idempotency-Key` is the error."""

    def __init__(self, status: int, body: Any, headers: Mapping[str, str]) -> None:
        super().__init__(status, body, headers)
        listed = body["detail"] if isinstance(body, dict) and isinstance(body.get("detail"), list) else []
        self.problems = [
            ValidationError(type=each["type"], loc=each["loc"], msg=each["msg"]) for each in listed
        ]


_BY_STATUS = {401: Unauthorized, 404: NotFound, 412: PreconditionFailed, 422: Invalid}


def refusal(status: int, body: Any, headers: Mapping[str, str]) -> PracticeError:
    return _BY_STATUS.get(status, PracticeError)(status, body, headers)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, or None."""
    given = headers.get("retry-after", "")
    return float(given) if given.isascii() and given.isdigit() else None


def _detail(body: Any) -> str:
    """The `detail` of the service, or the `message` of its gateway."""
    if not isinstance(body, dict):
        return str(body)[:200]
    detail = body.get("detail", body.get("message"))
    if isinstance(detail, list):
        return "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in detail)
    return str(detail)
