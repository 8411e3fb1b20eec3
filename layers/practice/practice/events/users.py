"""Events about a whole user: tokens are revoked, an erasure begins."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, TypeAdapter, model_validator

from practice.events.parsing import Moment, PermanentFailure, validate
from practice.runtime import queues
from practice.runtime.config import config
from practice.schemas.base import BaseModel
from practice.schemas.fields import Id, Text
from practice.store import accounts, erasures


class _AboutUser(BaseModel):
    version: Literal[1]
    updated_at: Moment
    user_id: Annotated[Id, Field(strict=True)]
    """Strict, since `true` is user 1 otherwise, and an erasure cannot be undone."""


class TokensRevoked(_AboutUser):
    """Either all tokens issued before a moment, or one by its `jti`."""

    issued_before: Moment | None = None
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
    continue_erasure(erased.user_id)
    return {"detail_type": "UserErased", "outcome": "begun"}


def _dead_letter(event: Mapping[str, Any], failure: PermanentFailure, name: str) -> dict[str, Any]:
    queues.dead_letter(config().catalogue_dead_letters_url, json.dumps(event), str(failure), name)
    return {"detail_type": event.get("detail-type"), "outcome": "dead_letter", "reason": str(failure)}


def continue_erasure(user_id: int) -> None:
    if queues.send(config().erasure_queue_url, [EraseUser(user_id=user_id).model_dump_json()]):
        raise queues.NotSent("erasure")
