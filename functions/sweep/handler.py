"""SQS, what deletes left behind."""

from collections.abc import Mapping
from typing import Any

from practice.events.sweep import handle
from practice.runtime.log import logged_event


@logged_event("sweep")
def lambda_handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Removes the children of deleted sessions, models and examples, as far as its time allows, then sends for the rest."""
    return handle(event, context)
