"""Turns: one prompt to several models. What is stored and queued, and the parts that replies and live messages share."""

from collections.abc import Sequence
from enum import StrEnum
from itertools import accumulate, pairwise
from operator import sub
from typing import Annotated, Any, Final, Self

from pydantic import Field

from practice.schemas.base import BaseModel
from practice.schemas.fields import Id, Timestamp
from practice.schemas.response import Response
from practice.schemas.settings import StoredSettings
from practice.schemas.spending import Reserved


class TurnStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


IN_PROGRESS: Final = (TurnStatus.QUEUED, TurnStatus.RUNNING)


class ErrorCode(StrEnum):
    TIMEOUT = "timeout"
    ANSWER_TOO_LONG = "answer_too_long"
    MODEL_NOT_ENABLED = "model_not_enabled"
    THROTTLED = "throttled"
    QUOTA_EXHAUSTED = "quota_exhausted"
    PROVIDER_ERROR = "provider_error"
    ONLY_REASONING = "only_reasoning"
    NOT_STORED = "not_stored"
    DAILY_BUDGET_SPENT = "daily_budget_spent"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"


class FinishReason(StrEnum):
    """How an answer ended: `token_usage._gf.finish_reason`."""

    STOP = "stop"
    LENGTH = "length"
    CONTENT_FILTER = "content_filter"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    OTHER = "other"


Reason = dict[str, int | str]
"""A provider's refusal in machine words, `status`, `code`, `param` and `type`; what it did not say as one is absent."""


class TurnError(BaseModel):
    """Why one model has no answer; it costs the others nothing."""

    session_model_id: int
    model_name: str
    code: ErrorCode
    detail: str
    reason: Annotated[Reason, Field(examples=[{"status": 400, "code": "unsupported_parameter"}])] | None = (
        None
    )
    """What the provider said in machine words: `status`, `code`, `param`, `type`; null where none refused anything."""


class TurnModel(BaseModel):
    """A model of a turn, with the id of its answer."""

    session_model_id: int
    model_name: str
    response_id: int
    is_primary: bool


class AskedModel(TurnModel):
    """A model as it is asked in a turn, with the parameters that were chosen."""

    generation_params: dict[str, Any]

    def error(self, code: ErrorCode, detail: str, reason: Reason | None = None) -> TurnError:
        return TurnError(
            session_model_id=self.session_model_id,
            model_name=self.model_name,
            code=code,
            detail=detail,
            reason=reason,
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
    """What was sent to the provider, and nothing else."""

    @classmethod
    def of(cls, response: Response, *, is_primary: bool, generation_params: dict[str, Any]) -> Self:
        kept = {name: getattr(response, name) for name in cls.model_fields if name in Response.model_fields}
        return cls(**kept, is_primary=is_primary, generation_params=generation_params)


class TurnSettings(BaseModel):
    """The settings that produced a turn, so that a learner can see why two answers differ."""

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

    @classmethod
    def nothing(cls) -> Self:
        return cls(
            version=1,
            style_preset=None,
            style_params={},
            generation_params={},
            agent_snapshot={},
            few_shot_example_ids=[],
            knowledge_ids=[],
        )


class QueuedTurn(BaseModel):
    """The message that asks the worker for a turn."""

    user_id: Id
    turn_id: Id


ANCESTORS: Final = 100
"""Of its ancestors, a turn stores so many ids: as many as one request reads."""


class Ancestry(BaseModel):
    """The turns that a turn continues, from the nearest on."""

    steps: list[int]
    """The differences between the ids of the turn and its nearest ancestors, one after the other."""
    is_whole: bool
    """Whether the last of them is a beginning."""
    is_next: bool
    """Whether no other turn can lie between this one and the one it follows; or before it, when it follows none."""

    @classmethod
    def of(cls, turn_id: int, ancestors: Sequence[int], *, is_whole: bool, is_next: bool) -> Self:
        """Of all the ancestors that are known."""
        kept = [turn_id, *ancestors[:ANCESTORS]]
        steps = [one - other for one, other in pairwise(kept)]
        return cls(steps=steps, is_whole=is_whole and len(ancestors) <= ANCESTORS, is_next=is_next)


class StoredTurn(BaseModel):
    """How a turn began; this never changes. Its progress is in attributes of the item."""

    turn_id: int
    """The id of its first response."""
    session_id: int
    class_id: int | None = None
    """Of the session when the turn began."""
    prompt_text: str
    created_at: Timestamp
    asked: list[AskedModel]
    settings: TurnSettings
    reserved: Reserved | None = None
    after_turn_id: int | None = None
    ancestry: Ancestry | None = None
    """None: the turn follows the one before it in time, as all turns did before there were branches."""
    is_deleted: bool = False
    """All answers of the turn were deleted: only its place among the turns is left."""

    def ancestors(self) -> list[int]:
        """The ids of the nearest."""
        steps = self.ancestry.steps if self.ancestry else []
        return list(accumulate(steps, sub, initial=self.turn_id))[1:]

    def emptied(self) -> Self:
        nothing = TurnSettings.nothing()
        left = {"prompt_text": "", "asked": [], "settings": nothing, "reserved": None, "is_deleted": True}
        return self.model_copy(update=left)
