"""follow: a turn that exists already."""

from typing import Any

from practice.live import turns
from practice.live.action import handle_message
from practice.live.connection import Event


def lambda_handler(event: Event, context: object) -> dict[str, Any]:
    """Sends a finished turn at once; of one under way what is written from its beginning on."""
    return handle_message(event, context, "follow", 1, turns.follow)
