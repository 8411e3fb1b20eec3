"""Queued turns: requests with `Prefer: respond-async`."""

from collections.abc import Mapping
from typing import Any, Final

from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from pydantic import TypeAdapter

from practice.events.batch import process
from practice.events.parsing import parse
from practice.runtime.config import config
from practice.runtime.deadline import Deadline
from practice.schemas.turn import QueuedTurn
from practice.turns import worker

NAME: Final = "work_turn"
QUEUED_TURN: Final = TypeAdapter(QueuedTurn)


def handle(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    deadline = Deadline.of(context)

    def work(record: SQSRecord) -> None:
        worker.run_queued_turn(parse(record.body, QUEUED_TURN), deadline)

    return process(event, work, config().turn_dead_letters_url, NAME)
