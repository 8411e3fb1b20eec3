"""Responses of external workers, ingested from their queue exactly once."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from pydantic import Field, TypeAdapter

from practice.errors import ModelNotFound, SessionFull, StorageFull
from practice.events.batch import process
from practice.events.parsing import PermanentFailure, parse
from practice.limits import DEDUP_ID_CHARACTERS
from practice.runtime.config import config
from practice.runtime.log import hashed, logger
from practice.schemas.fields import Id, Text
from practice.schemas.response import NewResponse
from practice.store import erasures, responses

NAME: Final = "ingest_responses"


class IngestedResponse(NewResponse):
    user_id: Id
    session_model_id: Id
    dedup_id: Annotated[Text, Field(min_length=1, max_length=DEDUP_ID_CHARACTERS)] | None = None
    """Messages with the same `dedup_id` become one response. The default is the id of the message."""


INGESTED = TypeAdapter(IngestedResponse)


def handle(event: Mapping[str, Any]) -> dict[str, Any]:
    return process(event, _ingest, config().ingestion_dead_letters_url, NAME)


def _ingest(record: SQSRecord) -> None:
    """Two requests. Raises PermanentFailure for a message that can never become a response."""
    message = parse(record.body, INGESTED)
    dedup_id = message.dedup_id or record.message_id
    try:
        added = responses.ingest(message.user_id, message.session_model_id, message, dedup_id)
    except ModelNotFound as error:
        sent_at = int(record.attributes.sent_timestamp) / 1000
        if erasures.was_erased_since(message.user_id, sent_at):
            # A dead letter would keep what its user asked to be erased.
            logger.info("dropped", extra={"reason": "erased", "user": hashed(message.user_id)})
            return
        raise PermanentFailure(error.detail) from None
    except (SessionFull, StorageFull) as error:
        raise PermanentFailure(error.detail) from None
    if not added:
        logger.info("ingested before", extra={"message_id": record.message_id})
