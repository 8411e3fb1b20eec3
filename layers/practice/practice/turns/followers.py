"""Who watches a turn while its answers are written."""

from typing import Any, Protocol

from practice.schemas.response import Response
from practice.schemas.turn import AskedModel, TurnError


class Followers(Protocol):
    """Learns what happens in a turn, from several threads. No method raises, and none waits for a connection."""

    def wrote(self, asked: AskedModel, piece: str) -> None:
        """The next piece of an answer; joined, the pieces since the last restart are the text that is stored."""

    def restarted(self, asked: AskedModel) -> None:
        """The pieces so far are void: the model is asked anew."""

    def answered(self, asked: AskedModel, response: Response, sent: dict[str, Any]) -> None:
        """The answer is stored."""

    def failed(self, asked: AskedModel, error: TurnError) -> None:
        """The model has no answer; its pieces are void."""


class NoFollowers:
    """Of a turn that nobody watches."""

    def wrote(self, asked: AskedModel, piece: str) -> None: ...

    def restarted(self, asked: AskedModel) -> None: ...

    def answered(self, asked: AskedModel, response: Response, sent: dict[str, Any]) -> None: ...

    def failed(self, asked: AskedModel, error: TurnError) -> None: ...
