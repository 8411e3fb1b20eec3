"""The responses of a session, piece by piece."""

from pydantic import BaseModel

from practice.models.response import Response


class ResponsePage(BaseModel):
    """Ascending by time; `next_cursor` leads to the older ones."""

    items: list[Response]
    next_cursor: str | None
