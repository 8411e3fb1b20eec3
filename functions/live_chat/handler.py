"""chat: the next turn of a session, followed from its beginning."""

from typing import Any

from practice.http.rates import JOB_COST
from practice.live import turns
from practice.live.action import handle_message
from practice.live.connection import Event


def lambda_handler(event: Event, context: object) -> dict[str, Any]:
    """Queues the turn; a worker runs it and sends what is written."""
    return handle_message(event, context, "chat", JOB_COST, turns.chat)
