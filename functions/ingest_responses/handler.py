"""SQS, responses that models elsewhere made."""

from collections.abc import Mapping
from typing import Any

from practice.events.ingestion import handle
from practice.runtime.log import logged_event


@logged_event("ingest_responses")
def lambda_handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Adds each response once for its `dedup_id`; a message that can never succeed is set aside with its reason, alone."""
    return handle(event)
