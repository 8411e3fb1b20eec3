"""How large an answer becomes on its way out of the function.

Lambda serialises a function's result, so the JSON in its body is escaped a second time; what may leave is bounded as it
is then, with every character outside ASCII spelled out, which older runtimes do.
"""

import json
from typing import Final

from practice.limits import ANSWER_BYTES, ESCAPED_BYTES

_WORST: Final = 12
"""Bytes a character can take: two escapes for one outside the basic plane."""


def escaped_bytes(text: str) -> int:
    """The size of a JSON text as a string of another one."""
    if text.isascii():  # the one control character that may stand bare in JSON is DEL
        return len(text) + text.count('"') + text.count("\\") + 5 * text.count("\x7f") + len('""')
    return len(json.dumps(text))


def is_answerable(text: str) -> bool:
    """Whether an answer can carry the text beside its other fields: it is escaped in the JSON, and that once more."""
    return (
        len(text) * _WORST <= ESCAPED_BYTES
        or escaped_bytes(json.dumps(text, ensure_ascii=False)) <= ESCAPED_BYTES
    )


class Room:
    """What is left of an answer while it is being filled."""

    def __init__(self, reserved: int = 20_000) -> None:
        self.left = ANSWER_BYTES - reserved

    def spend(self, text: str) -> None:
        """For what the answer has in any case."""
        self.left -= escaped_bytes(text)

    def take(self, text: str) -> bool:
        """Whether the text still fits; if so, its place is taken."""
        size = escaped_bytes(text)
        if size > self.left:
            return False
        self.left -= size
        return True
