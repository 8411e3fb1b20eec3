"""The events of the live API, and its actions. Written by `make openapi` from asyncapi.json."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from practice_client.models import (
    StylePreset,
    TurnError,
    TurnModel,
    TurnStatus,
)
from practice_client.transport import UNSET, Unset, given


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerDelta:
    """The next piece of an answer. Joined, the pieces since the last restart are the stored text."""

    id: str
    type: Literal["answer.delta"]
    turn_id: int
    response_id: int
    offset: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerDone:
    """The answer is stored."""

    id: str
    type: Literal["answer.done"]
    turn_id: int
    result: LiveResult
    length: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerFailed:
    """The model has no answer; its pieces are void."""

    id: str
    type: Literal["answer.failed"]
    turn_id: int
    error: TurnError


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRestarted:
    """The model is asked anew: the pieces so far are void, the next one has offset 0."""

    id: str
    type: Literal["answer.restarted"]
    turn_id: int
    response_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveResult:
    """A result without its texts, which can be larger than a message."""

    session_model_id: int
    model_name: str
    response_id: int
    token_usage: dict[str, Any] | None
    latency_ms: int | None
    created_at: datetime
    is_primary: bool
    generation_params: dict[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnDone:
    """The turn has ended: nothing more comes for this id."""

    id: str
    type: Literal["turn.done"]
    turn_id: int
    status: TurnStatus
    session_title: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnStarted:
    """The turn exists. Its answers follow."""

    id: str
    type: Literal["turn.started"]
    turn_id: int
    session_id: int
    models: list[TurnModel]


TurnEvent = AnswerDelta | AnswerDone | AnswerFailed | AnswerRestarted | TurnDone | TurnStarted
EVENTS: Final[Mapping[str, type[TurnEvent]]] = {
    "answer.delta": AnswerDelta,
    "answer.done": AnswerDone,
    "answer.failed": AnswerFailed,
    "answer.restarted": AnswerRestarted,
    "turn.done": TurnDone,
    "turn.started": TurnStarted,
}


class Actions:
    def _events(self, action: Mapping[str, Any]) -> AsyncGenerator[TurnEvent]:
        raise NotImplementedError  # of Live, which has the connection

    def chat(
        self,
        session_id: int,
        *,
        prompt_text: str,
        model_names: Sequence[str] | Unset | None = UNSET,
        after_turn_id: int | Unset | None = UNSET,
        idempotency_key: str | Unset | None = UNSET,
    ) -> AsyncGenerator[TurnEvent]:
        """Runs the next turn of a session, and follows it."""
        return self._events(
            given(
                {
                    "action": "chat",
                    "prompt_text": prompt_text,
                    "model_names": model_names,
                    "after_turn_id": after_turn_id,
                    "session_id": session_id,
                    "idempotency_key": idempotency_key,
                }
            )
        )

    def run(
        self,
        *,
        prompt_text: str,
        model_names: Sequence[str] | Unset | None = UNSET,
        agent_id: int | Unset | None = UNSET,
        project_id: int | Unset | None = UNSET,
        knowledge_ids: Sequence[int] | Unset | None = UNSET,
        style_preset: StylePreset | Unset | None = UNSET,
        style_params: Mapping[str, Any] | Unset | None = UNSET,
        generation_params: Mapping[str, Any] | Unset | None = UNSET,
        few_shot_example_ids: Sequence[int] | Unset | None = UNSET,
        class_id: int,
        idempotency_key: str | Unset | None = UNSET,
    ) -> AsyncGenerator[TurnEvent]:
        """Opens a session of a class, runs its first turn and follows it."""
        return self._events(
            given(
                {
                    "action": "run",
                    "prompt_text": prompt_text,
                    "model_names": model_names,
                    "agent_id": agent_id,
                    "project_id": project_id,
                    "knowledge_ids": knowledge_ids,
                    "style_preset": style_preset,
                    "style_params": style_params,
                    "generation_params": generation_params,
                    "few_shot_example_ids": few_shot_example_ids,
                    "class_id": class_id,
                    "idempotency_key": idempotency_key,
                }
            )
        )

    def follow(self, session_id: int, turn_id: int) -> AsyncGenerator[TurnEvent]:
        """Follows any turn of the caller's, from its beginning; the messages of a turn that has ended come at once."""
        return self._events(given({"action": "follow", "session_id": session_id, "turn_id": turn_id}))
