"""JSON as RFC 8259 defines it; the standard library's parser would let NaN and Infinity through."""

import json
import re
import sys
from typing import Any, Final

from practice.errors import Invalid, Problem

_SCALAR: Final = re.compile(r'"(?:[^"\\]|\\.)*"?|NaN|-?Infinity|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?', re.DOTALL)
"""Consumes each scalar once, so that a search is linear in the text."""


def parse_json(text: str) -> Any:
    """Of duplicate keys the last wins. Raises Invalid with the offset in characters of what is wrong."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        raise _malformed(error.pos) from None
    except RecursionError:
        raise _malformed(0) from None
    except ValueError:  # NaN, Infinity, or an integer of more digits than Python converts
        refused = (found.start() for found in _SCALAR.finditer(text) if _is_refused(found[0]))
        raise _malformed(next(refused, 0)) from None


def _is_refused(scalar: str) -> bool:
    if scalar in ("NaN", "Infinity", "-Infinity"):
        return True
    digits = scalar.removeprefix("-")
    return digits.isdigit() and len(digits) > sys.get_int_max_str_digits()


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _malformed(offset: int) -> Invalid:
    return Invalid([Problem("json_invalid", ("body", offset), "JSON decode error")])
