"""An answer while it is written: the text that a reader sees, and what is known of it."""

import codecs
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from practice.limits import RESPONSE_BYTES
from practice.schemas.spending import Spending
from practice.schemas.turn import ErrorCode, FinishReason
from practice.turns.providers import UNDECODED, Completion, ProviderError, size_of
from practice.turns.thinking import ThinkingFilter

CUTS: Final = (FinishReason.LENGTH, FinishReason.TIMEOUT, FinishReason.CANCELLED)
_UNPRINTABLE: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")
_PAIR: Final = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_BYTES: Final = re.compile(f"((?:{UNDECODED}[\udc80-\udcff])+)")


class DraftEnded(Exception):
    """What comes now comes too late: the turn has ended the draft."""


Price = Callable[[tuple[int | None, int | None], int], Spending]
"""What a request takes, by the tokens that were reported and the bytes that were received."""


@dataclass(slots=True)
class _Attempt:
    """What one request has brought so far."""

    thinking: ThinkingFilter
    joiner: "_Joiner"
    price: Price | None = None
    """None: no request is under way."""
    facts: Completion = field(default_factory=lambda: Completion(""))
    pieces: list[str] = field(default_factory=list)
    size: int = 0
    """Of the pieces, in bytes."""
    received: int = 0
    """Bytes of text and thinking."""
    first_token: float | None = None


class Draft:
    """Of one answer. Its model's thread writes it; that thread or the turn ends it, whichever is first.

    Joined, the pieces that `wrote` is called with, since the last `restarted`, are the text of the completion.
    """

    def __init__(
        self, wrote: Callable[[str], None] | None = None, restarted: Callable[[], None] | None = None
    ) -> None:
        self.started = time.monotonic()
        self.sent: dict[str, Any] = {}
        """The parameters that the model was asked with."""
        self._wrote, self._restarted = wrote, restarted
        self._lock = threading.Lock()
        self._is_ended = False
        self._earlier: Spending | None = None
        self._now = _Attempt(ThinkingFilter(), _Joiner())

    def begin(
        self, sent: dict[str, Any], price: Price | None = None, thinking: ThinkingFilter | None = None
    ) -> None:
        """A request goes out; what an earlier one brought is void. Raises DraftEnded."""
        with self._lock:
            self._raise_if_ended()
            self._void()
            self._earlier = self._spent(is_given_up=False)
            self.sent = sent
            self._now = _Attempt(thinking or ThinkingFilter(), _Joiner(), price)

    def restart(self) -> None:
        """The request has failed, and another one will follow. Raises DraftEnded."""
        self.begin(self.sent)

    def add(self, part: Completion) -> None:
        """Raises DraftEnded, and ProviderError when the text gets too long."""
        with self._lock:
            self._raise_if_ended()
            now = self._now
            now.received += size_of(part.text) + part.thinking_bytes
            if part.thinking_bytes:
                now.thinking.close()
            self._show(*now.thinking.write(now.joiner.write(part.text)))
            now.facts = now.facts.with_facts_of(part)
            if now.pieces and now.first_token is None and part.finish_reason is None:
                now.first_token = time.monotonic()

    @property
    def is_whole(self) -> bool:
        """The provider has said how the answer ended."""
        return self._now.facts.finish_reason is not None

    def end(self) -> bool:
        """Whether it was the caller who ended it."""
        with self._lock:
            was_ended, self._is_ended = self._is_ended, True
            return not was_ended

    def completion(self, cut: FinishReason = FinishReason.STOP) -> Completion:
        """Of a draft that was ended; `cut` is why, where the provider has not said how. Raises ProviderError."""
        with self._lock:
            now = self._now
            self._show(*now.thinking.write(now.joiner.end()))
            finish_reason = now.facts.finish_reason or cut
            self._show(now.thinking.end(is_cut=finish_reason in CUTS))
            return replace(
                now.facts,
                text="".join(now.pieces),
                finish_reason=finish_reason,
                has_thinking=now.thinking.has_thinking or now.facts.thinking_bytes > 0,
                first_token_ms=self.since(now.first_token) if now.first_token else None,
            )

    def since(self, moment: float | None = None) -> int:
        """Milliseconds from the beginning until then, or now."""
        return int(((moment or time.monotonic()) - self.started) * 1000)

    def spent(self, *, is_given_up: bool) -> Spending | None:
        """By all requests that brought something, and by the last one if the provider was at work when it was given up."""
        with self._lock:
            return self._spent(is_given_up=is_given_up)

    def _spent(self, *, is_given_up: bool) -> Spending | None:
        now = self._now
        reported = (now.facts.prompt_tokens, now.facts.completion_tokens)
        if now.price is None or not (is_given_up or now.received or reported != (None, None)):
            return self._earlier
        spent = now.price(reported, now.received)
        return spent if self._earlier is None else self._earlier.plus(spent)

    def _raise_if_ended(self) -> None:
        if self._is_ended:
            raise DraftEnded

    def _void(self) -> None:
        if self._now.pieces and self._restarted:
            self._restarted()
        self._now.pieces.clear()
        self._now.size, self._now.first_token = 0, None

    def _show(self, text: str, is_void: bool = False) -> None:
        if is_void:
            self._void()
        text = _UNPRINTABLE.sub("\ufffd", text)
        now = self._now
        now.size += len(text.encode())
        if now.size + now.thinking.held > RESPONSE_BYTES:
            raise ProviderError("the answer is longer than 1 MB", ErrorCode.ANSWER_TOO_LONG)
        if text:
            now.pieces.append(text)
            if self._wrote:
                self._wrote(text)


class _Joiner:
    """Puts together code points of which a piece has only a part: half of a surrogate pair, or some of their bytes."""

    def __init__(self) -> None:
        self._high = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def write(self, text: str) -> str:
        text, self._high = self._high + text, ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            text, self._high = text[:-1], text[-1]
        return self._joined(text)

    def end(self) -> str:
        return self._joined(self._high) + self._decoder.decode(b"", True)

    def _joined(self, text: str) -> str:
        text = _PAIR.sub(lambda pair: pair.group().encode("utf-16", "surrogatepass").decode("utf-16"), text)
        parts = _BYTES.split(text)
        for index, part in enumerate(parts):
            if index % 2:
                kept = part.replace(UNDECODED, "").encode(errors="surrogateescape")
                parts[index] = self._decoder.decode(kept)
            elif part:
                parts[index] = self._decoder.decode(b"", True) + part
        return "".join(parts)
