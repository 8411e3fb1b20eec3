"""A turn: one prompt, several models, every answer kept."""

from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel

from practice.models.fields import Id, Timestamp
from practice.models.response import Response
from practice.models.settings import StoredSettings


class TurnStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ErrorCode(StrEnum):
    TIMEOUT = "timeout"
    ANSWER_TOO_LONG = "answer_too_long"
    MODEL_NOT_ENABLED = "model_not_enabled"
    THROTTLED = "throttled"
    PROVIDER_ERROR = "provider_error"
    NOT_STORED = "not_stored"
    INTERRUPTED = "interrupted"


class TurnError(BaseModel):
    """Why one model has no answer; it costs the others nothing."""

    session_model_id: int
    model_name: str
    code: ErrorCode
    detail: str


class AskedModel(BaseModel):
    """A model as it is asked in a turn: the id its answer will have, the parameters that count."""

    session_model_id: int
    model_name: str
    response_id: int
    is_primary: bool
    generation_params: dict[str, Any]

    def error(self, code: ErrorCode, detail: str) -> TurnError:
        return TurnError(
            session_model_id=self.session_model_id, model_name=self.model_name, code=code, detail=detail
        )


class Result(BaseModel):
    session_model_id: int
    model_name: str
    response_id: int
    prompt_text: str
    response_text: str
    token_usage: dict[str, Any] | None
    latency_ms: int | None
    created_at: Timestamp
    is_primary: bool
    generation_params: dict[str, Any]
    """The parameters that counted."""

    @classmethod
    def of(cls, response: Response, *, is_primary: bool, generation_params: dict[str, Any]) -> Self:
        kept = {name: getattr(response, name) for name in cls.model_fields if name in Response.model_fields}
        return cls(**kept, is_primary=is_primary, generation_params=generation_params)


class TurnAnswer(BaseModel):
    session_id: int
    session_title: str | None
    prompt_text: str
    results: list[Result]
    """In the order of the models, the primary first."""
    errors: list[TurnError]


class TurnAccepted(BaseModel):
    """The turn is under way, or too big for one answer: `Location` says where it is."""

    session_id: int
    session_title: str | None
    turn_id: int
    status: TurnStatus


class NoModelAnswered(BaseModel):
    detail: str
    session_id: int
    errors: list[TurnError]


class TurnSettings(BaseModel):
    """What made a turn, as it was: a learner can tell why two answers differ."""

    version: int
    style_preset: str | None
    style_params: dict[str, Any]
    generation_params: dict[str, Any]
    agent_snapshot: dict[str, Any]
    few_shot_example_ids: list[int]
    knowledge_ids: list[int]

    @classmethod
    def of(cls, settings: StoredSettings, knowledge_ids: list[int]) -> Self:
        return cls(
            version=settings.version,
            style_preset=settings.style_preset,
            style_params=settings.style_params,
            generation_params=settings.generation_params,
            agent_snapshot=settings.agent_snapshot,
            few_shot_example_ids=[link.example_id for link in settings.links],
            knowledge_ids=knowledge_ids,
        )


class QueuedTurn(BaseModel):
    """The message that asks the worker for a turn."""

    user_id: Id
    turn_id: Id


class StoredTurn(BaseModel):
    """How a turn began; this never changes. What became of it stands beside it, in attributes."""

    turn_id: int
    """The id of its first response."""
    session_id: int
    prompt_text: str
    created_at: Timestamp
    asked: list[AskedModel]
    settings: TurnSettings


class Turn(BaseModel):
    turn_id: int
    session_id: int
    status: TurnStatus
    prompt_text: str
    created_at: Timestamp
    results: list[Result]
    errors: list[TurnError]
    settings: TurnSettings | None
    """null for a response that was added by POST or queue: it is a turn of its own."""
