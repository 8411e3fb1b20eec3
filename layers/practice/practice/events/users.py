"""What happens to a user as a whole: tokens revoked, data erased."""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, Field, TypeAdapter, model_validator

from practice.events import outbound
from practice.events.batch import PermanentFailure, parsed, validated
from practice.runtime import clock, queues
from practice.runtime.deadline import Deadline
from practice.schemas.fields import Id, Text
from practice.store import accounts
from practice.transfers import files


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
    """One request. What can never be taken is set aside."""
    try:
        revoked = validated(event.get("detail"), _TOKENS_REVOKED)
    except PermanentFailure as failure:
        return _dead_letter(event, failure, "revoke_tokens")
    if revoked.issued_before is not None:
        accounts.revoke_before(revoked.user_id, revoked.issued_before.timestamp())
    if revoked.token_id is not None:
        accounts.revoke_token(revoked.user_id, revoked.token_id)
    return {"detail_type": "TokensRevoked", "outcome": "stored"}


def begin_erasure(event: Mapping[str, Any]) -> dict[str, Any]:
    """The receipt, and a message for the work: two requests. Nothing is created for the user from here on."""
    try:
        erased = validated(event.get("detail"), _USER_ERASED)
    except PermanentFailure as failure:
        return _dead_letter(event, failure, "erase_user")
    if not accounts.begin_erasure(erased.user_id, erased.updated_at.timestamp()):
        return {"detail_type": "UserErased", "outcome": "superseded"}
    _continue(erased.user_id)
    return {"detail_type": "UserErased", "outcome": "begun"}


def _dead_letter(event: Mapping[str, Any], failure: PermanentFailure, name: str) -> dict[str, Any]:
    queues.dead_letter(os.environ["CATALOGUE_DEAD_LETTERS_URL"], json.dumps(event), str(failure), name)
    return {"detail_type": event.get("detail-type"), "outcome": "set aside", "reason": str(failure)}


def erase(record: Mapping[str, Any], deadline: Deadline) -> None:
    """Erases until the time is up, then asks for the rest by a message of its own. Ends with `UserDataErased`."""
    user_id = parsed(record["body"], _ERASE_USER).user_id
    files.delete_all(user_id)
    for erasure in accounts.erase(user_id):
        if erasure is not None:
            _tell(user_id, erasure)
            accounts.finish_erasure(user_id, erasure)
        elif not deadline.remaining():
            _continue(user_id)
            return


def _tell(user_id: int, erasure: accounts.Erasure) -> None:
    describe_errors = outbound.UserDataErased(
        event_id=f"erasure-{user_id}-{erasure.erased_at!r}",
        user_id=user_id,
        erased_at=clock.written(datetime.fromtimestamp(erasure.erased_at, UTC)),
        items_deleted=erasure.counts["items"],
        sessions=erasure.counts["sessions"],
        examples=erasure.counts["examples"],
        responses=erasure.counts["responses"],
    )
    if outbound.publish([describe_errors]):
        raise queues.NotSent("UserDataErased")


def _continue(user_id: int) -> None:
    if queues.send(os.environ["ERASURE_QUEUE_URL"], [EraseUser(user_id=user_id).model_dump_json()]):
        raise queues.NotSent("erasure")
