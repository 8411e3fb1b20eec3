"""Batches of SQS messages, by Powertools: a message that fails returns to its queue without the others."""

from collections.abc import Callable, Mapping
from typing import Any

from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from practice.events.parsing import PermanentFailure
from practice.runtime import log, queues


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
