"""Who serves models. A provider is a module with one function, `complete`, imported when it is first asked."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from practice.runtime.deadline import Deadline
from practice.schemas.turn import ErrorCode
from practice.turns.configuration import ModelConfiguration
from practice.turns.prompts import Prompt


@dataclass(frozen=True, slots=True)
class Completion:
    """What a provider answered; the counts are its own, None where it gives none."""

    text: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    runtime_model: str | None = None


class ProviderError(Exception):
    """No answer. `detail` is ours to show: what a provider says may hold parts of its key."""

    def __init__(self, detail: str, code: ErrorCode = ErrorCode.PROVIDER_ERROR) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code


class ThrottledError(ProviderError):
    """Worth another try, after `retry_after` seconds where the provider says so. Nothing was generated."""

    def __init__(self, retry_after: float | None = None) -> None:
        super().__init__("the provider has no capacity left", ErrorCode.THROTTLED)
        self.retry_after = retry_after


Complete = Callable[[ModelConfiguration, Prompt, dict[str, Any], Deadline], Completion]

TIMED_OUT: Final = "the model did not answer in time"
MALFORMED: Final = "the provider's answer is not what its interface promises"


def timed_out() -> ProviderError:
    return ProviderError(TIMED_OUT, ErrorCode.TIMEOUT)


def complete(
    model: ModelConfiguration, prompt: Prompt, params: dict[str, Any], deadline: Deadline
) -> Completion:
    """Raises ProviderError."""
    provider: Complete = import_module(f"practice.turns.providers.{model.provider}").complete
    return provider(model, prompt, params, deadline)


def sampling(model: ModelConfiguration, params: dict[str, Any]) -> dict[str, float]:
    """Temperature and top_p as far as the model takes them."""
    wanted = {name: params.get(name) for name in ("temperature", "top_p") if name not in model.omits}
    if len(model.one_of) > 1:
        first = next((name for name in model.one_of if wanted.get(name) is not None), None)
        wanted = {name: value for name, value in wanted.items() if name not in model.one_of or name == first}
    return {name: value for name, value in wanted.items() if value is not None}


def count(value: Any) -> int | None:
    """A token count, if it is one."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else None
