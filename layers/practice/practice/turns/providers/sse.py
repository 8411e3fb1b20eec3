"""Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html), as model services send them."""

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
BOM: Final = b"\xef\xbb\xbf"


class Event(NamedTuple):
    name: bytes
    data: list[bytes]
    """Its lines."""


class EventTooLong(Exception):
    """An event has more bytes than an answer may have."""


def events(chunks: Iterable[bytes], largest: int) -> Iterator[Event]:
    """Also the last one, when the empty line after it is missing. Raises EventTooLong."""
    event, size = Event(b"", []), 0
    for line in _lines(chunks, largest):
        if not line:
            if event.data:
                yield event
            event, size = Event(b"", []), 0
            continue
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            event.data.append(value)
            size += len(value)
            if size > largest:
                raise EventTooLong
        elif field == b"event":
            event = event._replace(name=value)
    if event.data:
        yield event


def _lines(chunks: Iterable[bytes], largest: int) -> Iterator[bytes]:
    parts: list[bytes] = []
    size, after_cr = 0, False
    for chunk in chunks:
        has_rest_of_end = after_cr and chunk.startswith(b"\n")
        *ended, rest = _LINE_END.split(chunk[has_rest_of_end:])
        for line in ended:
            yield b"".join([*parts, line])
            parts, size = [], 0
        after_cr = chunk.endswith(b"\r") or (after_cr and not chunk)
        if rest:
            parts.append(rest)
            size += len(rest)
            if size > largest:
                raise EventTooLong
    if parts:
        yield b"".join(parts)
