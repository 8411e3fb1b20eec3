"""SQS, sessions that were answered and have no title."""

from collections.abc import Mapping
from typing import Any

from practice.events.titles import handle
from practice.runtime.log import logged_event


@logged_event("write_titles")
def lambda_handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Writes a title where there is still none."""
    return handle(event)
