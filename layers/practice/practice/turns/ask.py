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
from practice.schemas.spending import ATTO, Spending
from practice.schemas.turn import ErrorCode, FinishReason, Reason
from practice.turns import budgets, providers
from practice.turns.configuration import ModelConfiguration, model_named
from practice.turns.parameters import CAP, within_limits
from practice.turns.prompts import Prompt
from practice.turns.providers import (
    Completion,
    ProviderError,
    RefusedParameter,
    ThrottledError,
    as_sent,
    timed_out,
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
    spent: Spending


def ask(
    model_name: str,
    prompt: Prompt,
    params: dict[str, Any],
    deadline: Deadline,
    *,
    unchosen: Collection[str] = (),
) -> Answer:
    """`params` are choices, except `unchosen`: without one of those the model is asked once more when it
    refuses it. Raises ProviderError, which says what was spent in vain.
    """
    log.count("models_asked")
    configured = model_named(model_name)
    if configured is None:
        raise ProviderError("no provider is configured for this model", ErrorCode.MODEL_NOT_ENABLED)
    if not deadline.remaining():
        raise timed_out()
    allowed = within_limits(configured, params, prompt.size())
    completion = None
    try:
        try:
            completion = _patiently(configured, prompt, allowed, deadline)
        except RefusedParameter as refused:
            if refused.parameter not in {*unchosen, *(allowed.keys() - params.keys())}:
                raise
            allowed = {name: value for name, value in allowed.items() if name != refused.parameter}
            completion = _patiently(configured, prompt, allowed, deadline)
        kept = _kept(completion)
    except ProviderError as error:
        if completion or error.code in _PAID:
            error.spent = _spent(configured, prompt, allowed, completion)
        raise
    return Answer(kept, as_sent(configured, allowed), _spent(configured, prompt, allowed, completion))


_PAID: Final = (ErrorCode.TIMEOUT, ErrorCode.ANSWER_TOO_LONG)
"""The provider was at work when the request was given up."""


def _spent(
    configured: ModelConfiguration, prompt: Prompt, sent: dict[str, Any], completion: Completion | None
) -> Spending:
    reported = (completion.prompt_tokens, completion.completion_tokens) if completion else (None, None)
    received = len(completion.text.encode("utf-8", "replace")) if completion else 0
    spending = budgets.spent(configured, prompt, sent.get(CAP), reported, received)
    log.count("prompt_tokens", spending.prompt_tokens)
    log.count("completion_tokens", spending.completion_tokens)
    log.count("model_cost_usd", (spending.cost or 0) / ATTO)
    return spending


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
