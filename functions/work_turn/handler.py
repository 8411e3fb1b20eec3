"""SQS, turn queue."""

from collections.abc import Mapping
from typing import Any

from practice.events import turns
from practice.runtime.log import logged_event


@logged_event("work_turn")
def lambda_handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Runs each queued turn. A redelivery asks only the models that are still missing."""
    return turns.handle(event, context)
