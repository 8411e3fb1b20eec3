"""Batches of SQS messages, by Powertools: a message that fails returns to its queue without the others."""

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from pydantic import TypeAdapter, ValidationError

from practice.runtime import log, queues

Message = TypeVar("Message")


class PermanentFailure(Exception):
    """A message or an event that can never succeed. Its text is the reason in the dead-letter queue."""


def process(
    event: Mapping[str, Any], handle: Callable[[SQSRecord], None], dead_letters: str, name: str
) -> dict[str, Any]:
    """The partial batch response: messages that failed for now. Permanent failures go to the dead-letter queue."""

    def handle_record(record: SQSRecord) -> None:
        try:
            try:
                handle(record)
            except PermanentFailure as failure:
                queues.dead_letter(dead_letters, record.body, str(failure), name)
        except Exception as error:
            log.count("failures")
            fields = {"function": name, "message_id": record.message_id, "cause": log.cause_of(error)}
            log.logger.warning("message failed", extra=fields)
            raise

    processor = BatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)
    return {**process_partial_response(dict(event), handle_record, processor)}


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
