"""DynamoDB stream of the table."""

from collections.abc import Mapping
from typing import Any

from practice.events import changes
from practice.runtime.log import logged_event


@logged_event("stream_changes")
def lambda_handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Sends a queue message or publishes an event for what changed; an unreadable record goes to the dead-letter queue."""
    return changes.handle(event)
