"""Mutations of an export: each field of each kind of line with each bad input of test_bad_input, and with its own."""

import json
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from practice.limits import MAX_ID
from practice.schemas.transfer_line import (
    DeletedTurnLine,
    ExampleLine,
    Header,
    ResponseLine,
    SessionLine,
    TurnLine,
    VoteLine,
)
from tests.api.test_bad_input import WRONG, Raw, nested, written

Json = dict[str, Any]
Place = tuple[str | int, ...]
KINDS: Final = ("practice-export", "example", "session", "turn", "deleted_turn", "response", "vote")
MODELS: Final = (Header, ExampleLine, SessionLine, TurnLine, DeletedTurnLine, ResponseLine, VoteLine)

OF_ANY_KIND: Final[list[Any]] = [
    None,
    -1,
    0,
    1,
    MAX_ID,
    MAX_ID + 1,
    2**63,
    10**400,
    "",
    "\ud800",
    "a\0b",
    "x" * 1_200_000,
    '"' * 30_000,
    True,
    [],
    {},
    [1] * 20_000,
    list(range(1, 20_001)),
    ["\ud800"],
    [None],
    {"temperature": "hot", "max_tokens": -1, "top_p": 5, "response_length_preset": "no"},
    {"a": "\0"},
    "2026-02-30T00:00:00.000000Z",
    "9999-12-31T23:59:59.999999Z",
    "٢٠٢٦-01-07T05:31:56.120501Z",
    "0000-01-01T00:00:00.000000Z",
    "2026-01-07T05:31:56.120501+00:00",
    Raw("1e400"),
    Raw("NaN"),
    nested(40),
]
"""What is tried in every place, whatever its type is."""
REMOVED: Final = object()


class Mutation(NamedTuple):
    line: int
    place: Place
    value: Any

    def __str__(self) -> str:
        return f"line {self.line}, {self.place}: {str(self.value)[:80]!r}"


def wrong_values() -> list[Any]:
    table = [value for kinds in WRONG.values() for values in kinds.values() for value in values]
    known: set[str] = set()
    found = []
    for value in [*OF_ANY_KIND, *table]:
        text = written(value)
        if text not in known:
            known.add(text)
            found.append(value)
    return found


def places_of(value: Any, place: Place = ()) -> Iterator[Place]:
    """Every field, the first of every list, and the list or object itself."""
    if place:
        yield place
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from places_of(inner, (*place, name))
    elif isinstance(value, list) and value:
        yield from places_of(value[0], (*place, 0))


def mutations(lines: list[Json]) -> Iterator[Mutation]:
    """Of the first line of each kind; values of a field are also repeated, removed, and taken from its neighbours."""
    values = wrong_values()
    seen: set[tuple[str, Place]] = set()
    for number, line in enumerate(lines):
        for place in places_of(line):
            if (line["type"], place) in seen:
                continue
            seen.add((line["type"], place))
            yield Mutation(number, place, REMOVED)
            before = at(line, place)
            if isinstance(before, list) and before:
                yield Mutation(number, place, before * 2)
                yield Mutation(number, place, before * 3_000)
            if isinstance(before, int) and not isinstance(before, bool):
                for other in (before + 1, before - 1, before + 2**15, MAX_ID - before % 2**15, -before):
                    yield Mutation(number, place, other)
            if isinstance(before, str):
                yield Mutation(number, place, before + "x")
            for value in values:
                yield Mutation(number, place, value)


def at(value: Any, place: Place) -> Any:
    for step in place:
        value = value[step]
    return value


def mutated(lines: list[Json], mutation: Mutation) -> bytes:
    copied = json.loads(json.dumps(lines[mutation.line]))
    *above, last = mutation.place
    holder = at(copied, tuple(above))
    if mutation.value is REMOVED:
        del holder[last]
    else:
        holder[last] = mutation.value
    texts = [
        written_line(copied) if number == mutation.line else json.dumps(line)
        for number, line in enumerate(lines)
    ]
    return "\n".join(texts).encode("utf-8", "surrogatepass")


def written_line(line: Json) -> str:
    return written_value(line)


def written_value(value: Any) -> str:
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, dict):
        return (
            "{"
            + ",".join(f"{json.dumps(name)}:{written_value(inner)}" for name, inner in value.items())
            + "}"
        )
    if isinstance(value, list):
        return "[" + ",".join(map(written_value, value)) + "]"
    if value is True or value is False or value is None:
        return json.dumps(value)
    if isinstance(value, float):
        return json.dumps(value)
    return written(value)
