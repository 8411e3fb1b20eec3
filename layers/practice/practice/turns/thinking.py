"""What a model writes before it answers: never an answer, a title, or history that a model is shown again."""

import re
from typing import Final

_BLOCK: Final = r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)"
_FLAGS: Final = re.DOTALL | re.IGNORECASE
_LEADING: Final = re.compile(rf"\s*(?:{_BLOCK}\s*)+", _FLAGS)
_ON_ITS_LINE: Final = re.compile(rf"^[ \t]*{_BLOCK}[ \t]*\n?", _FLAGS | re.MULTILINE)
_END_ALONE: Final = re.compile(r"\A(?:(?!<think).)*?</think(?:ing)?>\s*", _FLAGS)


def without_thinking(text: str, *, thinks: bool = False) -> tuple[str, bool]:
    """The text without its blocks of thinking, and whether it had any.

    A block at the beginning is thinking of any model. Of one that is known to think also one further down on a line of
    its own, and what comes before an end tag whose beginning the chat template wrote.
    """
    leading = _LEADING.match(text)
    kept = text[leading.end() :] if leading else text
    if thinks:
        kept = _END_ALONE.sub("", _ON_ITS_LINE.sub("", kept), count=1)
    return kept, kept != text
