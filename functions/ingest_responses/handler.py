"""SQS, ingestion queue."""

from collections.abc import Mapping
from typing import Any

from practice.events import ingestion
from practice.runtime.log import logged_event


@logged_event("ingest_responses")
def lambda_handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Adds each response once for its `dedup_id`."""
    return ingestion.handle(event)
