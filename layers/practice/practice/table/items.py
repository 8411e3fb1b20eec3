"""What an item of the table is.

An item is a key, a version `v`, and one JSON document: as text in `doc`, compressed in `z` when it is long, and in
`parts` neighbouring items when even that does not fit. A JSON text comes back exactly as it went in, whatever numbers are
in it, and is one attribute to parse where a native map would be dozens. Beside it are only the attributes that an index
or a condition needs.
"""

import base64
import re
import time
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, NamedTuple, TypeVar

from practice.errors import VersionConflict
from practice.limits import KB
from practice.table.keys import Key, part

Value = dict[str, Any]
"""An attribute value as DynamoDB spells it: `{"S": "text"}`."""
Item = dict[str, Value]

COMPRESSED_ABOVE: Final = 4 * KB
PART_BYTES: Final = 350 * KB
"""An item may have 400 KB, its keys and attribute names included."""


@dataclass(frozen=True, slots=True)
class Document:
    key: Key
    version: int
    content: str | bytes
    """The JSON text; compressed when `is_packed`, empty when the item has none."""
    item: Item
    """The item's other attributes."""
    is_packed: bool = False

    @property
    def text(self) -> str | bytes:
        return zlib.decompress(self.content) if self.is_packed else self.content  # type: ignore[arg-type]  # bytes then

    def number(self, name: str) -> int:
        return int(self.item[name]["N"])

    def string(self, name: str) -> str:
        return str(self.item[name]["S"])


Content = TypeVar("Content")


class Versioned(NamedTuple, Generic[Content]):
    """A value, and the version of its own fields."""

    value: Content
    version: int


@dataclass(frozen=True, slots=True)
class ExpectedVersions:
    """The versions that a client is ready to change or delete; None accepts any."""

    versions: frozenset[int] | None = None

    def check(self, version: int) -> None:
        """Raises VersionConflict."""
        if self.versions is not None and version not in self.versions:
            raise VersionConflict(version)


ANY_VERSION: Final = ExpectedVersions()


def text(value: str) -> Value:
    return {"S": value}


def number(value: int) -> Value:
    return {"N": str(value)}


def ms_from_now(seconds: float = 0.0) -> Value:
    """A moment, as leases and claims store it: in milliseconds of Unix time."""
    return number(int((time.time() + seconds) * 1000))


def flag(value: bool) -> Value:  # an attribute value like the two above
    return {"BOOL": value}


def numbers(values: Iterable[int]) -> Value | None:
    """A set of numbers; None for an empty one, which DynamoDB does not know."""
    written = [str(value) for value in values]
    return {"NS": written} if written else None


def names_in(expression: str) -> dict[str, str]:
    """The attribute names that an expression spells as `#name`."""
    return {f"#{name}": name for name in _NAME.findall(expression)}


_NAME: Final = re.compile(r"#(\w+)")


def key_of(item: Item) -> Key:
    return Key(item["pk"]["S"], item["sk"]["S"])


def body_of(key: Key, version: int, json_text: str) -> tuple[Item, list[Item]]:
    """The attributes that hold the document, and the items of its parts."""
    if len(json_text) <= COMPRESSED_ABOVE // 4 or len(encoded := json_text.encode()) <= COMPRESSED_ABOVE:
        return {"doc": text(json_text)}, []
    packed = zlib.compress(encoded, 6)
    if len(packed) <= PART_BYTES:
        return ({"z": {"B": packed}} if len(packed) < len(encoded) else {"doc": text(json_text)}), []
    chunks = [packed[start : start + PART_BYTES] for start in range(0, len(packed), PART_BYTES)]
    parts = [
        key_attributes(part(key, version, index)) | {"z": {"B": chunk}} for index, chunk in enumerate(chunks)
    ]
    return {"parts": number(len(chunks))}, parts


def key_attributes(key: Key) -> Item:
    return {"pk": text(key.pk), "sk": text(key.sk)}


def document_in(item: Item, found: Mapping[Key, Item]) -> Document | None:
    """The document an item holds; None when one of its parts is not among `found`."""
    key = key_of(item)
    version = int(item["v"]["N"]) if "v" in item else 0
    if "doc" in item:
        return Document(key, version, item["doc"]["S"], item)
    if "z" in item:
        return Document(key, version, item["z"]["B"], item, is_packed=True)
    if "parts" in item:
        pieces = [found.get(part_key) for part_key in part_keys(item)]
        if None in pieces:
            return None
        packed = b"".join(piece["z"]["B"] for piece in pieces if piece)
        return Document(key, version, packed, item, is_packed=True)
    return Document(key, version, "", item)


def part_keys(item: Item) -> list[Key]:
    if "parts" not in item:
        return []
    return parts_of(key_of(item), int(item["v"]["N"]), int(item["parts"]["N"]))


def parts_of(key: Key, version: int, count: int) -> list[Key]:
    return [part(key, version, index) for index in range(count)]


def document_from_image(image: Item) -> Document:
    """The document in an image of a stream record, as Lambda spells it; its text is empty when it is in parts.

    Raises KeyError, TypeError or ValueError when the image is no document's.
    """
    key, version = key_of(image), int(image["v"]["N"])
    content: str | bytes = ""
    if "doc" in image:
        content = image["doc"]["S"]
    elif "z" in image:
        try:
            content = zlib.decompress(base64.b64decode(image["z"]["B"], validate=True))
        except zlib.error as error:
            raise ValueError(str(error)) from None
    return Document(key, version, content, image)
