"""$disconnect: a live connection has ended."""

from typing import Any

from practice.live import handshake
from practice.live.connection import Event


def lambda_handler(event: Event, context: object) -> dict[str, Any]:
    """Forgets the connection. The turns that it followed go on."""
    return handshake.disconnect(event, context)
