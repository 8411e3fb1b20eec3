"""Practice sessions: the object, what a client sends, the list."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import ConfigDict, Field, field_validator, model_validator

from practice import limits
from practice.schemas.base import BaseModel
from practice.schemas.fields import Id, KnowledgeIds, Notes, Timestamp, Title
from practice.schemas.page import PageQuery, parameter_error
from practice.schemas.response import Response
from practice.schemas.settings import Settings


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


class Sort(StrEnum):
    CREATED = "created"
    ACTIVITY = "activity"


class Expansion(StrEnum):
    SETTINGS = "settings"
    RESPONSES = "responses"


class SessionsQuery(PageQuery):
    model_config = ConfigDict(validate_default=False)

    class_id: Id | None = None
    project_id: Id | None = None
    sort: Sort = Sort.CREATED
    expand: Annotated[frozenset[Expansion], Field(json_schema_extra={"minItems": 1})] = frozenset()
    """Comma separated."""

    @field_validator("expand", mode="before")
    @classmethod
    def split(cls, value: Any) -> Any:
        return value.split(",") if isinstance(value, str) else value

    @model_validator(mode="after")
    def expanded_pages_are_short(self) -> "SessionsQuery":
        if self.expand and self.size is not None and self.size > limits.EXPANDED_PAGE_SIZE:
            raise parameter_error("size", "less_than_equal", le=limits.EXPANDED_PAGE_SIZE)
        return self


class SessionWithSettings(OwnSession):
    settings: Settings


class SessionWithResponses(OwnSession):
    responses: list[Response]
    responses_next_cursor: str | None


class SessionPage(BaseModel):
    items: list[OwnSession | SessionWithSettings | SessionWithResponses | Session]
    """With `expand` they have `settings`, `responses` and `responses_next_cursor`."""
    total: int | None
    """Exact; null where a cursor walks a filtered list."""
    page: int
    size: int
    next_cursor: str | None
