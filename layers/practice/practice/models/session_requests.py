"""What a client sends to open and to change a session."""

from typing import Annotated

from pydantic import BaseModel, Field

from practice import limits
from practice.models.fields import Id, KnowledgeIds, Notes, Title


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
