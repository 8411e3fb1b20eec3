"""cancel: stops a turn."""

from typing import Any

from practice.live import turns
from practice.live.action import handle_message
from practice.live.connection import Event


def lambda_handler(event: Event, context: object) -> dict[str, Any]:
    """What is answered stays."""
    return handle_message(event, context, "cancel", 1, turns.cancel)
