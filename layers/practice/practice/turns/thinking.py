"""What a model writes before it answers: never an answer, a title, or history that a model is shown again."""

import re
from collections.abc import Callable
from typing import Final

_OPEN: Final = r"<think(?:ing)?>"
_CLOSE: Final = r"</think(?:ing)?>"
_UNFINISHED: Final = r"</?(?:t(?:h(?:i(?:n(?:k(?:i(?:n(?:g)?)?)?)?)?)?)?)?\Z"
"""The beginning of a tag, at the end of what has arrived."""
_FLAGS: Final = re.IGNORECASE | re.MULTILINE
_BLANK: Final = re.compile(r"\s*")
_FIRST: Final = re.compile(rf"(?P<block>{_OPEN})|(?P<held>{_UNFINISHED})", _FLAGS)
_END: Final = re.compile(r"</think(?:ing)?>", _FLAGS)
_LONGEST_PART: Final = len("</thinking>") - 1
_LINE_END: Final = re.compile(r"[ \t]*(?P<newline>\n)?")
_INDENTATION: Final = r"^[ \t]{0,99}"
"""Of a block on its own line. It is held until the line goes on; a bound keeps a long line of blanks cheap."""
_FURTHER: Final = re.compile(
    rf"(?P<block>{_INDENTATION}{_OPEN})|(?P<start>{_OPEN})|(?P<end>{_CLOSE})"
    rf"|(?P<held>(?:{_INDENTATION})?{_UNFINISHED}|^[ \t]{{1,99}}\Z)",
    _FLAGS,
)


class ThinkingFilter:
    """Shows a text without its blocks of thinking, the same whatever pieces it arrives in.

    A block at the beginning is thinking of any model. Of one that is known to think also one further down on a line of
    its own, and what comes before an end tag whose beginning the chat template wrote.
    """

    def __init__(self, *, thinks: bool = False, is_open: bool = False) -> None:
        """`is_open`: the chat template opens a block, so that the text begins with thinking."""
        self.has_thinking = False
        self._thinks = thinks
        self._may_end_alone = thinks
        self._rest = ""
        self._blanks: list[str] = []
        """At the beginning, until it is known whether a block follows."""
        self._blank_size = 0
        self._searched = 0
        """As far as an open block has no end."""
        self._before = "\n"
        """The character before the rest."""
        self._is_last = False
        self._shown: list[str] = []
        self._is_void = False
        self._state: Callable[[], bool] = self._open if is_open else self._beginning
        self._after_block: Callable[[], bool] = self._beginning

    def write(self, text: str) -> tuple[str, bool]:
        """What a reader is to see next, and whether all that was shown before turns out to be thinking."""
        self._rest += text
        while self._state():
            pass
        shown, is_void = "".join(self._shown), self._is_void
        self._shown, self._is_void = [], False
        return shown, is_void

    def close(self) -> None:
        """The service shows thinking beside the text: none is open in it."""
        if self._state == self._open:
            self._state = self._beginning

    def end(self, *, is_cut: bool = False) -> str:
        """What was held because it may have been a tag, or thinking. A block that is open when a text is cut stays one."""
        if is_cut and self._state == self._open and self._rest.strip():
            self.has_thinking, self._rest = True, ""
        self._is_last = True
        shown, _ = self.write("")
        return shown

    @property
    def held(self) -> int:
        """How many characters wait for what follows."""
        return len(self._rest) + self._blank_size

    # The states: each consumes what it can of the rest, and reports whether the next one can go on.

    def _open(self) -> bool:
        found = _FIRST.match(self._rest.lstrip())
        end = _END.search(self._rest, self._searched)
        if (found and found["block"]) or self._is_last:
            self._state = self._beginning
        elif end:
            self.has_thinking = True
            self._rest = self._rest[end.end() :]
            self._state = self._beginning
        else:
            self._searched = max(0, len(self._rest) - _LONGEST_PART)
            return False
        return True

    def _beginning(self) -> bool:
        blank = _BLANK.match(self._rest)
        if blank and blank.end():
            if not self.has_thinking:
                self._blanks.append(blank.group())
                self._blank_size += blank.end()
            self._rest = self._rest[blank.end() :]
        found = _FIRST.match(self._rest)
        if found and found["block"]:
            self._blanks.clear()
            self._blank_size = 0
            return self._enter_block(found.end(), self._beginning)
        if (found or not self._rest) and not self._is_last:
            return False
        self._shown += self._blanks
        self._blanks.clear()
        self._blank_size = 0
        self._state = self._text
        return True

    def _enter_block(self, end: int, after: Callable[[], bool]) -> bool:
        self.has_thinking = True
        self._rest = self._rest[end:]
        self._state, self._after_block = self._block, after
        return True

    def _block(self) -> bool:
        found = _END.search(self._rest)
        if found is None:
            self._rest = self._rest[-_LONGEST_PART:]
            return False
        self._rest = self._rest[found.end() :]
        self._state = self._after_block
        return True

    def _line_end(self) -> bool:
        """After a block on its own line."""
        found = _LINE_END.match(self._rest)
        assert found
        self._rest = self._rest[found.end() :]
        if not self._rest and not found["newline"]:
            return False
        self._before = "\n" if found["newline"] else " "
        self._state = self._text
        return True

    def _text(self) -> bool:
        if not self._rest:
            return False
        if not self._thinks:
            self._shown.append(self._rest)
            self._rest = ""
            return False
        text, end = self._before + self._rest, None
        for found in _FURTHER.finditer(text, 1):
            if found["block"]:
                self._shown.append(text[1 : found.start()])
                return self._enter_block(found.end() - 1, self._line_end)
            if found["start"]:
                self._may_end_alone = False
            elif found["end"] and self._may_end_alone:
                return self._void(found.end() - 1)
            elif found["held"] and not self._is_last:
                end = found.start()
        self._shown.append(text[1:end])
        self._before, self._rest = (text[-1], "") if end is None else (text[end - 1], text[end:])
        return False

    def _void(self, end: int) -> bool:
        self._shown.clear()
        self.has_thinking, self._is_void, self._may_end_alone = True, True, False
        self._rest = self._rest[end:]
        self._state = self._beginning
        return True


def without_thinking(text: str, *, thinks: bool = False) -> tuple[str, bool]:
    """The text without its blocks of thinking, and whether it had any."""
    thinking = ThinkingFilter(thinks=thinks)
    shown, _ = thinking.write(text)
    return shown + thinking.end(), thinking.has_thinking
