"""One structured line for each invocation, which carries its metrics. It never has a text of the user's or a token."""

import hashlib
import logging
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import wraps
from http import HTTPStatus
from typing import Any

from aws_lambda_powertools import Logger

from practice.runtime.config import config
from practice.runtime.metrics import METRICS, NAMESPACE
from practice.runtime.snapshots import clear_on_restore
from practice.runtime.usage import Usage, usage

logger = Logger()
logging.getLogger("urllib3").setLevel(logging.ERROR)  # its warnings quote malformed headers


def hashed(user_id: int) -> str:
    """A stable pseudonym that does not reveal the user id."""
    return hashlib.sha256(f"practice:{user_id}".encode()).hexdigest()[:16]


class Invocation:
    """The counts of one invocation."""

    __slots__ = ("counted", "started", "usage")

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.usage = Usage()
        self.counted: dict[str, Any] = {}


_counted: ContextVar[dict[str, Any] | None] = ContextVar("counted", default=None)
_counting = threading.Lock()
_cold = True


@clear_on_restore
def _start_cold() -> None:
    global _cold
    _cold = True


def begin_invocation() -> Invocation:
    """Counts and requests to the table belong to this invocation's line from here on."""
    invocation = Invocation()
    usage.set(invocation.usage)
    _counted.set(invocation.counted)
    return invocation


def count(field: str, amount: float = 1) -> None:
    """Adds to a field of the invocation's line. The fields in `metrics.METRICS` are metrics."""
    counted = _counted.get()
    if counted is not None:
        with _counting:  # the models of a turn are asked at the same time
            counted[field] = counted.get(field, 0) + amount


def note(field: str, text: str) -> None:
    """Appends to a text field of the invocation's line: our own names and codes alone."""
    counted = _counted.get()
    if counted is not None:
        counted[field] = f"{counted[field]}, {text}" if field in counted else text


def count_failed_model(
    code: str, *, provider: str | None, model_id: str | None, reason: Mapping[str, Any]
) -> None:
    """A line of its own, because a line can name one code: which model failed, and the machine words of why."""
    line = {
        "stage": config().stage,
        "code": code,
        "failed_models_by_code": 1,
        "provider": provider,
        "model_id": model_id,
        "reason": dict(reason),
    }
    logger.warning("a model failed", extra={**line, "_aws": _metrics_of(line)})


def log_request(
    invocation: Invocation,
    context: object,
    *,
    route: str,
    status: int,
    error: str | None,
    request_id: str,
    user_id: int | None,
    cause: str | None,
) -> None:
    """The line of a request. `error` has few values, because each is billed as a metric of its own."""
    line: dict[str, Any] = {
        "route": route,
        "status": status,
        "request_id": request_id,
        "user": hashed(user_id) if user_id is not None else None,
    }
    if status >= 400:
        line |= {"error": error or HTTPStatus(status).phrase, "errors": 1}
    if status >= 500:
        line["server_errors"] = 1
    _write(invocation, context, line, cause, failed=status >= 500)


def _write(
    invocation: Invocation, context: object, line: dict[str, Any], cause: str | None, *, failed: bool
) -> None:
    global _cold
    cold, _cold = _cold, False
    spent = invocation.usage
    line |= {
        "stage": config().stage,
        "lambda_request_id": getattr(context, "aws_request_id", None),
        "lambda_function": getattr(context, "function_name", None),
        "cold_start": cold,
        "duration_ms": round((time.perf_counter() - invocation.started) * 1000, 2),
        "table_requests": spent.requests,
        "read_units": spent.read_units,
        "write_units": spent.write_units,
        "throttles": spent.throttles,
        **invocation.counted,
    }
    if cold:
        line["cold_starts"] = 1
    if cause:
        line["cause"] = cause
    line["_aws"] = _metrics_of(line)
    (logger.error if failed else logger.info)("invocation", extra=line)


def _metrics_of(line: Mapping[str, Any]) -> dict[str, Any]:
    """The `_aws` member of a line, which declares the metrics among its fields."""
    by_dimensions: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for name, (unit, dimensions) in METRICS.items():
        if line.get(name):
            for each in dimensions:
                if each[-1] in line:
                    by_dimensions.setdefault(each, []).append({"Name": name, "Unit": unit})
    return {
        "Timestamp": int(time.time() * 1000),
        "CloudWatchMetrics": [
            {"Namespace": NAMESPACE, "Dimensions": [each], "Metrics": declared}
            for each, declared in by_dimensions.items()
        ],
    }


EventFunction = Callable[[Mapping[str, Any], object], dict[str, Any]]


def logged_event(name: str) -> Callable[[EventFunction], EventFunction]:
    """Decorate the handler of the event function `name`: one line for each event.

    An exception is logged by its type and place, and raised again without its text, which Lambda would log.
    """

    def bind(function: EventFunction) -> EventFunction:
        @wraps(function)
        def handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
            invocation = begin_invocation()
            outcome: dict[str, Any] = {}
            cause: str | None = None
            try:
                outcome = function(event, context)
            except Exception as error:  # noqa: BLE001  # raised again without its text
                cause = cause_of(error)
                count("failures")
                raise EventRefused(type(error).__name__) from None
            finally:
                line = {"function": name, "request_id": str(event.get("id", "-"))}
                if "detail-type" in event:
                    line["detail_type"] = str(event["detail-type"])
                _write(invocation, context, line, cause, failed=cause is not None)
            return outcome

        return handler

    return bind


def cause_of(error: Exception) -> str:
    """Type and place. The text of an exception may quote the learner's."""
    return type(error).__name__ + "\n" + "".join(traceback.format_tb(error.__traceback__))


class EventRefused(Exception):
    """The function failed on an event. Lambda retries it, then sends it to the dead-letter queue."""
