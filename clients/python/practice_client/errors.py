"""What a request can end in other than its answer."""

from collections.abc import Mapping
from typing import Any

from practice_client.models import ValidationError


class ConnectionFailed(Exception):
    """No answer came. A POST may have been done all the same: the same `idempotency_key` finds out, and does it once."""

    def __init__(self, reason: str, idempotency_key: str | None) -> None:
        super().__init__(reason)
        self.idempotency_key = idempotency_key


class PracticeError(Exception):
    """A refusal; `detail` is a stable text to compare with, `request_id` is what the service's logs call the request."""

    def __init__(self, status: int, body: Any, headers: Mapping[str, str]) -> None:
        self.status = status
        self.body = body
        self.detail = _detail(body)
        self.request_id = headers.get("x-request-id")
        self.retry_after = retry_after(headers)
        super().__init__(f"{status} {self.detail} (request {self.request_id})")


class Unauthorized(PracticeError):
    """The token is not accepted. Why, the service tells its log alone."""


class NotFound(PracticeError):
    """There is no such object, or it is somebody else's."""


class PreconditionFailed(PracticeError):
    """Somebody was faster; `etag` is the version that stands now."""

    def __init__(self, status: int, body: Any, headers: Mapping[str, str]) -> None:
        super().__init__(status, body, headers)
        self.etag = headers.get("etag")


class Invalid(PracticeError):
    """The request does not fit; `problems` has all that is wrong with it, unless its `Idempotency-Key` is."""

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
    """Seconds; None when the service names none."""
    given = headers.get("retry-after", "")
    return float(given) if given.isascii() and given.isdigit() else None


def _detail(body: Any) -> str:
    """Of the service, or the message of its gateway."""
    if not isinstance(body, dict):
        return str(body)[:200]
    detail = body.get("detail", body.get("message"))
    if isinstance(detail, list):
        return "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in detail)
    return str(detail)
