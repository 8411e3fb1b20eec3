"""Events about a whole user: tokens are revoked, data is erased."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, Self

from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from pydantic import AwareDatetime, Field, TypeAdapter, model_validator

from practice.events import outbound
from practice.events.batch import PermanentFailure, parse, process, validate
from practice.runtime import clock, queues
from practice.runtime.config import config
from practice.runtime.deadline import Deadline
from practice.schemas.base import BaseModel
from practice.schemas.fields import Id, Text
from practice.schemas.spending import in_dollars
from practice.store import accounts, connections, erasures, reservations, withdrawals
from practice.transfers import files

ERASURE_RESERVE_SECONDS: Final = 10.0
"""More than the longest step of an erasure takes."""


class _AboutUser(BaseModel):
    version: Literal[1]
    updated_at: AwareDatetime
    user_id: Id


class TokensRevoked(_AboutUser):
    """Either all tokens issued before a moment, or one by its `jti`."""

    issued_before: AwareDatetime | None = None
    token_id: Annotated[Text, Field(min_length=1, max_length=256)] | None = None

    @model_validator(mode="after")
    def one_of_them(self) -> Self:
        if (self.issued_before is None) == (self.token_id is None):
            raise ValueError("issued_before or token_id")
        return self


class UserErased(_AboutUser):
    pass


class EraseUser(BaseModel):
    user_id: Id


_TOKENS_REVOKED = TypeAdapter(TokensRevoked)
_USER_ERASED = TypeAdapter(UserErased)
_ERASE_USER = TypeAdapter(EraseUser)


def revoke(event: Mapping[str, Any]) -> dict[str, Any]:
    """One request. An invalid event goes to the dead-letter queue."""
    try:
        revoked = validate(event.get("detail"), _TOKENS_REVOKED)
    except PermanentFailure as failure:
        return _dead_letter(event, failure, "revoke_tokens")
    if revoked.issued_before is not None:
        accounts.revoke_before(revoked.user_id, revoked.issued_before.timestamp())
    if revoked.token_id is not None:
        accounts.revoke_token(revoked.user_id, revoked.token_id, revoked.updated_at.timestamp())
    return {"detail_type": "TokensRevoked", "outcome": "stored"}


def begin_erasure(event: Mapping[str, Any]) -> dict[str, Any]:
    """The receipt, and a message for the work: three requests. Nothing is created for the user from here on."""
    try:
        erased = validate(event.get("detail"), _USER_ERASED)
    except PermanentFailure as failure:
        return _dead_letter(event, failure, "erase_user")
    if not erasures.begin(erased.user_id, erased.updated_at.timestamp()):
        return {"detail_type": "UserErased", "outcome": "superseded"}
    _continue(erased.user_id)
    return {"detail_type": "UserErased", "outcome": "begun"}


def _dead_letter(event: Mapping[str, Any], failure: PermanentFailure, name: str) -> dict[str, Any]:
    queues.dead_letter(config().catalogue_dead_letters_url, json.dumps(event), str(failure), name)
    return {"detail_type": event.get("detail-type"), "outcome": "dead_letter", "reason": str(failure)}


def erase(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    deadline = Deadline.of(context).less(ERASURE_RESERVE_SECONDS)

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
            _continue(user_id)
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


def _continue(user_id: int) -> None:
    if queues.send(config().erasure_queue_url, [EraseUser(user_id=user_id).model_dump_json()]):
        raise queues.NotSent("erasure")
