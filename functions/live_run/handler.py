"""run: a session with its first turn, followed from its beginning."""

from typing import Any

from practice.http.rates import JOB_COST
from practice.live import turns
from practice.live.action import handle_message
from practice.live.connection import Event


def lambda_handler(event: Event, context: object) -> dict[str, Any]:
    """Opens the session and queues the turn."""
    return handle_message(event, context, "run", JOB_COST, turns.run)
