"""Asks one model one thing."""

import random
import re
import time
from typing import Any, Final

from practice.limits import RESPONSE_BYTES
from practice.runtime import log
from practice.runtime.deadline import Deadline
from practice.schemas.turn import ErrorCode
from practice.turns import providers
from practice.turns.configuration import ModelConfiguration, model_named
from practice.turns.prompts import Prompt
from practice.turns.providers import Completion, ProviderError, ThrottledError

FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 8.0

_random = random.SystemRandom()
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")


def ask(model_name: str, prompt: Prompt, params: dict[str, Any], deadline: Deadline) -> Completion:
    """The answer as it can be kept. Raises ProviderError."""
    log.count("models_asked")
    configured = model_named(model_name)
    if configured is None:
        raise ProviderError("no provider is configured for this model", ErrorCode.MODEL_NOT_ENABLED)
    completion = _patiently(configured, prompt, params, deadline)
    # Counted here, since they are paid whatever becomes of the answer.
    log.count("prompt_tokens", completion.prompt_tokens or 0)
    log.count("completion_tokens", completion.completion_tokens or 0)
    text = _UNPRINTABLE.sub("\ufffd", completion.text)
    if len(text.encode()) > RESPONSE_BYTES:
        raise ProviderError("the answer is longer than 1 MB", ErrorCode.ANSWER_TOO_LONG)
    if not text.strip():
        raise ProviderError("the provider's answer is empty")
    return Completion(
        text,
        completion.prompt_tokens,
        completion.completion_tokens,
        completion.total_tokens,
        completion.runtime_model,
    )


def ask_alone(model_name: str, system: str, text: str, *, max_tokens: int, deadline: Deadline) -> str:
    """For what is no learner's turn, such as a title. Raises ProviderError."""
    configured = model_named(model_name)
    defaults = configured.defaults if configured else {}
    caps = {"max_completion_tokens": max_tokens, "max_tokens": max_tokens}
    return ask(model_name, Prompt(system, [], [], text), {**defaults, **caps}, deadline).text


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
