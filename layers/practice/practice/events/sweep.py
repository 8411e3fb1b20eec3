"""Removes the children of deleted sessions, models and examples until its deadline, then queues the rest."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from practice.events.batch import process
from practice.events.messages import SWEEP, Sweep, SweepExample, SweepModel, SweepSession, SweepTurns
from practice.events.parsing import PermanentFailure, parse
from practice.runtime import log, queues
from practice.runtime.config import config
from practice.runtime.deadline import Deadline
from practice.store import sweeps
from practice.table import keys

NAME: Final = "sweep"
RESERVE_SECONDS: Final = 20.0
"""More than the longest step takes with all its retries."""


def handle(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    deadline = Deadline.of(context).less(RESERVE_SECONDS)

    def sweep(record: SQSRecord) -> None:
        message = parse(record.body, SWEEP)
        try:
            for _ in _steps(message):
                if not deadline.remaining():
                    _continue(message)
                    return
        except sweeps.NotDeletedYet:
            raise PermanentFailure("not deleted") from None

    answer = process(event, sweep, config().sweep_dead_letters_url, NAME)
    log.count("sweep_lag_seconds", _lag(event["Records"]))
    return answer


def _lag(records: Sequence[Mapping[str, Any]]) -> float:
    """Seconds since the oldest message was sent. A message without its time counts as new."""
    now = time.time()
    sent_at = [int(each["attributes"].get("SentTimestamp", now * 1000)) / 1000 for each in records]
    return round(now - min(sent_at, default=now), 2)


def _steps(message: Sweep) -> Iterator[None]:
    if isinstance(message, SweepSession):
        return sweeps.session(message.user_id, message.session_id)
    if isinstance(message, SweepModel):
        return sweeps.model(message.user_id, message.session_model_id)
    if isinstance(message, SweepExample):
        return sweeps.example_links(message.user_id, message.example_id)
    if isinstance(message, SweepTurns):
        return sweeps.turns(message.user_id, message.turn_ids)
    return sweeps.parts(keys.Key(message.pk, message.sk), message.version, message.count)


def _continue(message: Sweep) -> None:
    """Sends a new message: one that returns to its queue too often counts as failed. Raises NotSent."""
    if queues.send(config().sweep_queue_url, [message.model_dump_json()]):
        raise queues.NotSent("the rest of a sweep")
