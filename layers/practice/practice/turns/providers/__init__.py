"""Who serves models. A provider is a module with one function, `complete`, imported when it is first asked."""

import re
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from practice.runtime.deadline import Deadline
from practice.schemas.spending import Spending
from practice.schemas.turn import ErrorCode, FinishReason, Reason
from practice.turns.configuration import ModelConfiguration
from practice.turns.parameters import CAP
from practice.turns.prompts import Prompt

UNDECODED: Final = "\ufdd0"
"""Marks each byte that is not valid UTF-8. `surrogateescape` maps such a byte to a code point that may also be a low
surrogate; this noncharacter tells them apart."""


def size_of(text: str) -> int:
    """In bytes; the marker counts for nothing."""
    return len(text.replace(UNDECODED, "").encode(errors="surrogatepass"))


@dataclass(frozen=True, slots=True)
class Completion:
    """What a provider answered, or a part of it; the counts are its own, None where it gives none."""

    text: str
    finish_reason: FinishReason | None = None
    """None: the provider has not said yet, and never says when its answers always end well."""
    thinking_bytes: int = 0
    """Of thinking that came beside the text."""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    reasoning_tokens: int | None = None
    runtime_model: str | None = None
    has_thinking: bool = False
    """Beside the text, or in it, from where a draft removes it."""
    first_token_ms: int | None = None
    """Of an answer that came in parts."""

    def with_facts_of(self, part: "Completion") -> "Completion":
        """All but the texts; the last word on each counts, and counts are reported together."""
        reported = (part.prompt_tokens, part.completion_tokens, part.total_tokens, part.reasoning_tokens)
        counts = self if reported == (None, None, None, None) else part
        return Completion(
            "",
            part.finish_reason or self.finish_reason,
            self.thinking_bytes + part.thinking_bytes,
            counts.prompt_tokens,
            counts.completion_tokens,
            counts.total_tokens,
            counts.reasoning_tokens,
            part.runtime_model or self.runtime_model,
        )


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
    """Worth another try, after `retry_after` seconds where the provider says so. What was generated is void."""

    def __init__(self, retry_after: float | None = None, reason: Reason | None = None) -> None:
        super().__init__("the provider has no capacity left", ErrorCode.THROTTLED, reason)
        self.retry_after = retry_after


class RefusedParameter(ProviderError):
    """The provider names a parameter of ours that it does not take. Nothing was generated."""

    def __init__(self, parameter: str, reason: Reason) -> None:
        super().__init__("the provider refuses a parameter", reason=reason)
        self.parameter = parameter


Parts = Generator[Completion, None, None]
"""Of an answer, as they arrive; their texts may hold thinking, and halves of code points."""
Complete = Callable[[ModelConfiguration, Prompt, dict[str, Any], Deadline], Parts]

TIMED_OUT: Final = "the model did not answer in time"
BROKEN_OFF: Final = "the provider's answer broke off"
MALFORMED: Final = "the provider's answer is not what its interface promises"
NO_QUOTA: Final = "the provider's quota is used up"
NOT_OFFERED: Final = "the provider does not offer this model to this deployment"

_WORD: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def timed_out() -> ProviderError:
    return ProviderError(TIMED_OUT, ErrorCode.TIMEOUT)


def complete(model: ModelConfiguration, prompt: Prompt, params: dict[str, Any], deadline: Deadline) -> Parts:
    """Raises ProviderError. With `stream` among the parameters the model is asked to show its answer as it writes it."""
    provider: Complete = import_module(f"practice.turns.providers.{model.provider}").complete
    return provider(model, prompt, params, deadline)


STREAMING: Final[dict[str, Any]] = {"stream": True, "stream_options": {"include_usage": True}}
"""How it is asked for, by the names of chat completions. No user chose it: what refuses one is asked without it."""

TAKEN: Final[dict[str, frozenset[str]]] = {
    "bedrock": frozenset({"temperature", "top_p", "stop", CAP}),
}
"""What an interface has a place for; of the others each parameter."""


def as_sent(model: ModelConfiguration, params: dict[str, Any]) -> dict[str, Any]:
    """What of these goes out, by the names that a reader of the result knows: the cap by the one that is used."""
    taken = TAKEN.get(model.provider, params.keys()) - STREAMING.keys()
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
