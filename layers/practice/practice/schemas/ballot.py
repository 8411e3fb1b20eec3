"""What a voter is shown of a turn, and what a voter sends."""

from typing import Annotated, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from practice.schemas.base import BaseModel
from practice.schemas.fields import Id, storable
from practice.schemas.page import Cursor
from practice.schemas.vote import Tie


class BlindQuery(BaseModel):
    cursor: Cursor | None = None
    """The `next_cursor` of the part before."""


class BlindAnswer(BaseModel):
    label: str
    response_text: str


class BlindTurn(BaseModel):
    """The answers of a turn without anything that says which model wrote them, in an order that says nothing."""

    turn_id: int
    prompt_text: str
    answers: list[BlindAnswer]
    next_cursor: str | None
    """Leads to the answers that did not fit."""


class NewVote(BaseModel):
    """Exactly one of `label`, `response_id` and `tie`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"label": "A"}]})

    label: (
        Annotated[str, Field(min_length=1, max_length=1, examples=["A"]), AfterValidator(storable)] | None
    ) = None
    """The best answer, by its label in the blind view: a blind vote."""
    response_id: Id | None = None
    """The best answer, by its id: an open vote."""
    tie: Tie | None = None
    """All answers are equally good, or equally bad."""
    blind: bool | None = None
    """Beside `tie`: whether it was decided on the blind view. null: it was not."""

    @model_validator(mode="after")
    def one_choice(self) -> Self:
        if sum(each is not None for each in (self.label, self.response_id, self.tie)) != 1:
            raise PydanticCustomError("one_choice", "Send exactly one of label, response_id and tie")
        return self

    @property
    def is_blind(self) -> bool:
        return self.label is not None or (self.tie is not None and self.blind is True)
