"""$connect: the handshake of a live connection."""

from typing import Any

from practice.live import handshake
from practice.live.connection import Event


def lambda_handler(event: Event, context: object) -> dict[str, Any]:
    """101 for a token that is good; of more than ten connections of a user the oldest is closed."""
    return handshake.connect(event, context)
