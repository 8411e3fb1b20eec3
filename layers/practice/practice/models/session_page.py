"""The list of the user's sessions."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from practice import limits
from practice.models.fields import Id
from practice.models.page import PageQuery, wrong
from practice.models.response import Response
from practice.models.session import OwnSession, Session
from practice.models.settings import Settings


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
            raise wrong("size", "less_than_equal", le=limits.EXPANDED_PAGE_SIZE)
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
