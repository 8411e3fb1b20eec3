"""The query strings of the lists, and their pages."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, field_validator, model_validator
from pydantic_core import PydanticCustomError

from practice import limits
from practice.models.example import Example
from practice.models.fields import Id
from practice.models.session import OwnSession

Cursor = Annotated[str, Field(min_length=1, max_length=1024)]
Size = Annotated[int, Field(ge=1, le=limits.MAX_PAGE_SIZE)]


class ResponsesQuery(BaseModel):
    responses: Annotated[int, Field(ge=0, le=0)] | None = None
    """`0` embeds no responses, and reads none."""


class SliceQuery(BaseModel):
    """For lists that are walked by cursor alone."""

    size: Size | None = None
    cursor: Cursor | None = None


class PageQuery(BaseModel):
    page: Annotated[int, Field(ge=1)] | None = None
    size: Size | None = None
    cursor: Cursor | None = None

    @model_validator(mode="after")
    def one_way_to_page(self) -> "PageQuery":
        if self.cursor is not None and self.page is not None:
            raise PydanticCustomError("cursor_invalid", "Send either a cursor or a page")
        return self


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
    expand: frozenset[Expansion] = frozenset()
    """Comma separated."""

    @field_validator("expand", mode="before")
    @classmethod
    def split(cls, value: Any) -> Any:
        return value.split(",") if isinstance(value, str) else value

    @model_validator(mode="after")
    def expanded_pages_are_short(self) -> "SessionsQuery":
        if self.expand and self.size is not None and self.size > limits.EXPANDED_PAGE_SIZE:
            raise PydanticCustomError(
                "less_than_equal",
                "size should be less than or equal to {le} with expand",
                {"le": limits.EXPANDED_PAGE_SIZE},
            )
        return self


class SessionPage(BaseModel):
    items: list[SerializeAsAny[OwnSession]]
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
