"""The query strings that lists have in common."""

from typing import Annotated

from pydantic import Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from practice import limits
from practice.schemas.base import BaseModel

Cursor = Annotated[str, Field(min_length=1, max_length=1024)]
Size = Annotated[int, Field(ge=1, le=limits.MAX_PAGE_SIZE)]


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
            raise parameter_error(
                "cursor", PydanticCustomError("cursor_invalid", "Send either a cursor or a page")
            )
        return self


def parameter_error(name: str, type_: str | PydanticCustomError, **context: object) -> ValidationError:
    """Places at one parameter what only shows when all are known."""
    return ValidationError.from_exception_data(
        "query", [InitErrorDetails(type=type_, loc=(name,), input=None, ctx=context)]
    )
