"""Turns the records of the table's stream into queue messages and events on the bus.

A record blocks those behind it in its shard, so slow work goes to the queues. Records, messages and events may be delivered
again: the work of every message is idempotent, and every event keeps its id.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from practice import table
from practice.errors import StoreUnavailable
from practice.events import consequences, outbound
from practice.events.consequences import Answered, Consequence
from practice.events.messages import (
    SweepTurns,
    WriteTitle,
)
from practice.events.outbound import (
    OutboundEvent,
)
from practice.events.parsing import describe_errors
from practice.runtime import queues
from practice.runtime.config import config
from practice.schemas.session import OwnSession
from practice.table import keys

NAME: Final = "stream_changes"


def handle(event: Mapping[str, Any]) -> dict[str, Any]:
    """The partial batch response: Lambda reads the shard again from the first record with an unsent consequence.

    An unreadable record goes to the dead-letter queue and does not block the shard.
    """
    records = event["Records"]
    found: list[tuple[int, Consequence]] = []
    unsent: set[int] = set()
    for place, record in enumerate(records):
        try:
            try:
                found += [(place, each) for each in consequences.of(record)]
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                dead_letters = config().stream_dead_letters_url
                queues.dead_letter(dead_letters, _dead_letter_body(record), _reason(error), NAME)
        except (StoreUnavailable, queues.NotSent):
            unsent.add(place)
    unsent |= _send(found)
    return {"batchItemFailures": [_identifier(records[min(unsent)])] if unsent else []}


def _send(found: Iterable[tuple[int, Consequence]]) -> set[int]:
    """Send everything in batches. Returns the places of records with an unsent consequence."""
    events: list[tuple[int, OutboundEvent]] = []
    sweeps: list[tuple[int, BaseModel]] = []
    turns: dict[int, tuple[int, SweepTurns]] = {}
    answered: dict[Answered, int] = {}
    for place, each in found:
        if isinstance(each, OutboundEvent):
            events.append((place, each))
        elif isinstance(each, Answered):
            answered.setdefault(each, place)
        elif isinstance(each, SweepTurns):
            session_id = keys.session_of(each.turn_ids[0])
            empty = SweepTurns(user_id=each.user_id, turn_ids=[])
            gathered = turns.setdefault(session_id, (place, empty))[1]
            gathered.turn_ids += [turn_id for turn_id in each.turn_ids if turn_id not in gathered.turn_ids]
        else:
            sweeps.append((place, each))
    sweeps += turns.values()
    unsent = {events[i][0] for i in outbound.publish([each for _, each in events])}
    unsent |= {sweeps[i][0] for i in queues.send(config().sweep_queue_url, _bodies(sweeps))}
    try:
        titles = _without_title(answered)
    except StoreUnavailable:
        return unsent | set(answered.values())
    return unsent | {titles[i][0] for i in queues.send(config().titles_queue_url, _bodies(titles))}


def _without_title(answered: Mapping[Answered, int]) -> list[tuple[int, WriteTitle]]:
    """One request for every hundred sessions."""
    found = table.fetch(keys.session(*session) for session in answered)
    untitled = []
    for session, place in answered.items():
        document = found.get(keys.session(*session))
        if document and not OwnSession.model_validate_json(document.text).title:
            untitled.append((place, WriteTitle(user_id=session.user_id, session_id=session.session_id)))
    return untitled


def _bodies(messages: Iterable[tuple[int, BaseModel]]) -> list[str]:
    return [message.model_dump_json() for _, message in messages]


def _identifier(record: Mapping[str, Any]) -> dict[str, str]:
    return {"itemIdentifier": record["dynamodb"]["SequenceNumber"]}


def _reason(error: Exception) -> str:
    """Does not quote the record."""
    return describe_errors(error) if isinstance(error, ValidationError) else type(error).__name__


def _dead_letter_body(record: object) -> str:
    """The record, without its images when they do not fit a message."""
    body = json.dumps(record)
    if len(body) <= queues.MESSAGE_BYTES // 2 or not isinstance(record, Mapping):
        return body
    change = {name: value for name, value in record["dynamodb"].items() if not name.endswith("Image")}
    return json.dumps({**record, "dynamodb": change})
