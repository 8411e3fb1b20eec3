"""The messages of the live API: what a client sends, and what it is sent while a turn is answered."""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field

from practice import limits
from practice.schemas.base import BaseModel
from practice.schemas.fields import Id, PathId, Text, Timestamp
from practice.schemas.response import Response
from practice.schemas.turn import Result, TurnError, TurnModel, TurnStatus
from practice.schemas.turn_requests import NewRun, NewTurn

ClientId = Annotated[Text, Field(max_length=limits.LIVE_ID_CHARACTERS, examples=["1"])]
"""Chosen by the client: every message about this one carries it."""
IdempotencyKey = Annotated[
    Text,
    Field(
        min_length=1,
        max_length=limits.IDEMPOTENCY_KEY_CHARACTERS,
        description="Means what the header `Idempotency-Key` means. The HTTP API knows the same keys.",
    ),
]


class Chat(NewTurn):
    """Runs the next turn of a session, and follows it."""

    action: Literal["chat"]
    id: ClientId
    session_id: PathId
    idempotency_key: IdempotencyKey | None = None


class Run(NewRun):
    """Opens a session of a class, runs its first turn and follows it."""

    action: Literal["run"]
    id: ClientId
    class_id: Id
    idempotency_key: IdempotencyKey | None = None


class _OfTurn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: ClientId
    session_id: PathId
    turn_id: PathId


class Follow(_OfTurn):
    """Follows any turn of the caller's, from its beginning; the messages of a turn that has ended come at once."""

    action: Literal["follow"]


class Cancel(_OfTurn):
    """Cancels a turn. The answer is `turn.done` as soon as the turn cannot end otherwise."""

    action: Literal["cancel"]


class Ping(BaseModel):
    """Keeps the connection open: API Gateway closes one that is idle for ten minutes."""

    model_config = ConfigDict(extra="forbid")

    action: Literal["ping"]
    id: ClientId


ClientMessage = Chat | Run | Follow | Cancel | Ping


class _Event(BaseModel):
    id: str
    """Of the client's message that this one is about."""


class TurnStarted(_Event):
    """The turn exists. Its answers follow."""

    type: Literal["turn.started"] = "turn.started"
    turn_id: int
    session_id: int
    models: list[TurnModel]
    """Their names are cut where the message would be too large."""


class AnswerDelta(_Event):
    """The next piece of an answer. Joined, the pieces since the last restart are the stored text."""

    type: Literal["answer.delta"] = "answer.delta"
    turn_id: int
    response_id: int
    offset: int
    """Of its first character in the text, in code points."""
    text: str


class AnswerRestarted(_Event):
    """The model is asked anew: the pieces so far are void, the next one has offset 0."""

    type: Literal["answer.restarted"] = "answer.restarted"
    turn_id: int
    response_id: int


class LiveResult(BaseModel):
    """A result without its texts, which can be larger than a message."""

    session_model_id: int
    model_name: str
    response_id: int
    token_usage: dict[str, Any] | None
    latency_ms: int | None
    created_at: Timestamp
    is_primary: bool
    generation_params: dict[str, Any] | None
    """What was sent to the provider. null, like `token_usage`, where the message would be too large: read the turn."""

    @classmethod
    def of(cls, result: Result) -> Self:
        return cls(**{name: getattr(result, name) for name in cls.model_fields})

    @classmethod
    def of_response(cls, response: Response, asked: TurnModel, sent: dict[str, Any]) -> Self:
        return cls.of(Result.of(response, is_primary=asked.is_primary, generation_params=sent))


class AnswerDone(_Event):
    """The answer is stored."""

    type: Literal["answer.done"] = "answer.done"
    turn_id: int
    result: LiveResult
    length: int
    """Of the whole text, in code points."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """Of the whole text in UTF-8."""


class AnswerFailed(_Event):
    """The model has no answer; its pieces are void."""

    type: Literal["answer.failed"] = "answer.failed"
    turn_id: int
    error: TurnError
    """Its detail is cut where the message would be too large."""


def shown_title(title: str | None) -> str | None:
    return title[: limits.LIVE_TITLE_CHARACTERS] if title else title


class TurnDone(_Event):
    """The turn has ended: nothing more comes for this id."""

    type: Literal["turn.done"] = "turn.done"
    turn_id: int
    status: TurnStatus
    session_title: str | None
    """At most its first 1,000 characters."""


class Pong(_Event):
    """Answers `ping`."""

    type: Literal["pong"] = "pong"


class LiveProblem(BaseModel):
    type: str
    loc: list[str | int]
    msg: str


class LiveError(BaseModel):
    """The message is refused; the connection stays open."""

    type: Literal["error"] = "error"
    id: str | None
    """null where the message has no valid id."""
    status: int
    """That the HTTP API would answer."""
    detail: str | list[LiveProblem]


ServerMessage = (
    TurnStarted | AnswerDelta | AnswerRestarted | AnswerDone | AnswerFailed | TurnDone | Pong | LiveError
)
