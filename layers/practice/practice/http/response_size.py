"""How large a response becomes. A large body leaves a function in base64: no Python runtime escapes it."""

from base64 import b64encode
from typing import Final

from practice.limits import ANSWER_BYTES, BODY_BYTES

_WORST_ESCAPE: Final = 12
"""Bytes that a runtime can take for a character of a body: two `\\u` escapes for one outside the basic plane."""


class ResponseBudget:
    """The bytes left of a response while it is being filled."""

    def __init__(self, reserved: int = 20_000) -> None:
        self.left = BODY_BYTES - reserved

    def spend(self, text: str) -> None:
        """For what the response has in any case."""
        self.left -= len(text.encode())

    def take(self, text: str) -> bool:
        """Whether the text still fits; if so, its bytes are taken."""
        size = len(text.encode())
        if size > self.left:
            return False
        self.left -= size
        return True


def as_returned(body: str) -> dict[str, object]:
    """The fields of a function's result that hold its body."""
    if len(body) * _WORST_ESCAPE <= ANSWER_BYTES:
        return {"body": body}
    return {"body": b64encode(body.encode()).decode(), "isBase64Encoded": True}
