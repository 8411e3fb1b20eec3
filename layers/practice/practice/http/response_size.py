"""How large a response becomes: Lambda serialises a function's result, so its JSON body is escaped a second time."""

from practice.limits import ANSWER_BYTES
from practice.schemas.fields import escaped_bytes


class ResponseBudget:
    """The bytes left of a response while it is being filled."""

    def __init__(self, reserved: int = 20_000) -> None:
        self.left = ANSWER_BYTES - reserved

    def spend(self, text: str) -> None:
        """For what the response has in any case."""
        self.left -= escaped_bytes(text)

    def take(self, text: str) -> bool:
        """Whether the text still fits; if so, its bytes are taken."""
        size = escaped_bytes(text)
        if size > self.left:
            return False
        self.left -= size
        return True
