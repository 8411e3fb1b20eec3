"""Announcements of classes and agents. The newest one of each is stored."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PlainSerializer, TypeAdapter, model_validator

from practice.events.parsing import Moment, PermanentFailure, validate
from practice.limits import MAX_ID, SESSION_MODELS
from practice.runtime import clock, queues
from practice.runtime.config import config
from practice.schemas.base import BaseModel
from practice.schemas.catalogue import Agent, AgentFields, ClassStatus, PracticeClass
from practice.schemas.fields import Id, ModelName
from practice.schemas.spending import Dollars
from practice.store import catalogue
from practice.table import keys

StoredMoment = Annotated[Moment, PlainSerializer(clock.to_timestamp)]


BudgetCount = Annotated[int, Field(ge=0, le=MAX_ID)]


class _Announcement(BaseModel):
    version: Literal[1]
    updated_at: StoredMoment


class ClassUpdated(_Announcement):
    class_id: Id
    status: ClassStatus
    primary_model: ModelName | None
    allowed_models: Annotated[list[ModelName], Field(max_length=SESSION_MODELS)]
    daily_turns: BudgetCount | None = None
    """Turns that a learner may begin in the class on a day; absent or null: no budget of the class's own, 0: none."""
    daily_tokens: BudgetCount | None = None
    daily_usd: Dollars | None = None

    @model_validator(mode="after")
    def fits_a_session(self) -> Self:
        """The primary is one of the models, listed or not."""
        if len({*self.allowed_models, self.primary_model} - {None}) > SESSION_MODELS:
            raise ValueError(f"at most {SESSION_MODELS} models, the primary included")
        return self


class AgentUpdated(_Announcement, AgentFields):
    user_id: Id
    is_active: bool
    shared_class_ids: list[Id]


class AgentDeleted(_Announcement):
    agent_id: Id


def handle(event: Mapping[str, Any]) -> dict[str, Any]:
    """Two requests. An unknown type, a wrong version or invalid fields send the event to the dead-letter queue."""
    kind = event.get("detail-type")
    try:
        stored = _announce(kind, event.get("detail"))
    except PermanentFailure as failure:
        dead_letters = config().catalogue_dead_letters_url
        queues.dead_letter(dead_letters, json.dumps(event), str(failure), "update_catalogue")
        return {"detail_type": kind, "outcome": "dead_letter", "reason": str(failure)}
    return {"detail_type": kind, "outcome": "stored" if stored else "superseded"}


_CLASS_UPDATED = TypeAdapter(ClassUpdated)
_AGENT_UPDATED = TypeAdapter(AgentUpdated)
_AGENT_DELETED = TypeAdapter(AgentDeleted)


def _announce(kind: object, detail: object) -> bool:
    if kind == "ClassUpdated":
        announced = validate(detail, _CLASS_UPDATED)
        practice_class = PracticeClass.model_validate(announced.model_dump())
        key = keys.practice_class(announced.class_id)
        return catalogue.announce(key, practice_class, practice_class.updated_at)
    if kind == "AgentUpdated":
        agent = Agent.model_validate(validate(detail, _AGENT_UPDATED).model_dump(exclude_unset=True))
        return catalogue.announce(keys.agent(agent.agent_id), agent, agent.updated_at)
    if kind == "AgentDeleted":
        deleted = validate(detail, _AGENT_DELETED)
        agent = Agent.deleted(deleted.agent_id, clock.to_timestamp(deleted.updated_at))
        return catalogue.announce(keys.agent(agent.agent_id), agent, agent.updated_at)
    raise PermanentFailure("unknown detail-type")
