"""What a model is asked: composed from settings, examples, history and prompt, and from nothing else."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from practice.schemas.example import Example
from practice.schemas.response import Response
from practice.schemas.settings import StylePreset
from practice.schemas.turn import FinishReason, TurnSettings
from practice.turns.thinking import without_thinking

BYTES_PER_TOKEN: Final = 4
"""A rough measure, good enough to bound a window: tokenizers differ between models."""

TEMPLATE_BYTES: Final = 24
"""What a chat template puts around a message, at most."""

PRESET_TEXTS: Final[dict[str, str]] = {
    StylePreset.ACCURATE: (
        "Be exact. State only what you know to be true, say plainly when you are unsure or when information is missing, "
        "and never invent names, figures or sources. Prefer short, literal sentences."
    ),
    StylePreset.BALANCED: (
        "Be clear and helpful. Give the answer first, then as much explanation as it takes to follow it, and mention the "
        "one or two points that could change it."
    ),
    StylePreset.CREATIVE: (
        "Be imaginative. Offer fresh angles, vivid examples and unexpected connections, and vary how you put things, while "
        "still answering what was asked."
    ),
}

STYLES: Final[dict[str, str]] = {
    "persona": "Take the role of {}.",
    "audience": "Write for {}.",
    "tone": "Tone: {}.",
    "format": "Format of the answer: {}.",
    "language": "Answer in {}.",
}
"""Keys of `style_params` that are honoured beside `system_prompt` and `hints`; others are kept and not used."""


class Pair(NamedTuple):
    """One exchange."""

    user: str
    assistant: str


@dataclass(frozen=True, slots=True)
class Prompt:
    system: str
    examples: list[Pair]
    history: list[Pair]
    text: str

    def conversation(self, *, takes_system: bool) -> tuple[str, list[tuple[str, str]]]:
        """The system text, and messages whose roles alternate. Of a model without that role it opens the first message."""
        if takes_system or not self.system:
            return self.system, self.messages()
        (role, first), *others = self.messages()
        return "", [(role, f"{self.system}\n\n{first}"), *others]

    def size(self) -> int:
        """Its bytes, and those of the template around each message."""
        texts = [self.system, *(text for _, text in self.messages())]
        return sum(len(text.encode()) + TEMPLATE_BYTES for text in texts)

    def messages(self) -> list[tuple[str, str]]:
        """Role and text, alternating, the user's first and last."""
        pairs = [*self.examples, *self.history]
        before = [
            message for pair in pairs for message in (("user", pair.user), ("assistant", pair.assistant))
        ]
        return [*before, ("user", self.text)]


def compose(
    settings: TurnSettings,
    examples: Iterable[Example],
    history: Iterable[Response],
    text: str,
    *,
    history_tokens: int,
    excerpts: Sequence[str] = (),
    thinks: bool = False,
) -> Prompt:
    """`history` is the session's turns with the model, newest first; of it the newest that fit are used.

    Of a model that `thinks` also thinking is left out that only such a model writes: responses can come from elsewhere.
    """
    return Prompt(
        system="\n\n".join(_system(settings, excerpts)),
        examples=[
            Pair(each.input_text, each.output_text)
            for each in examples
            if each.is_active and _has_text(each.input_text, each.output_text)
        ],
        history=_window(history, history_tokens, thinks=thinks),
        text=text,
    )


def _system(settings: TurnSettings, excerpts: Sequence[str]) -> Iterator[str]:
    preset = PRESET_TEXTS.get(settings.style_preset or "")
    if preset:
        yield preset
    yield from _style(settings.style_params)
    agent = _text(settings.agent_snapshot.get("system_prompt"))
    if agent:
        yield agent
    if excerpts:
        numbered = [f"[{number}] {excerpt}" for number, excerpt in enumerate(excerpts, 1)]
        yield "Use these excerpts where they help, and name their numbers:\n\n" + "\n\n".join(numbered)


def _style(params: dict[str, Any]) -> Iterator[str]:
    own = _text(params.get("system_prompt"))
    if own:
        yield own
    for name, sentence in STYLES.items():
        value = _text(params.get(name))
        if value:
            yield sentence.format(value.rstrip("."))
    hints = params.get("hints")
    said = [_text(hint) for hint in (hints if isinstance(hints, list) else [hints])]
    listed = [f"- {hint}" for hint in said if hint]
    if listed:
        yield "Hints:\n" + "\n".join(listed)


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _window(newest_first: Iterable[Response], budget: int, *, thinks: bool) -> list[Pair]:
    """The newest exchanges within the budget, in the order of time; no gaps: the first that is too long ends it."""
    kept: list[Pair] = []
    for response in newest_first:
        answer, _ = without_thinking(response.response_text, thinks=thinks)
        if not _has_text(response.prompt_text, answer) or _was_filtered(response):
            continue
        budget -= tokens(response.prompt_text) + tokens(answer)
        if budget < 0:
            break
        kept.append(Pair(response.prompt_text, answer))
    return kept[::-1]


def _was_filtered(response: Response) -> bool:
    """A refusal by a guardrail would make the model refuse what comes after."""
    ours = (response.token_usage or {}).get("_gf")
    return isinstance(ours, dict) and ours.get("finish_reason") == FinishReason.CONTENT_FILTER


def _has_text(*texts: str) -> bool:
    """Providers refuse messages without any text."""
    return all(text.strip() for text in texts)


def tokens(text: str) -> int:
    return len(text.encode()) // BYTES_PER_TOKEN + 1
