"""The list of the user's few-shot examples."""

from pydantic import BaseModel

from practice.models.example import Example
from practice.models.page import PageQuery


class ExamplesQuery(PageQuery):
    is_active: bool | None = None


class ExamplePage(BaseModel):
    items: list[Example]
    total: int | None
    """Exact; null where a cursor walks a filtered list."""
    page: int
    size: int
    next_cursor: str | None
