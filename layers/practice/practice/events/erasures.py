"""Erasing the data of a user, message by message."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from pydantic import TypeAdapter

from practice.events import outbound, users
from practice.events.batch import process
from practice.events.parsing import parse
from practice.runtime import clock, queues
from practice.runtime.config import config
from practice.runtime.deadline import Deadline
from practice.schemas.spending import in_dollars
from practice.store import connections, erasures, reservations, withdrawals
from practice.transfers import files

RESERVE_SECONDS: Final = 10.0
"""More than the longest step of an erasure takes."""

_ERASE_USER = TypeAdapter(users.EraseUser)


def erase(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    deadline = Deadline.of(context).less(RESERVE_SECONDS)

    def erase_until_deadline(record: SQSRecord) -> None:
        _erase(parse(record.body, _ERASE_USER).user_id, deadline)

    return process(event, erase_until_deadline, config().erasure_dead_letters_url, "erase_items")


def _erase(user_id: int, deadline: Deadline) -> None:
    """Erases until the deadline, then sends a new message for the rest. Ends with `UserDataErased`.

    Files go last: a worker that wrote one while the items were deleted finds its job gone, or had finished by then.
    """
    connections.erase(user_id)
    reservations.give_back_lapsed(user_id)  # the receipt counts what turns used that died
    for erasure in erasures.erase(user_id, withdrawals.removal):
        if erasure is not None:
            files.delete_all(user_id)
            _publish(user_id, erasure)
            erasures.finish(user_id, erasure)
        elif not deadline.remaining():
            users.continue_erasure(user_id)
            return


def _publish(user_id: int, erasure: erasures.Erasure) -> None:
    erased = outbound.UserDataErased(
        event_id=f"erasure-{user_id}-{erasure.erased_at!r}",
        user_id=user_id,
        erased_at=clock.to_timestamp(datetime.fromtimestamp(erasure.erased_at, UTC)),
        items_deleted=erasure.counts["items"],
        sessions=erasure.counts["sessions"],
        examples=erasure.counts["examples"],
        responses=erasure.counts["responses"],
        turns=erasure.counts["turns"],
        prompt_tokens=erasure.counts["prompt"],
        completion_tokens=erasure.counts["completion"],
        cost_usd=in_dollars(erasure.counts["cost"]) or "0",
    )
    if outbound.publish([erased]):
        raise queues.NotSent("UserDataErased")
