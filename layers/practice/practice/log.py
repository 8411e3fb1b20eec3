"""One structured line for each invocation. Never a text of the user's, never a token."""

import hashlib
import time
import traceback
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from aws_lambda_powertools import Logger

from practice import table
from practice.snapshots import forgotten_in_copies
from practice.table import Usage

logger = Logger()


def hashed(user_id: int) -> str:
    """A user's name in the logs: the same person is recognised, and not told."""
    return hashlib.sha256(f"practice:{user_id}".encode()).hexdigest()[:16]


_cold = True


def log_request(
    *,
    route: str,
    status: int,
    request_id: str,
    lambda_request_id: str | None,
    user_id: int | None,
    milliseconds: float,
    usage: Usage,
    cause: str | None,
) -> None:
    global _cold
    cold, _cold = _cold, False
    fields: dict[str, object] = {
        "route": route,
        "status": status,
        "request_id": request_id,
        "lambda_request_id": lambda_request_id,
        "user": hashed(user_id) if user_id is not None else None,
        "cold_start": cold,
        "duration_ms": round(milliseconds, 2),
        "table_requests": usage.requests,
        "read_units": usage.read_units,
        "write_units": usage.write_units,
        "throttles": usage.throttles,
    }
    if cause:
        fields["cause"] = cause
    (logger.error if status >= 500 else logger.info)("request", extra=fields)


EventFunction = Callable[[Mapping[str, Any], object], dict[str, Any]]


def logged_event(function: EventFunction) -> EventFunction:
    """One line for each event taken; what raises is logged by its type and place, and raised on to the trigger.

    The exception that leaves carries no text of the event's: the runtime would log it.
    """

    @wraps(function)
    def handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
        started = time.perf_counter()
        spent = Usage()
        table.usage.set(spent)
        outcome: dict[str, Any] = {}
        cause: str | None = None
        try:
            outcome = function(event, context)
        except Exception as error:  # noqa: BLE001  # raised on, without its text
            cause = cause_of(error)
            raise EventRefused(type(error).__name__) from None
        finally:
            log_request(
                route=str(event.get("detail-type", function.__module__)),
                status=500 if cause else 200,
                request_id=str(event.get("id", "-")),
                lambda_request_id=getattr(context, "aws_request_id", None),
                user_id=None,
                milliseconds=(time.perf_counter() - started) * 1000,
                usage=spent,
                cause=cause,
            )
        return outcome

    return handler


def cause_of(error: Exception) -> str:
    """Its type and place: the text of an exception may quote the learner's."""
    return type(error).__name__ + "\n" + "".join(traceback.format_tb(error.__traceback__))


class EventRefused(Exception):
    """An event this function cannot take; its trigger retries it, and sets it aside."""


@forgotten_in_copies
def _start_cold() -> None:
    global _cold
    _cold = True
