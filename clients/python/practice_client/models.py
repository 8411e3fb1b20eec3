"""The objects that the API returns. Written by `make openapi` from openapi.json.

`etag` and `next_cursor` with a default come from headers: they are set when the object itself was requested.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class BlindAnswer:
    label: str
    response_text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BlindTurn:
    """The answers of a turn without anything that says which model wrote them, in an order that says nothing."""

    turn_id: int
    prompt_text: str
    answers: list[BlindAnswer]
    next_cursor: str | None
    """Leads to the answers that did not fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    examples: int
    sessions: int
    turns: int
    responses: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveModel:
    session_model_id: int
    model_name: str
    generation_params: dict[str, Any]
    """What a turn would send now."""
    chosen_by: dict[str, Any]
    """For each of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveParameters:
    models: list[EffectiveModel]
    """Those that a turn would ask, the primary first."""


ErrorCode = Literal[
    "timeout",
    "answer_too_long",
    "model_not_enabled",
    "throttled",
    "quota_exhausted",
    "provider_error",
    "only_reasoning",
    "not_stored",
    "daily_budget_spent",
    "interrupted",
    "cancelled",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    example_id: int
    user_id: int
    input_text: str
    output_text: str
    is_active: bool
    created_at: datetime
    updated_at: datetime
    title: str | None
    meta: dict[str, Any]
    etag: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamplePage:
    items: list[Example]
    total: int | None
    """Exact; null where a cursor walks a filtered list."""
    page: int
    size: int
    next_cursor: str | None


Expansion = Literal["settings", "responses"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    export_id: int
    status: TransferStatus
    created_at: datetime
    expires_at: datetime
    counts: Counts | None
    problem: str | None
    """Why it failed, or what a finished one lacks."""
    url: str | None
    """Where the file is, once it is done; the link lasts an hour, the file until `expires_at`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FewShotLink:
    id: int
    setting_id: int
    example_id: int
    sort_order: int
    created_at: datetime
    example: Example


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    import_id: int
    status: TransferStatus
    created_at: datetime
    expires_at: datetime
    counts: Counts | None
    """What is written so far, and in the end all that was."""
    problem: str | None
    upload_url: str | None
    """Where to PUT the file while the import is waiting for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledAnswer:
    label: str
    response_id: int
    model_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStanding:
    model_name: str
    wins: int
    losses: int
    ties: int
    score: int | None
    """Bradley-Terry strength on the Elo scale: mean 1000, 400 points for odds of ten. null where no chain of votes leads to
