"""The query strings of the lists, and their pages."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from practice import limits
from practice.models.example import Example
from practice.models.fields import Id
from practice.models.session import OwnSession, Session, SessionWithResponses, SessionWithSettings

Cursor = Annotated[str, Field(min_length=1, max_length=1024)]
Size = Annotated[int, Field(ge=1, le=limits.MAX_PAGE_SIZE)]


class ResponsesQuery(BaseModel):
    responses: Annotated[int, Field(ge=0, le=0)] | None = None
    """`0` embeds no responses, and reads none."""


class SliceQuery(BaseModel):
    """For lists that are walked by cursor alone."""

    size: Size | None = None
    cursor: Cursor | None = None
    """The cursor that came with the part before."""


class PageQuery(BaseModel):
    page: Annotated[int, Field(ge=1)] | None = None
    """1 when absent; not beside `cursor`."""
    size: Size | None = None
    """50 when absent; with `expand` 20, and at most 20."""
    cursor: Cursor | None = None
    """The `next_cursor` of the page before, for the same filters."""

    @model_validator(mode="after")
    def one_way_to_page(self) -> "PageQuery":
        if self.cursor is not None and self.page is not None:
            raise _wrong("cursor", PydanticCustomError("cursor_invalid", "Send either a cursor or a page"))
        return self


def _wrong(name: str, type_: str | PydanticCustomError, **context: object) -> ValidationError:
    """Places at one parameter what only shows when all are known."""
    return ValidationError.from_exception_data(
        "query", [InitErrorDetails(type=type_, loc=(name,), input=None, ctx=context)]
    )


class ExamplesQuery(PageQuery):
    is_active: bool | None = None


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
            raise _wrong("size", "less_than_equal", le=limits.EXPANDED_PAGE_SIZE)
        return self


class SessionPage(BaseModel):
    items: list[OwnSession | SessionWithSettings | SessionWithResponses | Session]
    """With `expand` they have `settings`, `responses` and `responses_next_cursor`."""
    total: int | None
    """Exact; null where a cursor walks a filtered list."""
    page: int
    size: int
    next_cursor: str | None


class ExamplePage(BaseModel):
    items: list[Example]
    total: int | None
    """Exact; null where a cursor walks a filtered list."""
    page: int
    size: int
    next_cursor: str | None
