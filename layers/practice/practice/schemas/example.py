"""Few-shot examples of the user's library: the object, what a client sends, the list."""

from typing import Annotated, Any, Final, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from practice import limits
from practice.schemas.base import BaseModel
from practice.schemas.fields import FreeForm, Text, Timestamp, Title
from practice.schemas.page import PageQuery


class Example(BaseModel):
    example_id: int
    user_id: int
    input_text: str
    output_text: str
    is_active: bool
    created_at: Timestamp
    updated_at: Timestamp
    title: str | None
    meta: dict[str, Any]

    def shares(self) -> int:
        """How many fiftieths of a selection are reserved for it: it can grow within them."""
        written = self.model_dump_json(exclude={"example_id", "user_id", "created_at", "updated_at"})
        return -(-(len(written.encode()) + _IDS_AND_TIMES_BYTES) // SHARE_BYTES)


_IDS_AND_TIMES_BYTES: Final = 180
"""At most: an example has the same shares under another id and owner, as after an import."""

SHARE_BYTES: Final = limits.SELECTION_BYTES // limits.SELECTED_EXAMPLES

ExampleText = Annotated[
    Text,
    Field(
        description=f"At most {limits.EXAMPLE_BYTES} bytes in UTF-8, both texts together.",
        json_schema_extra={"maxLength": limits.EXAMPLE_BYTES},
    ),
]


class NewExample(BaseModel):
    title: Title | None = None
    input_text: ExampleText
    output_text: ExampleText
    meta: FreeForm | None = None
    is_active: bool | None = None

    @model_validator(mode="after")
    def fits(self) -> Self:
        if not texts_fit(self.input_text, self.output_text):
            raise PydanticCustomError("too_long", TEXTS_TOO_LONG)
        return self


class ExampleChanges(BaseModel):
    """Absent means unchanged; `meta` is replaced, and null empties it."""

    title: Title | None = None
    input_text: ExampleText = ""
    output_text: ExampleText = ""
    meta: FreeForm | None = None
    is_active: bool = True

    @model_validator(mode="after")
    def fits(self) -> Self:
        if not texts_fit(self.input_text, self.output_text):
            raise PydanticCustomError("too_long", TEXTS_TOO_LONG)
        return self


TEXTS_TOO_LONG: Final = (
    f"input_text and output_text should have at most {limits.EXAMPLE_BYTES} bytes together"
)


def texts_fit(input_text: str, output_text: str) -> bool:
    return len(input_text.encode()) + len(output_text.encode()) <= limits.EXAMPLE_BYTES


class ExamplesQuery(PageQuery):
    is_active: bool | None = None


class ExamplePage(BaseModel):
    items: list[Example]
    total: int | None
    """Exact; null where a cursor walks a filtered list."""
    page: int
    size: int
    next_cursor: str | None
