"""What is known of public models, by family and version: `model_table.json`, read when it is first needed.

docs/models.md describes the table and how a row is added.
"""

import json
import re
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

FILE: Final = Path(__file__).with_name("model_table.json")
OWN_FIELDS: Final = ("version", "rule", "regional_factor", "source", "date")
"""Of a row what the table itself needs; the rest are fields of a model's configuration."""

_PLACEHOLDERS: Final = {"{v}": r"(\d+(?:[.-]\d{1,2})?(?!\d))", "{d}": r"(\d{4}(?!\d))"}
"""A version, and a release named by its year and month."""
_SAME_MODEL: Final = re.compile(r"v?\d+|latest|preview|instruct|")
"""A word that may follow a model's name without making it another model: a snapshot or a revision."""
_REGIONAL: Final = re.compile(r"(?:^|/)(?:us|eu|apac|jp|au|ca|us-gov)\.")
"""An inference profile of a geography; `global.` has the list price."""

Version = tuple[int, ...]


def known(name: str) -> dict[str, Any]:
    """The fields of the family's row for this version, else of its newest older row; {} for an unknown family.

    The family is the one with the longest name that this name contains as whole words; of two, the one without a version.
    """
    name = name.lower()
    matches = [
        (match, family) for family in _table()["families"] for match in _matches(tuple(family["names"]), name)
    ]
    if not matches:
        return {}
    match, family = max(matches, key=lambda each: (len(each[0][0]), not _version(each[0])))
    row = _row(family["rows"], match, name)
    fields = _table()["rules"].get(row.get("rule"), {}) | row
    if not _is_priced(row, match, name):
        fields.pop("prices", None)
    elif "prices" in fields and "regional_factor" in row and _REGIONAL.search(name):
        factor = Decimal(row["regional_factor"])
        fields["prices"] = {
            kind: f"{(Decimal(price) * factor).normalize():f}" for kind, price in fields["prices"].items()
        }
    return {key: value for key, value in fields.items() if key not in OWN_FIELDS}


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(FILE.read_text())
    return table


def _matches(names: tuple[str, ...], text: str) -> list[re.Match[str]]:
    words = (re.match("[a-z]+", name) for name in names)
    # A pattern is compiled only for a name that can hold it: all of them would take a cold start 20 ms.
    patterns = [_pattern(name) for name, word in zip(names, words, strict=True) if word and word[0] in text]
    return [match for pattern in patterns if (match := pattern.search(text))]


@lru_cache(maxsize=256)
def _pattern(name: str) -> re.Pattern[str]:
    for placeholder, pattern in _PLACEHOLDERS.items():
        name = name.replace(placeholder, pattern)
    return re.compile(f"(?<![a-z0-9]){name}(?![a-z0-9])")


def _row(rows: list[dict[str, Any]], match: re.Match[str], name: str) -> dict[str, Any]:
    """Rows are in the order of versions. A version older than all follows the oldest."""
    version = _version(match)
    if not version:
        return rows[-1] if name.startswith("-latest", match.end()) else rows[0]
    older = [row for row in rows if _parsed(row["version"]) <= version]
    return older[-1] if older else rows[0]


def _version(match: re.Match[str]) -> Version:
    return _parsed(next((group for group in match.groups() if group), ""))


def _parsed(version: str) -> Version:
    """`4-5` is `4.5`, and `4.0` is `4`."""
    numbers = [int(number) for number in re.findall(r"\d+", version)]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _is_priced(row: dict[str, Any], match: re.Match[str], name: str) -> bool:
    """Rules are followed by what is newer or a variant, prices are not: they hold for the model alone."""
    version = _version(match)
    is_same_version = not version or version == _parsed(row["version"])
    suffix = re.split("[:@]", name[match.end() :], maxsplit=1)[
        0
    ]  # a revision or a provisioned window follows
    return is_same_version and all(_SAME_MODEL.fullmatch(word) for word in suffix.split("-"))
