"""An HTTP event in, validated values out, or the one list of what is wrong with it.

The 422 is FastAPI's: path, then query, then body; `type`, `loc` and `msg` of each problem as pydantic words them.
"""

import binascii
import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError
from pydantic_core import SchemaValidator, core_schema

from practice.errors import BadRequest, BodyNotBase64, BodyNotUtf8, Invalid, Problem
from practice.limits import MAX_ID, PROBLEM_NAME_CHARACTERS, PROBLEMS
from practice.schemas.json_text import parse_json
from practice.table import ANY_VERSION, ExpectedVersions

Event = Mapping[str, Any]
Model = TypeVar("Model", bound=BaseModel)

_path_id: Final = SchemaValidator(core_schema.int_schema(ge=1))


def inputs(
    event: Event,
    path_names: tuple[str, ...],
    query_model: type[BaseModel] | None,
    body_model: type[BaseModel] | None,
) -> tuple[dict[str, int], BaseModel | None, BaseModel | None]:
    """Path ids, query and body. Raises Invalid with everything that is wrong, BadRequest when the body is no text at all."""
    problems: list[Problem] = []
    path: dict[str, int] = {}
    for name in path_names:
        try:
            # All ids above the largest are one id that no object has: the table takes no longer numbers.
            path[name] = min(_path_id.validate_python(event["pathParameters"][name]), MAX_ID + 1)
        except ValidationError as error:
            problems += problems_of(error, "path", name)
    query = body = None
    if query_model:
        try:
            query = query_model.model_validate(last_of_each(event.get("rawQueryString", "")))
        except ValidationError as error:
            problems += problems_of(error, "query")
    if body_model:
        try:
            body = body_model.model_validate(_json_body(event), from_attributes=True)
        except ValidationError as error:
            problems += problems_of(error, "body")
        except Invalid as error:
            problems += error.problems
        except BadRequest:
            if not problems:
                raise
    if problems:
        raise Invalid(listed(problems))
    return path, query, body


@dataclass(frozen=True, slots=True)
class Preferences:
    """The `Prefer` header (RFC 7240), as far as it is honoured."""

    respond_async: bool = False

    @classmethod
    def of(cls, header: str | None) -> Self:
        names = {
            each.partition(";")[0].partition("=")[0].strip().lower() for each in (header or "").split(",")
        }
        return cls(respond_async="respond-async" in names)


_STRONG_ETAG: Final = re.compile(r'(?:^|,)\s*"(0|[1-9][0-9]{0,15})"(?=\s*(?:,|$))', re.ASCII)
"""One of ours; no other can match."""


def expected_versions(if_match: str | None) -> ExpectedVersions:
    """The versions that the `If-Match` header lists (RFC 9110, 13.1.1)."""
    if if_match is None or if_match.strip() == "*":
        return ANY_VERSION
    return ExpectedVersions(frozenset(int(version) for version in _STRONG_ETAG.findall(if_match)))


def listed(problems: list[Problem]) -> list[Problem]:
    more = len(problems) - PROBLEMS
    if more <= 0:
        return problems
    message = f"{more:,} more problem{'s are' if more > 1 else ' is'} not listed"
    return [*problems[:PROBLEMS], Problem("too_many_problems", ("body",), message)]


_ETAG: Final = re.compile(r'(?:^|,)\s*(?:W/)?("[^"]*")(?=\s*(?:,|$))', re.ASCII)


def is_current(if_none_match: str | None, etag: str | None) -> bool:
    """Whether the client has this version already (`If-None-Match`, a weak comparison: RFC 9110, 13.1.2)."""
    if if_none_match is None or etag is None:
        return False
    return if_none_match.strip() == "*" or etag in _ETAG.findall(if_none_match)


def problems_of(error: ValidationError, *where: str) -> list[Problem]:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [Problem(each["type"], (*where, *map(_shortened, each["loc"])), each["msg"]) for each in found]


def _shortened(step: str | int) -> str | int:
    return step[:PROBLEM_NAME_CHARACTERS] if isinstance(step, str) else step


def last_of_each(raw_query: str) -> dict[str, str]:
    """Of a repeated parameter the last wins; payload v2's own dictionary would join them with commas."""
    return dict(parse_qsl(raw_query, keep_blank_values=True))


def body_bytes(event: Event) -> bytes:
    """Raises BadRequest for a body that is not the base64 it is flagged as."""
    body = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        return body.encode("utf-8", "surrogatepass") if isinstance(body, str) else b""
    try:
        return b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raise BodyNotBase64 from None


def _json_body(event: Event) -> Any:
    raw = body_bytes(event)
    if not raw:
        raise Invalid([Problem("missing", ("body",), "Field required")])
    content_type = event.get("headers", {}).get("content-type", "").partition(";")[0].strip().lower()
    if content_type and content_type != "application/json" and not content_type.endswith("+json"):
        raise Invalid([NOT_AN_OBJECT])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BodyNotUtf8 from None
    value = parse_json(text)
    if value is None:
        raise Invalid([Problem("missing", ("body",), "Field required")])
    if not isinstance(value, dict):
        raise Invalid([NOT_AN_OBJECT])
    return value


NOT_AN_OBJECT: Final = Problem(
    "model_attributes_type", ("body",), "Input should be a valid dictionary or object to extract fields from"
)
