"""Batches of queue messages: each alone, so that one that fails costs the others nothing."""

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from practice.runtime import log, queues

Message = TypeVar("Message")


class PermanentFailure(Exception):
    """What arrived can never succeed; the reason goes where it is set aside."""


def each(
    event: Mapping[str, Any], handle: Callable[[Mapping[str, Any]], None], dead_letters: str, name: str
) -> dict[str, Any]:
    """The partial batch response: messages that failed for now come back, hopeless ones are set aside at once."""
    failed = []
    for record in event["Records"]:
        try:
            try:
                handle(record)
            except PermanentFailure as failure:
                queues.dead_letter(dead_letters, record["body"], str(failure), name)
        except Exception as error:  # noqa: BLE001  # comes back alone, until its queue sets it aside
            log.count("failures")
            said = {"function": name, "message_id": record["messageId"], "cause": log.cause_of(error)}
            log.logger.warning("message failed", extra=said)
            failed.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failed}


def parsed(body: str, shape: TypeAdapter[Message]) -> Message:
    """Raises Hopeless when the body is not such a message."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise PermanentFailure("not JSON") from None
    return validated(value, shape)


def validated(value: object, shape: TypeAdapter[Message]) -> Message:
    """Raises Hopeless with what is wrong, without quoting it."""
    try:
        return shape.validate_python(value)
    except ValidationError as error:
        raise PermanentFailure(describe_errors(error)) from None


def describe_errors(error: ValidationError) -> str:
    return "; ".join(
        f"{problem['type']} at {'.'.join(str(step) for step in problem['loc']) or 'the top'}"
        for problem in error.errors(include_url=False, include_context=False, include_input=False)
    )
