"""Asks one model one thing."""

import random
import re
import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, Final

from practice.limits import RESPONSE_BYTES
from practice.runtime import log
from practice.runtime.deadline import Deadline
from practice.schemas.turn import ErrorCode, FinishReason, Reason
from practice.turns import providers
from practice.turns.configuration import ModelConfiguration, model_named
from practice.turns.parameters import CAP, sendable, within_limits
from practice.turns.prompts import Prompt
from practice.turns.providers import (
    Completion,
    ProviderError,
    RefusedParameter,
    ThrottledError,
    as_sent,
)

FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 8.0

_random = random.SystemRandom()
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it can be kept, and the parameters that it was asked with."""

    completion: Completion
    sent: dict[str, Any]


def ask(
    model_name: str,
    prompt: Prompt,
    params: dict[str, Any],
    deadline: Deadline,
    *,
    unchosen: Collection[str] = (),
) -> Answer:
    """`params` are choices, except `unchosen`: without one of those the model is asked once more when it
    refuses it. Raises ProviderError.
    """
    log.count("models_asked")
    configured = model_named(model_name)
    if configured is None:
        raise ProviderError("no provider is configured for this model", ErrorCode.MODEL_NOT_ENABLED)
    allowed = within_limits(configured, params, prompt.size())
    try:
        completion = _patiently(configured, prompt, allowed, deadline)
    except RefusedParameter as refused:
        if refused.parameter not in {*unchosen, *(allowed.keys() - params.keys())}:
            raise
        allowed = {name: value for name, value in allowed.items() if name != refused.parameter}
        completion = _patiently(configured, prompt, allowed, deadline)
    # Counted here, since they are paid whatever becomes of the answer.
    log.count("prompt_tokens", completion.prompt_tokens or 0)
    log.count("completion_tokens", completion.completion_tokens or 0)
    return Answer(_kept(completion), as_sent(configured, allowed))


def _kept(completion: Completion) -> Completion:
    text = _UNPRINTABLE.sub("\ufffd", completion.text)
    if len(text.encode()) > RESPONSE_BYTES:
        raise ProviderError("the answer is longer than 1 MB", ErrorCode.ANSWER_TOO_LONG)
    if text.strip():
        return replace(completion, text=text)
    if (
        completion.has_thinking
        or completion.reasoning_tokens
        or completion.finish_reason == FinishReason.LENGTH
    ):
        raise ProviderError(
            "the model wrote nothing but thinking within its token cap", ErrorCode.ONLY_REASONING
        )
    reason: Reason | None = (
        {"code": str(completion.finish_reason)} if completion.finish_reason != FinishReason.STOP else None
    )
    raise ProviderError("the provider's answer is empty", reason=reason)


def ask_alone(model_name: str, system: str, text: str, *, max_tokens: int, deadline: Deadline) -> str:
    """For what is no learner's turn, such as a title; a model that thinks gets room for it. Raises ProviderError."""
    configured = model_named(model_name)
    params: dict[str, Any] = {CAP: max_tokens}
    if configured:
        params = {**sendable(configured.defaults), CAP: max_tokens + configured.thinking_tokens}
    return ask(model_name, Prompt(system, [], [], text), params, deadline, unchosen=[CAP]).completion.text


def log_failure(model_name: str, code: ErrorCode, reason: Reason | None) -> None:
    """In machine words: a provider's sentence may quote its key, or the learner."""
    configured = model_named(model_name)
    log.count_failed_model(
        code,
        provider=configured.provider if configured else None,
        model_id=configured.id if configured else None,
        reason=dict(reason or {}),
    )


def _patiently(
    model: ModelConfiguration, prompt: Prompt, params: dict[str, Any], deadline: Deadline
) -> Completion:
    """Throttling is waited out with full jitter, as long as there is time for another try."""
    longest = FIRST_PAUSE_SECONDS
    while True:
        try:
            return providers.complete(model, prompt, params, deadline)
        except ThrottledError as throttled:
            pause = (throttled.retry_after or 0.0) + _random.uniform(0, longest)
            longest = min(LONGEST_PAUSE_SECONDS, longest * 2)
            if pause >= deadline.remaining():
                raise
            time.sleep(pause)
