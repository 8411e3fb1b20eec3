"""$default: ping, and what no other route takes."""

from typing import Any

from practice.errors import UnknownAction
from practice.live.action import Body, handle_message, parsed
from practice.live.connection import Client, Event
from practice.runtime.deadline import Deadline
from practice.schemas.live import Ping, Pong


def lambda_handler(event: Event, context: object) -> dict[str, Any]:
    """Answers `ping` with `pong`, and every other message with an error."""
    return handle_message(event, context, "$default", 1, _answer)


def _answer(client: Client, body: Body, deadline: Deadline) -> None:
    if body.get("action") not in ("ping", None):
        raise UnknownAction
    ping: Ping = parsed(Ping, body)
    client.send(Pong(id=ping.id))
