"""Turns, piece by piece."""

from pydantic import BaseModel

from practice.models.page import Cursor
from practice.models.turn import Turn


class TurnQuery(BaseModel):
    cursor: Cursor | None = None
    """Continues a turn that is too big for one answer: the header `x-next-cursor`."""


class TurnPage(BaseModel):
    """Ascending by time; `next_cursor` leads to the older ones.

    A turn too big for one answer continues on the next page, under the same `turn_id`.
    """

    items: list[Turn]
    next_cursor: str | None
