"""Asks one model one thing."""

import random
import time
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from practice.runtime import log
from practice.runtime.deadline import Deadline
from practice.schemas.spending import ATTO, Spending
from practice.schemas.turn import ErrorCode, FinishReason, Reason
from practice.turns import budgets, providers
from practice.turns.configuration import ModelConfiguration, model_named
from practice.turns.draft import Draft
from practice.turns.parameters import CAP, within_limits
from practice.turns.prompts import Prompt
from practice.turns.providers import (
    STREAMING,
    Completion,
    ProviderError,
    RefusedParameter,
    ThrottledError,
    as_sent,
    timed_out,
)
from practice.turns.thinking import ThinkingFilter

FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 8.0
SHORTEST_TRY_SECONDS: Final = 1.0
"""A model that has less time than this is not asked once more."""

_random = random.SystemRandom()


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
    """Raises ProviderError, which says what was spent in vain."""
    draft = Draft()
    try:
        write(draft, model_name, prompt, params, deadline, unchosen=unchosen)
    except ProviderError as error:
        error.spent = spent_in_vain(draft, error.code)
        raise
    draft.end()
    return answer_of(draft)


def write(
    draft: Draft,
    model_name: str,
    prompt: Prompt,
    params: dict[str, Any],
    deadline: Deadline,
    *,
    unchosen: Collection[str] = (),
) -> None:
    """`params` are choices, except `unchosen`: without one of those the model is asked once more when it refuses it, and
    never a third time.

    Raises ProviderError, and DraftEnded.
    """
    log.count("models_asked")
    configured = model_named(model_name)
    if configured is None:
        raise ProviderError("no provider is configured for this model", ErrorCode.MODEL_NOT_ENABLED)
    if not deadline.remaining():
        raise timed_out()
    allowed = within_limits(configured, params, prompt.size())
    unchosen = {*unchosen, *(allowed.keys() - params.keys()), *STREAMING}
    if configured.streams:
        allowed |= {name: value for name, value in STREAMING.items() if name not in configured.refused}
    try:
        _patiently(configured, prompt, allowed, deadline, draft)
    except RefusedParameter as refused:
        if refused.parameter not in unchosen:
            raise
        gone = _gone_with(refused.parameter)
    else:
        return
    fewer = {name: value for name, value in allowed.items() if name not in gone}
    try:
        _patiently(configured, prompt, fewer, deadline, draft)
    except RefusedParameter as refused:
        # A service that now names another parameter did mean the first one.
        configured.refused.update((gone | _gone_with(refused.parameter)) & STREAMING.keys())
        raise
    configured.refused.update(gone & STREAMING.keys())


def _gone_with(parameter: str) -> set[str]:
    return set(STREAMING) if parameter == "stream" else {parameter}


def answer_of(draft: Draft, cut: FinishReason = FinishReason.STOP) -> Answer:
    """Of a draft that was ended. Raises ProviderError, with what was spent in vain, when there is nothing to read in it."""
    spent = _counted(draft.spent(is_given_up=True) or Spending())
    try:
        return Answer(_readable(draft.completion(cut)), draft.sent, spent)
    except ProviderError as error:
        error.spent = spent
        raise


_PAID: Final = (ErrorCode.TIMEOUT, ErrorCode.ANSWER_TOO_LONG)
"""The provider was at work when the request was given up."""


def spent_in_vain(draft: Draft, code: ErrorCode) -> Spending | None:
    """By a model that failed like this."""
    spent = draft.spent(is_given_up=code in _PAID)
    return _counted(spent) if spent else None


def _counted(spent: Spending) -> Spending:
    log.count("prompt_tokens", spent.prompt_tokens)
    log.count("completion_tokens", spent.completion_tokens)
    log.count("model_cost_usd", (spent.cost or 0) / ATTO)
    return spent


def _readable(completion: Completion) -> Completion:
    if completion.text.strip():
        return completion
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
    model: ModelConfiguration, prompt: Prompt, params: dict[str, Any], deadline: Deadline, draft: Draft
) -> None:
    """Throttling is waited out with full jitter, as long as there is time for another try."""
    longest = FIRST_PAUSE_SECONDS
    while True:
        try:
            return _written(model, prompt, params, deadline, draft)
        except ThrottledError as throttled:
            pause = (throttled.retry_after or 0.0) + _random.uniform(0, longest)
            longest = min(LONGEST_PAUSE_SECONDS, longest * 2)
            if pause + SHORTEST_TRY_SECONDS > deadline.remaining():
                raise
            draft.restart()
            time.sleep(pause)


def _written(
    model: ModelConfiguration, prompt: Prompt, params: dict[str, Any], deadline: Deadline, draft: Draft
) -> None:
    """What goes wrong after the answer was whole, costs nothing: its usage was to come, or the end of the connection."""
    price = partial(budgets.spent, model, prompt, params.get(CAP))
    thinking = ThinkingFilter(thinks=bool(model.thinking_tokens), is_open=model.opens_thinking)
    draft.begin(as_sent(model, params), price, thinking)
    with closing(providers.complete(model, prompt, params, deadline)) as parts:
        try:
            for part in parts:
                draft.add(part)
                if not deadline.remaining():
                    raise timed_out()
        except ProviderError as error:
            if not draft.is_whole or error.code == ErrorCode.ANSWER_TOO_LONG:
                raise
