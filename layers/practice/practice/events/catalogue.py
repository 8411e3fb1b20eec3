"""Announcements of classes and agents, kept as the newest one of each."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, PlainSerializer

from practice import clock, keys
from practice.models.catalogue import Agent, ClassStatus, PracticeClass
from practice.models.fields import FreeForm, Id, ModelName, Text
from practice.store import catalogue

Moment = Annotated[AwareDatetime, PlainSerializer(clock.written)]


class _Announcement(BaseModel):
    version: Literal[1]
    updated_at: Moment


class ClassUpdated(_Announcement):
    class_id: Id
    status: ClassStatus
    primary_model: ModelName | None
    allowed_models: list[ModelName]


class AgentUpdated(_Announcement):
    agent_id: Id
    user_id: Id
    is_active: bool
    shared_class_ids: list[Id]
    name: Text
    system_prompt: Text
    generation_params: FreeForm


class AgentDeleted(_Announcement):
    agent_id: Id


def take(event: Mapping[str, Any]) -> dict[str, Any]:
    """One request. Raises for what can never be taken: a wrong type or version, a field that is missing."""
    kind, detail = event.get("detail-type"), event.get("detail")
    if kind == "ClassUpdated":
        announced = ClassUpdated.model_validate(detail)
        practice_class = PracticeClass.model_validate(announced.model_dump())
        key = keys.practice_class(announced.class_id)
        stored = catalogue.announce(key, practice_class, practice_class.updated_at)
    elif kind == "AgentUpdated":
        agent = Agent.model_validate(AgentUpdated.model_validate(detail).model_dump())
        stored = catalogue.announce(keys.agent(agent.agent_id), agent, agent.updated_at)
    elif kind == "AgentDeleted":
        gone = AgentDeleted.model_validate(detail)
        agent = Agent.deleted(gone.agent_id, clock.written(gone.updated_at))
        stored = catalogue.announce(keys.agent(agent.agent_id), agent, agent.updated_at)
    else:
        raise ValueError(f"no announcement is called {kind!r}")
    return {"detail_type": kind, "outcome": "stored" if stored else "superseded"}
