"""Who serves models. A provider is a module with one function, `complete`, imported when it is first asked."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from practice.runtime.deadline import Deadline
from practice.schemas.spending import Spending
from practice.schemas.turn import ErrorCode, FinishReason, Reason
from practice.turns.configuration import ModelConfiguration
from practice.turns.parameters import CAP
from practice.turns.prompts import Prompt


@dataclass(frozen=True, slots=True)
class Completion:
    """What a provider answered; the counts are its own, None where it gives none."""

    text: str
    """What a reader is to see, without thinking."""
    finish_reason: FinishReason = FinishReason.STOP
    has_thinking: bool = False
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    reasoning_tokens: int | None = None
    runtime_model: str | None = None


class ProviderError(Exception):
    """No answer. `detail` is ours to show: what a provider says may hold parts of its key."""

    def __init__(
        self, detail: str, code: ErrorCode = ErrorCode.PROVIDER_ERROR, reason: Reason | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code
        self.reason = reason
        self.spent: Spending | None = None
        """What the model took all the same."""


class ThrottledError(ProviderError):
    """Worth another try, after `retry_after` seconds where the provider says so. Nothing was generated."""

    def __init__(self, retry_after: float | None = None, reason: Reason | None = None) -> None:
        super().__init__("the provider has no capacity left", ErrorCode.THROTTLED, reason)
        self.retry_after = retry_after


class RefusedParameter(ProviderError):
    """The provider names a parameter of ours that it does not take. Nothing was generated."""

    def __init__(self, parameter: str, reason: Reason) -> None:
        super().__init__("the provider refuses a parameter", reason=reason)
        self.parameter = parameter


Complete = Callable[[ModelConfiguration, Prompt, dict[str, Any], Deadline], Completion]

TIMED_OUT: Final = "the model did not answer in time"
MALFORMED: Final = "the provider's answer is not what its interface promises"
NO_QUOTA: Final = "the provider's quota is used up"
NOT_OFFERED: Final = "the provider does not offer this model to this deployment"

_WORD: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def timed_out() -> ProviderError:
    return ProviderError(TIMED_OUT, ErrorCode.TIMEOUT)


def complete(
    model: ModelConfiguration, prompt: Prompt, params: dict[str, Any], deadline: Deadline
) -> Completion:
    """Raises ProviderError."""
    provider: Complete = import_module(f"practice.turns.providers.{model.provider}").complete
    return provider(model, prompt, params, deadline)


TAKEN: Final[dict[str, frozenset[str]]] = {
    "bedrock": frozenset({"temperature", "top_p", "stop", CAP}),
}
"""What an interface has a place for; of the others each parameter."""


def as_sent(model: ModelConfiguration, params: dict[str, Any]) -> dict[str, Any]:
    """What of these goes out, by the names that a reader of the result knows: the cap by the one that is used."""
    taken = TAKEN.get(model.provider, params.keys())
    name = CAP if model.provider == "bedrock" else model.cap_name
    return {name if key == CAP else key: value for key, value in params.items() if key in taken}


def reason_of(status: object, error: Mapping[str, Any]) -> Reason:
    """The machine words of an error; whatever is none is left out."""
    reason: Reason = {}
    if isinstance(status, int) and 100 <= status <= 999:
        reason["status"] = status
    for name in ("code", "param", "type"):
        value = error.get(name)
        word = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if isinstance(word, str) and _WORD.fullmatch(word):
            reason[name] = word
    return reason


def count(value: Any) -> int | None:
    """A token count, if it is one."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else None


def extra_fields(model: ModelConfiguration, own: set[str]) -> Iterator[tuple[str, Any]]:
    """What the operator adds, without what we send ourselves."""
    return ((name, value) for name, value in model.extra.items() if name not in own)
