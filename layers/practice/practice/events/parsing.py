"""Validates messages of queues and details of events."""

import json
from datetime import UTC, datetime
from typing import Annotated, TypeVar

from pydantic import AfterValidator, AwareDatetime, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

Message = TypeVar("Message")


def _in_utc(moment: datetime) -> datetime:
    """Refuses moments near the years 1 and 9999 that have no date in UTC, or lose it as seconds since 1970."""
    try:
        return datetime.fromtimestamp(moment.timestamp(), UTC)
    except (OverflowError, ValueError):
        raise PydanticCustomError(
            "datetime_out_of_range", "Input should be a moment that has a date in UTC"
        ) from None


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]


class PermanentFailure(Exception):
    """A message or an event that can never succeed. Its text is the reason in the dead-letter queue."""


def parse(body: str, shape: TypeAdapter[Message]) -> Message:
    """Raises PermanentFailure for a body that is not such a message."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise PermanentFailure("not JSON") from None
    return validate(value, shape)


def validate(value: object, shape: TypeAdapter[Message]) -> Message:
    """Raises PermanentFailure with the kinds and places of the errors, without the values."""
    try:
        return shape.validate_python(value)
    except ValidationError as error:
        raise PermanentFailure(describe_errors(error)) from None


def describe_errors(error: ValidationError) -> str:
    return "; ".join(
        f"{problem['type']} at {'.'.join(str(step) for step in problem['loc']) or 'the top'}"
        for problem in error.errors(include_url=False, include_context=False, include_input=False)
    )
