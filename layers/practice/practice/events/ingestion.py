"""Responses that workers elsewhere made, taken from their queue exactly once."""

import os
from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import Field, TypeAdapter

from practice.errors import ModelNotFound, SessionFull, StorageFull
from practice.events.batch import PermanentFailure, each, parsed
from practice.limits import DEDUP_ID_CHARACTERS
from practice.runtime.log import hashed, logger
from practice.schemas.fields import Id, Text
from practice.schemas.response import NewResponse
from practice.store import accounts, responses

NAME: Final = "ingest_responses"


class IngestedResponse(NewResponse):
    user_id: Id
    session_model_id: Id
    dedup_id: Annotated[Text, Field(min_length=1, max_length=DEDUP_ID_CHARACTERS)] | None = None
    """Of two messages with the same one, one becomes a response; the message's own id when absent."""


INGESTED = TypeAdapter(IngestedResponse)


def handle(event: Mapping[str, Any]) -> dict[str, Any]:
    return each(event, _ingest, os.environ["INGESTION_DEAD_LETTERS_URL"], NAME)


def _ingest(record: Mapping[str, Any]) -> None:
    """Two requests. Raises Hopeless for a message that can never become a response."""
    message = parsed(record["body"], INGESTED)
    dedup_id = message.dedup_id or record["messageId"]
    try:
        added = responses.ingest(message.user_id, message.session_model_id, message, dedup_id)
    except ModelNotFound as error:
        sent_at = int(record["attributes"]["SentTimestamp"]) / 1000
        if accounts.was_erased_since(message.user_id, sent_at):
            # Set aside, it would keep what its user asked to be erased.
            logger.info("dropped", extra={"reason": "erased", "user": hashed(message.user_id)})
            return
        raise PermanentFailure(error.detail) from None
    except (SessionFull, StorageFull) as error:
        raise PermanentFailure(error.detail) from None
    if not added:
        logger.info("ingested before", extra={"message_id": record["messageId"]})
