"""The deterministic offline provider: shows the system text, the examples, the history and the parameters it was given.

The prompt comes first: asked for a title it gives the first line of the exchange.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from practice.runtime.deadline import Deadline
from practice.schemas.turn import FinishReason
from practice.turns.configuration import ModelConfiguration
from practice.turns.prompts import Prompt, tokens
from practice.turns.providers import Completion, Parts, as_sent

WORD: Final = re.compile(r"\s*\S+|\s+")
SHOWN_CHARACTERS: Final = 200
"""Of an earlier answer: echoes of echoes would double with every turn."""


def complete(model: ModelConfiguration, prompt: Prompt, params: dict[str, Any], deadline: Deadline) -> Parts:
    """Word by word, where it is to stream."""
    text = "\n\n".join(_sections(model, prompt, params))
    asked = tokens(prompt.system) + sum(tokens(each) for _, each in prompt.messages())
    answered = tokens(text)
    if "stream" in params:
        for word in WORD.finditer(text):
            yield Completion(word.group())
        text = ""
    yield Completion(
        text,
        FinishReason.STOP,
        prompt_tokens=asked,
        completion_tokens=answered,
        total_tokens=asked + answered,
        runtime_model=model.id,
    )


def _sections(model: ModelConfiguration, prompt: Prompt, params: dict[str, Any]) -> Iterator[str]:
    yield f"{prompt.text} (echoed by {model.id})"
    yield f"system: {prompt.system or '(none)'}"
    for number, pair in enumerate(prompt.examples, 1):
        yield f"example {number}\nuser: {pair.user}\nassistant: {pair.assistant}"
    for number, pair in enumerate(prompt.history, 1):
        yield f"history {number}\nuser: {pair.user}\nassistant: {_short(pair.assistant)}"
    yield f"parameters: {json.dumps(as_sent(model, params), sort_keys=True, ensure_ascii=False)}"


def _short(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}... ({len(text)} characters)"
