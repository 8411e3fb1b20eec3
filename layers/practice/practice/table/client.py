"""Asking DynamoDB: one client, what its requests cost, what their failures are called, and how contention is waited out."""

import os
import random
import time
from collections.abc import Callable, Iterator
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from botocore.config import Config as ClientConfig
from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnection

from practice.errors import StorageFull, StoreUnavailable
from practice.runtime import aws
from practice.runtime.config import INITIALIZATION_TYPE
from practice.runtime.usage import usage
from practice.table.items import Item

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient

TIMEOUT_SECONDS: Final = 8.0
"""How long contention is waited out before the client is asked to come back."""


class ConditionFailed(Exception):
    """A condition did not hold. `item` is the current item, None when there is none."""

    def __init__(self, index: int, item: Item | None) -> None:
        super().__init__(f"condition of write {index} failed")
        self.index = index
        self.item = item


_READS = frozenset({"Query", "GetItem", "BatchGetItem", "TransactGetItems"})


def _measure(parsed: dict[str, Any], model: Any, **_: Any) -> None:
    spent = usage.get()
    if spent is None:
        return
    spent.requests += 1
    spent.operations.append(model.name)
    consumed = parsed.get("ConsumedCapacity") or ()
    for capacity in (consumed,) if isinstance(consumed, dict) else consumed:
        units = float(capacity.get("CapacityUnits", 0.0))
        if model.name in _READS:
            spent.read_units += units
        else:
            spent.write_units += units


def _ask_for_capacity(params: dict[str, Any], **_: Any) -> None:
    params["ReturnConsumedCapacity"] = "TOTAL"


@lru_cache(maxsize=1)
def dynamodb() -> "DynamoDBClient":
    made: DynamoDBClient = aws.client(
        "dynamodb",
        ClientConfig(
            connect_timeout=2,
            read_timeout=5,
            retries={"mode": "standard", "total_max_attempts": 3},
            parameter_validation=False,
            max_pool_connections=10,
        ),
    )
    made.meta.events.register("after-call.dynamodb", _measure)
    made.meta.events.register("provide-client-params.dynamodb", _ask_for_capacity)
    return made


os.register_at_fork(after_in_child=dynamodb.cache_clear)  # two processes cannot share a connection

if INITIALIZATION_TYPE:
    dynamodb()  # Lambda's init phase has a whole processor, the first call a share of one.


_THROTTLES = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "ThrottlingException",
        "RequestLimitExceeded",
        "LimitExceededException",
    }
)
_PASSING = _THROTTLES | {
    "InternalServerError",
    "InternalFailure",
    "ServiceUnavailable",
    "TransactionInProgressException",
    "IdempotentParameterMismatchException",  # every call has a token of its own: not the caller's doing
    "ReplicatedWriteConflictException",
}
_CONFLICTS = frozenset({"TransactionConflictException", "TransactionConflict"})


class Contended(Exception):
    """Another transaction holds one of the items: worth another try."""


def request(operation: str, params: dict[str, Any]) -> dict[str, Any]:
    """One request. Raises ConditionFailed, Contended, StorageFull or StoreUnavailable.

    A fault that none of them covers is ours, and stays the ClientError it is.
    """
    try:
        answer: dict[str, Any] = getattr(dynamodb(), operation)(**params)
        return answer
    except ClientError as error:
        raise _named(error) from error
    except (NoConnection, HTTPClientError) as error:
        raise StoreUnavailable(type(error).__name__) from error


def request_with_retries(operation: str, params: dict[str, Any]) -> dict[str, Any]:
    """The same, repeated while another transaction holds one of the items."""
    tries = attempts()
    while True:
        next(tries)
        try:
            return request(operation, params)
        except Contended:
            pass


def _named(error: ClientError) -> Exception:
    code = error.response["Error"]["Code"]
    if code == "ConditionalCheckFailedException":
        return ConditionFailed(0, error.response.get("Item"))  # type: ignore[arg-type]  # botocore leaves it untyped
    if code in _CONFLICTS:
        return Contended()
    if code == "ItemCollectionSizeLimitExceededException":
        return StorageFull()
    if code in _PASSING:
        _note_throttle(code)
        return StoreUnavailable(code)
    if code == "TransactionCanceledException":
        return _named_cancellation(error)
    return error


def _named_cancellation(error: ClientError) -> Exception:
    reasons: list[dict[str, Any]] = error.response.get("CancellationReasons", [])  # type: ignore[assignment]  # untyped too
    codes = [reason.get("Code", "None") for reason in reasons]
    # A conflict hides what the conditions would say once the other transaction is through.
    if any(code in _CONFLICTS for code in codes):
        return Contended()
    for index, reason in enumerate(reasons):
        if reason.get("Code") == "ConditionalCheckFailed":
            return ConditionFailed(index, reason.get("Item"))
    if "ItemCollectionSizeLimitExceeded" in codes:
        return StorageFull()
    if any(code in ("ThrottlingError", "ProvisionedThroughputExceeded") for code in codes):
        _note_throttle("transaction")
        return StoreUnavailable("ThrottlingError")
    return error


def _note_throttle(code: str) -> None:
    spent = usage.get()
    if spent is not None and (code in _THROTTLES or code == "transaction"):
        spent.throttles += 1


def attempts() -> Iterator[int]:
    """Tries of an optimistic write, with growing, jittered pauses; then StoreUnavailable."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    attempt = 0
    while True:
        yield attempt
        attempt += 1
        if time.monotonic() > deadline:
            raise StoreUnavailable("contended")
        # System randomness, since processes restored from one snapshot share the state of the other kind.
        time.sleep(_JITTER.uniform(0, min(0.2, 0.004 * 2**attempt)))


_JITTER: Final = random.SystemRandom()

Params = ParamSpec("Params")
Result = TypeVar("Result")


def optimistic(attempt: Callable[Params, Result]) -> Callable[Params, Result]:
    """Runs a read and its conditional write again, from the read on, for as long as the condition fails.

    Raises StoreUnavailable after `TIMEOUT_SECONDS`.
    """

    @wraps(attempt)
    def repeated(*args: Params.args, **kwargs: Params.kwargs) -> Result:
        tries = attempts()
        while True:
            next(tries)
            try:
                return attempt(*args, **kwargs)
            except ConditionFailed:
                pass

    return repeated
