"""A practice session: what it is about, its settings, its responses."""

from typing import Annotated

from pydantic import BaseModel, Field

from practice.models.fields import Timestamp
from practice.models.response import Response
from practice.models.settings import Settings


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


class ResponsesQuery(BaseModel):
    responses: Annotated[int, Field(ge=0, le=0)] | None = None
    """`0` embeds no responses, and reads none."""
