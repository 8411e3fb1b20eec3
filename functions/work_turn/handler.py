"""The queue of turns: what was asked with `Prefer: respond-async`."""

import os
from collections.abc import Mapping
from typing import Any, Final

from pydantic import TypeAdapter

from practice.deadline import Deadline
from practice.events import messages
from practice.log import logged_event
from practice.models.turn import QueuedTurn
from practice.turns import conversation

MESSAGE: Final = TypeAdapter(QueuedTurn)


@logged_event("work_turn")
def lambda_handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Runs each turn; what fails comes back, and asks only the models that are still missing."""
    deadline = Deadline.of(context)

    def take(record: Mapping[str, Any]) -> None:
        conversation.work(messages.parsed(record["body"], MESSAGE), deadline)

    return messages.each(event, take, os.environ["TURN_DEAD_LETTERS_URL"], "work_turn")
