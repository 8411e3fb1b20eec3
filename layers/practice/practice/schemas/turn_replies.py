"""Turns as a client is shown them."""

from practice.schemas.base import BaseModel
from practice.schemas.fields import Timestamp
from practice.schemas.turn import Result, TurnError, TurnModel, TurnSettings, TurnStatus


class TurnAnswer(BaseModel):
    session_id: int
    session_title: str | None
    prompt_text: str
    results: list[Result]
    """In the order of the models, the primary first."""
    errors: list[TurnError]


class TurnAccepted(BaseModel):
    """The turn is running, or too big for one response: `Location` leads to it."""

    session_id: int
    session_title: str | None
    turn_id: int
    status: TurnStatus


class NoModelAnsweredBody(BaseModel):
    detail: str
    session_id: int
    errors: list[TurnError]


class Turn(BaseModel):
    turn_id: int
    session_id: int
    after_turn_id: int | None
    """The turn whose conversation this one continues; null for a beginning. It may have been deleted since."""
    status: TurnStatus
    prompt_text: str
    created_at: Timestamp
    asked: list[TurnModel]
    """All models of the turn, from its beginning on."""
    results: list[Result]
    errors: list[TurnError]
    """Of the models that failed so far."""
    settings: TurnSettings | None
    """null for a response that was added by POST or queue: it is a turn of its own."""


class TurnWithSiblings(Turn):
    siblings: list[int]
    """The turns that follow the same one, this one included, oldest first: the 100 nearest."""
    siblings_total: int


class TurnPage(BaseModel):
    """Ascending by time; `next_cursor` leads to the older ones.

    A turn too big for one answer continues on the next page, under the same `turn_id`.
    """

    items: list[Turn]
    next_cursor: str | None
