"""A practice session: what it is about, its settings, its responses."""

from typing import Annotated

from pydantic import BaseModel, Field

from practice import limits
from practice.models.fields import Id, KnowledgeIds, Notes, Timestamp, Title
from practice.models.response import Response
from practice.models.settings import Settings


class SessionFields(BaseModel):
    """The fields a client writes."""

    class_id: Id | None = None
    project_id: Id | None = None
    knowledge_ids: KnowledgeIds | None = None
    agent_id: Id | None = None
    title: Title | None = None
    notes: Notes | None = None


class NewSession(SessionFields):
    class_id: Annotated[int, Field(ge=0, le=limits.MAX_ID)] | None = None
    """Required in fact: without one (null and 0 too) the answer is 400 `class_id_required`."""


class SessionChanges(SessionFields):
    """Absent means unchanged, null clears."""


class OwnSession(BaseModel):
    """Everything of a session that is not its settings or its responses."""

    session_id: int
    user_id: int
    created_at: Timestamp
    updated_at: Timestamp
    class_id: int | None = None
    project_id: int | None = None
    knowledge_ids: list[int] = []
    agent_id: int | None = None
    title: str | None = None
    notes: str | None = None


class Session(OwnSession):
    settings: Settings
    responses: list[Response]
    """Ascending by time: the newest ones that fit."""
    responses_next_cursor: str | None
    """Leads to the older ones; null when all are here."""


class SessionWithSettings(OwnSession):
    settings: Settings


class SessionWithResponses(OwnSession):
    responses: list[Response]
    responses_next_cursor: str | None