the models that have scores."""
    low: int | None
    high: int | None
    """The 95 % interval of the score."""
    rank: int | None
    """One more than the number of models whose `low` is above this one's `high`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUsage:
    model_name: str
    turns: int
    answers: int
    """Those that were kept."""
    prompt_tokens: int
    completion_tokens: int
    cost_usd: str | None
    """US dollars, exact; null without a price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnSession:
    """Everything of a session that is not its settings or its responses."""

    session_id: int
    user_id: int
    created_at: datetime
    updated_at: datetime
    class_id: int | None
    project_id: int | None
    knowledge_ids: list[int]
    agent_id: int | None
    title: str | None
    notes: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PairCounts:
    """How two models compare; `a` sorts before `b`."""

    a: str
    b: str
    a_wins: int
    b_wins: int
    ties: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    response_id: int
    score: int
    tags: list[str]
    comment: str | None
    created_at: datetime
    updated_at: datetime
    etag: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    response_id: int
    session_model_id: int
    session_id: int
    model_name: str
    prompt_text: str
    response_text: str
    created_at: datetime
    token_usage: dict[str, Any] | None
    latency_ms: int | None
    etag: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponsePage:
    """Ascending by time; `next_cursor` leads to the older ones."""

    items: list[Response]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    session_model_id: int
    model_name: str
    response_id: int
    prompt_text: str
    response_text: str
    token_usage: dict[str, Any] | None
    latency_ms: int | None
    created_at: datetime
    is_primary: bool
    generation_params: dict[str, Any]
    """What was sent to the provider, and nothing else."""


Scope = Literal["mine", "class"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    session_id: int
    user_id: int
    created_at: datetime
    updated_at: datetime
    class_id: int | None
    project_id: int | None
    knowledge_ids: list[int]
    agent_id: int | None
    title: str | None
    notes: str | None
    settings: Settings
    responses: list[Response]
    """Ascending by time: the newest ones that fit."""
    responses_next_cursor: str | None
    """Leads to the older ones; null when all are here."""
    etag: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionModel:
    session_model_id: int
    session_id: int
    model_name: str
    is_primary: bool
    generation_params: dict[str, Any]
    etag: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPage:
    items: list[OwnSession | SessionWithSettings | SessionWithResponses | Session]
    """With `expand` they have `settings`, `responses` and `responses_next_cursor`."""
    total: int | None
    """Exact; null where a cursor walks a filtered list."""
    page: int
    size: int
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionWithResponses:
    session_id: int
    user_id: int
    created_at: datetime
    updated_at: datetime
    class_id: int | None
    project_id: int | None
    knowledge_ids: list[int]
    agent_id: int | None
    title: str | None
    notes: str | None
    responses: list[Response]
    responses_next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionWithSettings:
    session_id: int
    user_id: int
    created_at: datetime
    updated_at: datetime
    class_id: int | None
    project_id: int | None
    knowledge_ids: list[int]
    agent_id: int | None
    title: str | None
    notes: str | None
    settings: Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    setting_id: int
    session_id: int
    created_at: datetime
    updated_at: datetime
    style_preset: Literal["accurate", "balanced", "creative", "custom"] | None
    style_params: dict[str, Any]
    generation_params: dict[str, Any]
    agent_snapshot: dict[str, Any]
    few_shot_links: list[FewShotLink]
    etag: str | None = field(default=None, compare=False)


Sort = Literal["created", "activity"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standings:
    class_id: int
    scope: Scope
    votes: int
    models: list[ModelStanding]
    """The best first; those without a score last."""
    pairs: list[PairCounts]


StylePreset = Literal["accurate", "balanced", "creative", "custom"]


Tie = Literal["good", "bad"]


TransferStatus = Literal["waiting", "queued", "running", "done", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    turn_id: int
    session_id: int
    status: TurnStatus
    prompt_text: str
    created_at: datetime
    asked: list[TurnModel]
    """All models of the turn, from its beginning on."""
    results: list[Result]
    errors: list[TurnError]
    """Of the models that failed so far."""
    settings: TurnSettings | None
    """null for a response that was added by POST or queue: it is a turn of its own."""
    next_cursor: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnAccepted:
    """The turn is running, or too big for one response: `Location` leads to it."""

    session_id: int
    session_title: str | None
    turn_id: int
    status: TurnStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnAnswer:
    session_id: int
    session_title: str | None
    prompt_text: str
    results: list[Result]
    """In the order of the models, the primary first."""
    errors: list[TurnError]


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnError:
    """Why one model has no answer; it costs the others nothing."""

    session_model_id: int
    model_name: str
    code: ErrorCode
    detail: str
    reason: dict[str, Any] | None
    """What the provider said in machine words: `status`, `code`, `param`, `type`; null where none refused anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnModel:
    """A model of a turn, with the id of its answer."""

    session_model_id: int
    model_name: str
    response_id: int
    is_primary: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnPage:
    """Ascending by time; `next_cursor` leads to the older ones.

    A turn too big for one answer continues on the next page, under the same `turn_id`.
    """

    items: list[Turn]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnSettings:
    """The settings that produced a turn, so that a learner can see why two answers differ."""

    version: int
    style_preset: str | None
    style_params: dict[str, Any]
    generation_params: dict[str, Any]
    agent_snapshot: dict[str, Any]
    few_shot_example_ids: list[int]
    knowledge_ids: list[int]


TurnStatus = Literal["queued", "running", "done", "failed", "cancelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What the models of a user's turns and titles took; a turn counts on the day on which it began."""

    from_: str
    to: str
    total: UsageFigures
    """`turns` counts each turn once, however many models it asked."""
    days: list[UsageDay]
    """Those with usage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageDay:
    date: str
    models: list[ModelUsage]


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageFigures:
    turns: int
    answers: int
    """Those that were kept."""
    prompt_tokens: int
    completion_tokens: int
    cost_usd: str | None
    """US dollars, exact; null without a price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationError:
    type: str
    loc: list[str | int]
    msg: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    turn_id: int
    blind: bool
    """Whether it was cast on the blind view, before any vote of this turn had revealed the models."""
    winner: int | None
    """The response id of the best answer; null for a tie."""
    tie: Tie | None
    revealed: list[LabelledAnswer]
    """The answers that were compared, by label."""
    created_at: datetime
    updated_at: datetime
    etag: str | None = field(default=None, compare=False)
