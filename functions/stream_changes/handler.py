"""The table's stream."""

from collections.abc import Mapping
from typing import Any

from practice.events.changes import handle
from practice.runtime.log import logged_event


@logged_event("stream_changes")
def lambda_handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Turns what changed into queue messages and events on the bus; a record nobody can read is set aside, alone."""
    return handle(event)
