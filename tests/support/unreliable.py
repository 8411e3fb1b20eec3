"""A service that fails before it works, for the clients."""

from typing import Literal

from local.http import Request, Response
from local.server import Server
from local.stack import Stack


class Unreliable:
    """A proxy of the stack that plays what it is given, each once: a refusal, or an answer that gets lost."""

    def __init__(self, stack: Stack) -> None:
        self.plays: list[Response | Literal["lost", "done"]] = []
        self.asked: list[Request] = []
        self._stack = stack
        self.server = Server(self.answer, "127.0.0.1", 0, lambda target: 1 << 20)

    def answer(self, request: Request) -> Response:
        self.asked.append(request)
        play = self.plays.pop(0) if self.plays else None
        if isinstance(play, Response):
            return play
        answered = self._stack.answer(request)
        return busy() if play == "lost" else answered


def busy(status: int = 503, **headers: str) -> Response:
    return Response(
        status,
        [
            ("content-type", "application/json"),
            *((name.replace("_", "-"), value) for name, value in headers.items()),
        ],
        b'{"detail":"service unavailable"}',
    )
