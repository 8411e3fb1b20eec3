"""The queue of turns: what was asked with `Prefer: respond-async`."""

import os
from collections.abc import Mapping
from typing import Any, Final

from pydantic import TypeAdapter

from practice.events import batch
from practice.runtime.deadline import Deadline
from practice.runtime.log import logged_event
from practice.schemas.turn import QueuedTurn
from practice.turns import conversation

MESSAGE: Final = TypeAdapter(QueuedTurn)


@logged_event("work_turn")
def lambda_handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Runs each turn; what fails comes back, and asks only the models that are still missing."""
    deadline = Deadline.of(context)

    def handle(record: Mapping[str, Any]) -> None:
        conversation.work(batch.parsed(record["body"], MESSAGE), deadline)

    return batch.each(event, handle, os.environ["TURN_DEAD_LETTERS_URL"], "work_turn")
