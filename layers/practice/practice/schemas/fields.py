"""The types that fields are made of: limits, text rules, free-form objects."""

import json
import math
from collections.abc import Callable
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError, PydanticKnownError, to_json

from practice import limits

_WORST_ESCAPE: Final = 6
"""Bytes that JSON can take for a character: `\\u0001`."""


def is_answerable(text: str) -> bool:
    """Whether an HTTP response can carry the text as JSON beside its other fields."""
    return (
        len(text) * _WORST_ESCAPE <= limits.RESPONSE_JSON_BYTES
        or len(to_json(text)) <= limits.RESPONSE_JSON_BYTES
    )


Id = Annotated[int, Field(ge=1, le=limits.MAX_ID)]
"""An id in a body."""
PathId = Annotated[int, Field(ge=1), WithJsonSchema({"type": "integer", "minimum": 1})]
"""An id in a path: one that is too large for any object is simply not found."""
Timestamp = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]


def storable(value: str) -> str:
    if "\0" in value:
        raise PydanticCustomError("string_nul", "String should not contain NUL characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise PydanticKnownError("string_unicode") from None
    return value


def at_most_bytes(limit: int) -> Callable[[str], str]:
    def check(value: str) -> str:
        if len(value) * 4 > limit and len(value.encode()) > limit:
            raise PydanticCustomError(
                "string_too_long", "String should have at most {limit} bytes in UTF-8", {"limit": limit}
            )
        return value

    return check


def _answerable(value: str) -> str:
    if not is_answerable(value):
        raise PydanticCustomError("string_too_long", "String should fit an answer when it is escaped")
    return value


PATTERN: Final = {"pattern": r"^[^\u0000]*$"}

Text = Annotated[str, AfterValidator(storable), Field(json_schema_extra=PATTERN)]
"""Any text the table can hold, kept as sent."""
# The length comes first: pydantic words it as a string's only when it stands directly at the `str`.
Title = Annotated[
    str, Field(max_length=limits.TITLE_CHARACTERS, json_schema_extra=PATTERN), AfterValidator(storable)
]
Notes = Annotated[
    str, Field(max_length=limits.NOTES_CHARACTERS, json_schema_extra=PATTERN), AfterValidator(storable)
]
ModelName = Annotated[
    str,
    Field(min_length=1, max_length=limits.MODEL_NAME_CHARACTERS, json_schema_extra=PATTERN),
    AfterValidator(storable),
]
Prompt = Annotated[
    Text,
    AfterValidator(at_most_bytes(limits.PROMPT_BYTES)),
    Field(
        description=f"At most {limits.PROMPT_BYTES} bytes in UTF-8.",
        json_schema_extra={"maxLength": limits.PROMPT_BYTES},
    ),
]
Answer = Annotated[
    Text,
    AfterValidator(at_most_bytes(limits.RESPONSE_BYTES)),
    AfterValidator(_answerable),
    Field(
        description=f"At most {limits.RESPONSE_BYTES} bytes in UTF-8.",
        json_schema_extra={"maxLength": limits.RESPONSE_BYTES},
    ),
]


def free_form(value: dict[str, Any]) -> dict[str, Any]:
    """An object of the client's own making: bounded, and nothing in it that JSON or the table would change.

    A number that no double can hold is refused like Infinity, which is what most clients would read it as.
    """
    level: list[Any] = [value]
    for depth in range(limits.OBJECT_DEPTH + 1):
        if not level:
            break
        if depth == limits.OBJECT_DEPTH:
            raise PydanticCustomError(
                "too_deep", "Object should be nested at most {limit} deep", {"limit": limits.OBJECT_DEPTH}
            )
        level = [inner for container in level for inner in _inner(container)]
    if compact_bytes(value) > limits.OBJECT_BYTES:
        raise PydanticCustomError(
            "too_long", "Object should have at most {limit} bytes as JSON", {"limit": limits.OBJECT_BYTES}
        )
    return value


def same_json(one: Any, other: Any) -> bool:
    """Equal as JSON, where Python takes 1, 1.0 and true for the same."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def compact_bytes(value: dict[str, Any]) -> int:
    return len(to_json(value))


def _inner(container: Any) -> list[Any]:
    """The containers directly in this one; its scalars are checked on the way."""
    if isinstance(container, dict):
        for name in container:
            storable(name)
        values: list[Any] = list(container.values())
    else:
        values = container
    nested = []
    for value in values:
        if isinstance(value, dict | list):
            nested.append(value)
        elif isinstance(value, str):
            storable(value)
        elif isinstance(value, int | float) and not _is_finite(value):
            raise PydanticCustomError("finite_number", "Input should be a finite number")
    return nested


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


FreeForm = Annotated[
    dict[str, Any],
    AfterValidator(free_form),
    Field(
        description=f"Free-form: at most {limits.OBJECT_BYTES} bytes as JSON, at most {limits.OBJECT_DEPTH} deep."
    ),
]
"""Comes back exactly as it went in."""


def require_finite(value: Any) -> Any:
    """Integers that no double holds would overflow inside the conversion to float."""
    if isinstance(value, int) and not _is_finite(value):
        raise PydanticCustomError("finite_number", "Input should be a finite number")
    return value


Finite = BeforeValidator(require_finite)


def distinct(limit: int) -> Callable[[list[int]], list[int]]:
    """Without duplicates and without values below 1, in the order of first appearance; at most `limit` remain."""

    def kept(values: list[int]) -> list[int]:
        left = list(dict.fromkeys(value for value in values if value >= 1))
        if len(left) > limit:
            raise PydanticCustomError("too_long", "List should have at most {limit} items", {"limit": limit})
        return left

    return kept


KnowledgeIds = Annotated[
    list[Annotated[int, Field(le=limits.MAX_KNOWLEDGE_ID)]],
    Field(max_length=limits.SENT_IDS),
    AfterValidator(distinct(limits.KNOWLEDGE_IDS)),
    Field(
        description="Duplicates and values below 1 are dropped, and do not count.",
        json_schema_extra={"maxItems": limits.KNOWLEDGE_IDS},
    ),
]
