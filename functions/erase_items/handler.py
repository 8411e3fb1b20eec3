"""SQS, erasure queue."""

from collections.abc import Mapping
from typing import Any

from practice.events import erasures
from practice.runtime.log import logged_event


@logged_event("erase_items")
def lambda_handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Deletes a user's items until its deadline, then queues the rest."""
    return erasures.erase(event, context)
