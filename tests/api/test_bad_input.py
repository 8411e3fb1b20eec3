"""Whatever a learner sends wrongly is refused clearly, and changes nothing.

The fields are those of the endpoints' own models: a new endpoint or a new field is tried without a word here.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel

from local.gateway import build_event
from local.stack import Stack
from practice.caller import Caller
from practice.http.endpoint import Endpoint
from practice.http.replies import status_of
from practice.limits import MAX_ID
from practice.schemas.json_text import _SCALAR
from tests.support.learners import BASE_URL, Answer, Learner
from tools.openapi import endpoints

Json = dict[str, Any]
Place = tuple[str | int, ...]

ENDPOINTS = [each for each in endpoints() if each.takes_a(Caller)]
WITH_BODY = [each for each in ENDPOINTS if each.body_model]


class Field(NamedTuple):
    """A place in a body, or a parameter of a query, with the rules its model gives it."""

    place: Place
    schema: Json
    is_required: bool
    takes_null: bool

    @property
    def kind(self) -> str:
        if "enum" in self.schema:
            return "enum"
        if "properties" in self.schema:
            return "model"
        return str(self.schema["type"])


def fields_of(model: type[BaseModel]) -> list[Field]:
    whole = model.model_json_schema()
    return list(_fields(whole, whole.get("$defs", {}), ()))


def _fields(schema: Json, definitions: Json, place: Place) -> Iterator[Field]:
    for name, given in schema.get("properties", {}).items():
        choices = [_resolved(choice, definitions) for choice in given.get("anyOf", [given])]
        [rules] = [choice for choice in choices if choice.get("type") != "null"]
        here = (*place, name)
        yield Field(here, rules, name in schema.get("required", ()), len(choices) > 1)
        yield from _fields(rules, definitions, here)


def _resolved(schema: Json, definitions: Json) -> Json:
    name = schema.get("$ref", "").rpartition("/")[2]
    return definitions[name] if name else schema


GOOD: Json = {
    "string": "text",
    "integer": 1,
    "number": 1,
    "boolean": True,
    "array": [],
    "object": {},
    "model": {},
}


def good_body(endpoint: Endpoint) -> Json:
    assert endpoint.body_model
    return {
        str(field.place[0]): GOOD[field.kind]
        for field in fields_of(endpoint.body_model)
        if field.is_required and len(field.place) == 1
    } | {name: value for name, value in CHOSEN.items() if name in endpoint.body_model.model_fields}


CHOSEN: Json = {"class_id": 1, "tie": "good"}
"""Fields that are not required, of bodies that need one of several, or mean more with it."""


@dataclass(frozen=True)
class Raw:
    """JSON text that Python would not write."""

    text: str


def written(value: Any) -> str:
    raws: list[str] = []

    def placed(raw: Raw) -> str:
        raws.append(raw.text)
        return f"raw text {len(raws) - 1}"

    text = json.dumps(value, default=placed, separators=(",", ":"))
    for number, raw in enumerate(raws):
        text = text.replace(f'"raw text {number}"', raw, 1)
    return text


def nested(depth: int) -> Raw:
    return Raw('{"a":' * depth + "1" + "}" * depth)


TOO_MANY_DIGITS = 10**400

WRONG: dict[str, dict[str, list[Any]]] = {
    "integer": {
        "int_parsing": ["abc", "", "1.5", "1e3", "9" * 17 + "x"],
        "int_parsing_size": ["9" * 5000],
        "int_from_float": [1.5],
        "int_type": [[], {}, [1]],
        "finite_number": [Raw("1e400"), Raw("-1e400")],
        "string_unicode": ["\ud800"],
    },
    "number": {
        "float_parsing": ["abc", ""],
        "float_type": [[], {}],
        "finite_number": [Raw("1e400"), TOO_MANY_DIGITS, "inf", "nan", "9" * 5000],
        "string_unicode": ["\ud800"],
    },
    "string": {
        "string_type": [5, 1.5, True, [], {}, TOO_MANY_DIGITS, Raw("1e400")],
        "string_nul": ["a\0b"],
        "string_unicode": ["\ud800", "a\udfffb"],
        "string_too_long": ["x" * 1_200_000],
    },
    "boolean": {
        "bool_parsing": ["maybe", "", 2, -1],
        "bool_type": [[], {}, 1.5, TOO_MANY_DIGITS, Raw("1e400")],
        "string_unicode": ["\ud800"],
    },
    "enum": {"enum": ["other", "", 5, 1.5, True, [], {}, TOO_MANY_DIGITS, Raw("1e400")]},
    "array": {"list_type": ["abc", 5, 1.5, True, {}, TOO_MANY_DIGITS, Raw("1e400")]},
    "object": {
        "dict_type": ["abc", 5, 1.5, True, [], TOO_MANY_DIGITS, Raw("1e400")],
        "finite_number": [
            {"a": Raw("1e400")},
            {"a": [1, {"b": Raw("-1e400")}]},
            {"a": TOO_MANY_DIGITS},
            {"a": -TOO_MANY_DIGITS},
        ],
        "string_nul": [{"a": "\0"}, {"\0": 1}, {"a": [{"b\0": 1}]}],
        "string_unicode": [{"a": "\ud800"}, {"\udc00": 1}, {"a": [["\ud800"]]}],
        "too_deep": [nested(33), {"a": Raw("[" * 32 + "]" * 32)}, nested(300), nested(900)],
        "too_long": [{"a": "x" * 64 * 1024}, {str(n): n for n in range(9000)}],
    },
    "model": {
        "model_attributes_type": ["abc", 5, 1.5, True, [], TOO_MANY_DIGITS, Raw("1e400")],
        "finite_number": [{"mine": Raw("1e400")}, {"mine": [TOO_MANY_DIGITS]}],
        "string_nul": [{"mine": "\0"}, {"\0": 1}],
        "string_unicode": [{"mine": "\ud800"}, {"\udc00": 1}],
        "too_deep": [{"mine": nested(32)}, {"mine": nested(300)}, {"mine": nested(900)}],
        "too_long": [{"mine": "x" * 64 * 1024}],
    },
}


def wrong_values(field: Field) -> Iterator[tuple[Any, str, Place]]:
    """Values that do not fit, each with the type and the place of its error."""
    here = ("body", *field.place)
    rules = field.schema
    for type_, values in WRONG[field.kind].items():
        for value in values:
            is_short = (
                type_ == "string_nul" and isinstance(value, str) and rules.get("maxLength", 3) < len(value)
            )
            yield "\0" if is_short else value, type_, here
    if not field.takes_null:
        kind = "model_attributes" if field.kind == "model" else TYPE_NAMES[field.kind]
        yield None, kind if kind == "enum" else f"{kind}_type", here
    if "minimum" in rules:
        for low in (rules["minimum"] - 1, -1, -TOO_MANY_DIGITS):
            if field.kind == "integer":
                yield low, "greater_than_equal", here
    if "maximum" in rules:
        yield rules["maximum"] + 1, "less_than_equal", here
        yield str(rules["maximum"] + 1), "less_than_equal", here
        if field.kind == "integer":
            yield TOO_MANY_DIGITS, "less_than_equal", here
    if "maxLength" in rules:
        yield "x" * (rules["maxLength"] + 1), "string_too_long", here
    if rules.get("minLength"):
        yield "", "string_too_short", here
    if field.kind == "array":
        items = Field((*field.place, 0), rules["items"], is_required=True, takes_null=False)
        for value, type_, _ in wrong_values(items):
            yield [value], type_, (*here, 0)
            yield [1, 2, value, 3], type_, (*here, 2)
        yield list(range(1, 1002)), "too_long", here
        yield ["x"] * 200_000, "too_long", here


TYPE_NAMES = {
    "integer": "int",
    "number": "float",
    "string": "string",
    "boolean": "bool",
    "array": "list",
    "object": "dict",
    "enum": "enum",
}


class World(NamedTuple):
    """Things of a learner's that requests can aim at, by the names of path parameters."""

    owner: Learner
    ids: dict[str, int]

    def target(self, endpoint: Endpoint, **replaced: object) -> str:
        path = endpoint.path
        for name in endpoint.path_parameters:
            value = replaced.get(name, self.ids.get(name, self.ids["session_id"]))
            path = path.replace("{" + name + "}", str(value))
        needed = fields_of(endpoint.query_model) if endpoint.query_model else []
        query = "&".join(f"{each.place[0]}={GOOD[each.kind]}" for each in needed if each.is_required)
        return f"{path}?{query}" if query else path

    def send(self, endpoint: Endpoint, body: Any, **options: Any) -> Answer:
        raw = written(body).encode("utf-8", "surrogatepass")
        return self.owner.ask(endpoint.method, self.target(endpoint), raw=raw, **options)


@pytest.fixture(scope="module")
def world(lasting_learner: Callable[[], Learner]) -> World:
    ada = lasting_learner()
    session = ada.open_session(title="Prompting 101", knowledge_ids=[1, 2])
    example = ada.add_example()
    settings = f"/sessions/{session['session_id']}/settings"
    assert ada.patch(settings, {"few_shot_example_ids": [example["example_id"]]}).status == 200
    response = ada.add_response(session)
    return World(
        ada,
        {
            "session_id": session["session_id"],
            "session_model_id": response["session_model_id"],
            "response_id": response["response_id"],
            "example_id": example["example_id"],
        },
    )


Items = Mapping[tuple[str, str], Any]


@pytest.fixture
def unchanged(world: World, contents_of: Callable[[Learner], Items]) -> Iterator[None]:
    """No item of the learner's changes."""
    before = contents_of(world.owner)
    assert before
    yield
    assert contents_of(world.owner) == before


def problems(answer: Answer, shown: object = "") -> list[Json]:
    assert answer.status == 422, (str(shown)[:200], answer.status, answer.body[:300])
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    found: list[Json] = answer.detail
    for each in found:
        assert set(each) == {"type", "loc", "msg"}
        assert isinstance(each["msg"], str)
        assert each["msg"]
    return found


FIELDS = [
    (endpoint, field) for endpoint in WITH_BODY for field in fields_of(endpoint.body_model or BaseModel)
]


@pytest.mark.parametrize(
    ("endpoint", "field"),
    FIELDS,
    ids=lambda one: one.name if isinstance(one, Endpoint) else str(one.place[-1]),
)
@pytest.mark.usefixtures("unchanged")
def test_a_wrong_value_is_named_by_its_place(endpoint: Endpoint, field: Field, world: World) -> None:
    for value, type_, place in wrong_values(field):
        body = good_body(endpoint)
        inner = body
        for name in field.place[:-1]:
            inner = inner.setdefault(str(name), {})
        inner[str(field.place[-1])] = value
        shown = written(value)

        found = problems(world.send(endpoint, body), shown)

        places = {tuple(each["loc"]) for each in found}
        assert (place in places) or (type_ == "string_too_long" and ("body",) in places), (shown[:100], found)
        types = {each["type"] for each in found if tuple(each["loc"]) in (place, ("body",))}
        assert types <= {type_, ALSO.get(type_)}, (shown[:100], found)
        assert types


ALSO = {"string_too_long": "too_long", "string_too_short": "string_blank"}
"""Where a model has a word of its own for it."""

REQUIRED = [(endpoint, field) for endpoint, field in FIELDS if field.is_required and len(field.place) == 1]


@pytest.mark.parametrize(
    ("endpoint", "field"),
    REQUIRED,
    ids=lambda one: one.name if isinstance(one, Endpoint) else str(one.place[-1]),
)
@pytest.mark.usefixtures("unchanged")
def test_a_missing_field_is_named(endpoint: Endpoint, field: Field, world: World) -> None:
    body = good_body(endpoint)
    del body[str(field.place[0])]

    assert problems(world.send(endpoint, body)) == [
        {"type": "missing", "loc": ["body", *field.place], "msg": "Field required"}
    ]


MISSING = {"type": "missing", "loc": ["body"], "msg": "Field required"}
NOT_AN_OBJECT = {
    "type": "model_attributes_type",
    "loc": ["body"],
    "msg": "Input should be a valid dictionary or object to extract fields from",
}


def malformed(offset: int) -> Json:
    return {"type": "json_invalid", "loc": ["body", offset], "msg": "JSON decode error"}


JSON_TYPE = "application/json"
BODIES: dict[str, tuple[bytes, str, Json]] = {
    "empty": (b"", JSON_TYPE, MISSING),
    "null": (b" null ", JSON_TYPE, MISSING),
    "blank": (b"  ", JSON_TYPE, malformed(2)),
    "an array": (b"[]", JSON_TYPE, NOT_AN_OBJECT),
    "an array of objects": (b"[{}]", JSON_TYPE, NOT_AN_OBJECT),
    "a text": (b'"abc"', JSON_TYPE, NOT_AN_OBJECT),
    "a number": (b"5", JSON_TYPE, NOT_AN_OBJECT),
    "false": (b"false", JSON_TYPE, NOT_AN_OBJECT),
    "an object as text/plain": (b"{}", "text/plain", NOT_AN_OBJECT),
    "a form": (b"title=x", "application/x-www-form-urlencoded", NOT_AN_OBJECT),
    "bytes": (b"{}", "application/octet-stream", NOT_AN_OBJECT),
    "no content type that means anything": (b"{}", "json", NOT_AN_OBJECT),
    "half an object": (b'{"title": ', JSON_TYPE, malformed(10)),
    "two objects": (b"{} {}", JSON_TYPE, malformed(3)),
    "a comma too many": (b'{"title": "a",}', JSON_TYPE, malformed(13)),
    "single quotes": (b"{'title': 1}", JSON_TYPE, malformed(1)),
    "a comment": (b"{} // fine", JSON_TYPE, malformed(3)),
    "a raw line break in a text": (b'{"title": "a\nb"}', JSON_TYPE, malformed(12)),
    "an unknown escape": (b'{"title": "\\x41"}', JSON_TYPE, malformed(11)),
    "an offset in characters": ('{"title": "äöü", oops}'.encode(), JSON_TYPE, malformed(17)),
    "NaN": (b'{"title": NaN}', JSON_TYPE, malformed(10)),
    "Infinity": (b'{"title": Infinity}', JSON_TYPE, malformed(10)),
    "-Infinity": (b'{"title": [-Infinity]}', JSON_TYPE, malformed(11)),
    "NaN beside a text about NaN": (b'{"a": "NaN", "b": "\\"NaN", "c": NaN}', JSON_TYPE, malformed(32)),
    "NaN in an unknown field": (b'{"unknown name": {"a": NaN}}', JSON_TYPE, malformed(23)),
    "5,000 digits": (b'{"class_id": ' + b"9" * 5000 + b"}", JSON_TYPE, malformed(13)),
    "minus 5,000 digits": (b'{"a": "1", "b": [-' + b"9" * 5000 + b"]}", JSON_TYPE, malformed(17)),
    "100,000 brackets": (b"[" * 100_000, JSON_TYPE, malformed(0)),
    "100,000 brackets in a field": (
        b'{"meta": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        JSON_TYPE,
        malformed(0),
    ),
    "100,000 braces": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, JSON_TYPE, malformed(0)),
    "two byte order marks": (b"\xef\xbb\xbf\xef\xbb\xbf{}", JSON_TYPE, malformed(0)),
}


@pytest.mark.parametrize("endpoint", WITH_BODY, ids=lambda each: each.name)
@pytest.mark.usefixtures("unchanged")
def test_a_body_that_is_no_object_is_refused_as_a_whole(endpoint: Endpoint, world: World) -> None:
    for name, (raw, content_type, problem) in BODIES.items():
        answer = world.owner.ask(
            endpoint.method, world.target(endpoint), raw=raw, headers={"content-type": content_type}
        )

        assert problems(answer, name) == [problem], name


@pytest.mark.parametrize("endpoint", WITH_BODY, ids=lambda each: each.name)
@pytest.mark.usefixtures("unchanged")
def test_a_body_that_is_no_text_is_a_400(endpoint: Endpoint, world: World) -> None:
    target = world.target(endpoint)
    for raw in (b"\xff", b'{"title": "\xff"}', b'{"title": "\xc3"}', b"\xed\xa0\x80", "{}".encode("utf-16")):
        answer = world.owner.ask(endpoint.method, target, raw=raw)

        if BASE_URL:  # AWS does not document how a gateway hands on what is no UTF-8
            assert answer.status in (400, 422), raw
        else:
            assert (answer.status, answer.json) == (400, {"detail": "body is not valid UTF-8"}), raw


@pytest.mark.parametrize("endpoint", WITH_BODY, ids=lambda each: each.name)
@pytest.mark.usefixtures("unchanged")
def test_a_body_flagged_as_base64_must_be_base64(endpoint: Endpoint, world: World, stack: Stack) -> None:
    target = world.target(endpoint)
    match = stack.gateway.router.match(endpoint.method, target)
    assert match
    headers = {"authorization": f"Bearer {world.owner.token}"}
    event = build_event(endpoint.method, target, headers, b"{}", match)

    for body in ("{}", "a", "YQ", "YQ==YQ==", "e30 ", "e30\n", "é", "=", "e-0="):
        answer = stack.invoker.invoke(match.route.function, event | {"body": body, "isBase64Encoded": True})

        assert answer["statusCode"] == 400, body
        assert json.loads(answer["body"]) == {"detail": "body is not valid base64"}


@pytest.mark.parametrize("endpoint", WITH_BODY, ids=lambda each: each.name)
@pytest.mark.usefixtures("unchanged")
def test_a_body_larger_than_lambda_takes_is_a_413(endpoint: Endpoint, world: World) -> None:
    answer = world.owner.ask(
        endpoint.method, world.target(endpoint), raw=b'{"title": "' + b"x" * 7_000_000 + b'"}'
    )

    assert (answer.status, answer.json) == (413, {"message": "Request Entity Too Large"})


@pytest.mark.parametrize(
    "content_type", ["", "application/json", "Application/JSON; charset=utf-8", "application/vnd.api+json"]
)
def test_json_goes_by_several_names(content_type: str, ada: Learner) -> None:
    session = ada.open_session()

    answer = ada.ask(
        "PATCH",
        f"/sessions/{session['session_id']}",
        raw='{"title": "Größe"}'.encode(),
        headers={"content-type": content_type},
    )

    assert (answer.status, answer.json["title"]) == (200, "Größe")


def test_of_duplicate_keys_the_last_wins(ada: Learner) -> None:
    session = ada.open_session()

    answer = ada.ask(
        "PATCH",
        f"/sessions/{session['session_id']}",
        raw=b'{"title": 5, "notes": "a", "title": "b", "notes": null}',
    )

    assert (answer.status, answer.json["title"], answer.json["notes"]) == (200, "b", None)


WITH_PATH = [(endpoint, name) for endpoint in ENDPOINTS for name in endpoint.path_parameters]
NO_IDS = {
    "0": "greater_than_equal",
    "-1": "greater_than_equal",
    "-" + "9" * 400: "greater_than_equal",
    "1.5": "int_parsing",
    "abc": "int_parsing",
    "0x10": "int_parsing",
    "1e3": "int_parsing",
    "true": "int_parsing",
    "null": "int_parsing",
    "%00": "int_parsing",
    "1%2C2": "int_parsing",
    "%ED%A0%80": "int_parsing",
    "9" * 5000: "int_parsing_size",
}
NOBODYS_IDS = (MAX_ID, MAX_ID + 1, 10**30, 10**38, 10**45, int("9" * 400))


@pytest.mark.parametrize(
    ("endpoint", "name"), WITH_PATH, ids=lambda one: one if isinstance(one, str) else one.name
)
@pytest.mark.usefixtures("unchanged")
def test_what_is_no_id_is_refused_in_the_path(endpoint: Endpoint, name: str, world: World) -> None:
    body = written(good_body(endpoint)).encode() if endpoint.body_model else None
    for value, type_ in NO_IDS.items():
        answer = world.owner.ask(endpoint.method, world.target(endpoint, **{name: value}), raw=body)

        [problem] = problems(answer, value)
        assert (problem["type"], problem["loc"]) == (type_, ["path", name]), value


@pytest.mark.parametrize(
    ("endpoint", "name"), WITH_PATH, ids=lambda one: one if isinstance(one, str) else one.name
)
@pytest.mark.usefixtures("unchanged")
def test_an_id_that_is_unknown_or_another_learners_is_not_found(
    endpoint: Endpoint, name: str, world: World, ben: Learner, contents_of: Callable[[Learner], Items]
) -> None:
    body = written(good_body(endpoint)).encode() if endpoint.body_model else None
    ben.open_session()
    before = contents_of(ben)

    foreign = ben.ask(endpoint.method, world.target(endpoint), raw=body)

    assert foreign.status == 404
    assert foreign.detail in [refusal.detail for refusal in endpoint.refuses if status_of(refusal) == 404]
    for value in NOBODYS_IDS:
        unknown = ben.ask(endpoint.method, world.target(endpoint, **{name: value}), raw=body)
        assert (unknown.status, unknown.body) == (foreign.status, foreign.body), value
    assert contents_of(ben) == before


@pytest.mark.parametrize("spelling", ["{}.0", "%20{}", "{}%20", "0{}", "+{}"])
def test_an_id_in_a_path_is_read_as_pydantic_reads_a_text(spelling: str, ada: Learner) -> None:
    session = ada.open_session()["session_id"]

    assert ada.get(f"/sessions/{spelling.format(session)}").json["session_id"] == session


PARAMETERS = [
    (endpoint, name, rules)
    for endpoint in ENDPOINTS
    if endpoint.query_model
    for (name,), rules, *_ in fields_of(endpoint.query_model)
    if isinstance(name, str)
]


def wrong_parameters(rules: Json) -> Iterator[tuple[str, str]]:
    """Texts that a parameter does not take, with their errors."""
    kind = "enum" if "enum" in rules or "enum" in rules.get("items", {}) else rules["type"]
    if kind == "integer":
        yield from [
            ("", "int_parsing"),
            ("abc", "int_parsing"),
            ("1.5", "int_parsing"),
            ("%00", "int_parsing"),
        ]
        yield "9" * 5000, "int_parsing_size"
        yield str(rules["minimum"] - 1), "greater_than_equal"
        if "maximum" in rules:
            yield str(rules["maximum"] + 1), "less_than_equal"
            yield "9" * 400, "less_than_equal"
    elif kind == "boolean":
        yield from [("", "bool_parsing"), ("maybe", "bool_parsing"), ("2", "bool_parsing")]
    elif kind in ("enum", "array"):
        yield from [("", "enum"), ("other", "enum"), ("CREATED", "enum"), ("settings,", "enum")]
    else:
        assert kind == "string"
        if rules.get("format") == "date":
            for text in ("", "today", "2026-02-30", "20260101", "2026-1-1", "2026-01-01T00:00:00Z", "%D9%A1"):
                yield text, "date_parsing"
            return
        yield "", "string_too_short"
        yield "x" * (rules["maxLength"] + 1), "string_too_long"


@pytest.mark.parametrize(
    ("endpoint", "name", "rules"),
    PARAMETERS,
    ids=lambda one: getattr(one, "name", one) if not isinstance(one, dict) else "",
)
@pytest.mark.usefixtures("unchanged")
def test_a_wrong_parameter_is_named(endpoint: Endpoint, name: str, rules: Json, world: World) -> None:
    body = written(good_body(endpoint)).encode() if endpoint.body_model else None
    target = world.target(endpoint)
    joint = "&" if "?" in target else "?"
    for value, type_ in wrong_parameters(rules):
        for query in (f"{name}={value}", f"{name}=1&other=&{name}={value}"):
            found = problems(world.owner.ask(endpoint.method, f"{target}{joint}{query}", raw=body), query)

            assert [(each["type"], each["loc"][:2]) for each in found] == [(type_, ["query", name])], query


LISTS = ["/sessions", "/few-shot-examples"]


@pytest.mark.parametrize("path", LISTS)
def test_of_a_repeated_parameter_the_last_wins_and_unknown_ones_are_ignored(path: str, ada: Learner) -> None:
    for _ in range(3):
        ada.open_session()
        ada.add_example()

    answer = ada.get(f"{path}?size=abc&page=7&size=200&other=&other=1&page=2&size=2&nothing")

    assert answer.status == 200
    assert (answer.json["page"], answer.json["size"], len(answer.json["items"])) == (2, 2, 1)


@pytest.mark.parametrize("path", LISTS)
def test_a_page_beside_a_cursor_is_refused(path: str, ada: Learner) -> None:
    for _ in range(2):
        ada.open_session()
        ada.add_example()
    cursor = ada.get(f"{path}?size=1").json["next_cursor"]

    assert problems(ada.get(f"{path}?page=1&cursor={cursor}")) == [
        {"type": "cursor_invalid", "loc": ["query", "cursor"], "msg": "Send either a cursor or a page"}
    ]


def test_an_expanded_page_has_at_most_twenty_sessions(ada: Learner) -> None:
    assert problems(ada.get("/sessions?expand=settings&size=21")) == [
        {
            "type": "less_than_equal",
            "loc": ["query", "size"],
            "msg": "Input should be less than or equal to 20",
        }
    ]
    assert ada.get("/sessions?expand=settings&size=20").status == 200


def test_path_query_and_body_are_judged_together_in_this_order(ada: Learner) -> None:
    answer = ada.patch("/sessions/0?responses=all", {"notes": 5, "title": 5, "class_id": "x", "unknown": 5})

    assert [each["loc"] for each in problems(answer)] == [
        ["path", "session_id"],
        ["query", "responses"],
        ["body", "class_id"],
        ["body", "title"],
        ["body", "notes"],
    ]
    assert [each["type"] for each in answer.detail] == [
        "greater_than_equal",
        "int_parsing",
        "int_parsing",
        "string_type",
        "string_type",
    ]
    assert problems(ada.ask("PATCH", "/sessions/x?responses=1", raw=b"{"))[2] == malformed(1)
    assert len(problems(ada.ask("PATCH", "/sessions/x?responses=1", raw=b"\xff"))) in (
        (2, 3) if BASE_URL else (2,)
    )


@pytest.mark.parametrize(
    "endpoint", [each for each in WITH_BODY if each.path_parameters], ids=lambda each: each.name
)
def test_what_is_wrong_is_reported_before_what_is_not_there(endpoint: Endpoint, ada: Learner) -> None:
    path = endpoint.path
    for name in endpoint.path_parameters:
        path = path.replace("{" + name + "}", str(MAX_ID))

    assert problems(ada.ask(endpoint.method, path, raw=b"[]")) == [NOT_AN_OBJECT]
    anonymous = Learner(ada.send, "", 0)
    assert anonymous.ask(endpoint.method, path, raw=b"[]").status == 401


@pytest.mark.parametrize("endpoint", WITH_BODY, ids=lambda each: each.name)
def test_a_field_that_is_the_servers_is_not_written(
    endpoint: Endpoint, world: World, ben: Learner, contents_of: Callable[[Learner], Items]
) -> None:
    """Unknown fields are ignored, whatever they hold; where they are forbidden, nothing is written."""
    assert endpoint.body_model
    theirs = {
        "user_id": ben.user_id,
        "owner": ben.user_id,
        "created_at": "2001-01-01T00:00:00.000000Z",
        "updated_at": "2001-01-01T00:00:00.000000Z",
        "agent_snapshot": {"planted": True},
        "pk": f"USER#{ben.user_id}",
        "v": 99,
        "__proto__": {"planted": True},
        "": "planted",
        "\ud800": {"planted": TOO_MANY_DIGITS},
        **dict.fromkeys((*world.ids, "setting_id", "id", "model_name", "primary_id"), 77),
    }
    unknown = {name: value for name, value in theirs.items() if name not in endpoint.body_model.model_fields}
    is_strict = endpoint.body_model.model_config.get("extra") == "forbid"
    if is_strict:
        del unknown["\ud800"]  # which is not even a name, and has an error of its own
    other = contents_of(ben)

    plain = world.send(endpoint, good_body(endpoint))
    laced = world.send(endpoint, unknown | good_body(endpoint))

    if is_strict:
        assert {each["type"] for each in problems(laced)} == {"extra_forbidden"}
    elif plain.status >= 400:
        assert (laced.status, laced.body) == (plain.status, plain.body)
    else:
        assert (laced.status, set(laced.json)) == (plain.status, set(plain.json))
        same = [name for name in plain.json if name in unknown and "_id" not in name and "_at" not in name]
        assert all(laced.json[name] == plain.json[name] for name in same)
        assert laced.json.get("user_id", world.owner.user_id) == world.owner.user_id
        assert laced.json.get("created_at", "9") > "2026"
        assert laced.json.get("updated_at", "9") > "2026"
        assert 77 not in laced.json.values()
    assert contents_of(ben) == other
    assert "planted" not in str(contents_of(world.owner))


def test_the_largest_values_that_are_allowed_are_kept(ada: Learner) -> None:
    fields: Json = {
        "title": "😀" * 10_000,
        "notes": "😀" * 100_000,
        "knowledge_ids": [2**63 - number for number in range(1000)],
        **dict.fromkeys(("class_id", "project_id", "agent_id"), MAX_ID),
    }
    session = ada.open_session(**fields | {"knowledge_ids": fields["knowledge_ids"] * 10})
    assert fields.items() <= session.items()
    assert ada.get(f"/sessions/{session['session_id']}").json == session

    full = {"a": "x" * (64 * 1024 - len('{"a":""}'))}
    for meta in (
        full,
        json.loads('{"a":' * 31 + "[]" + "}" * 31),
        {"a": 10**308, "b": -(2**1000), "c": 1.7e308},
    ):
        example = ada.add_example(title="😀" * 10_000, meta=meta)
        assert (example["title"], example["meta"]) == ("😀" * 10_000, meta)
        assert ada.get(f"/few-shot-examples/{example['example_id']}").json == example
    settings = ada.patch(
        f"/sessions/{session['session_id']}/settings",
        {
            "style_params": full,
            "generation_params": {"temperature": 2, "top_p": 1, "max_tokens": MAX_ID},
            "few_shot_example_ids": [ada.add_example()["example_id"], 0, -5, MAX_ID * -1] * 2000,
        },
    )
    assert settings.status == 200
    assert settings.json["style_params"] == full
    assert len(settings.json["few_shot_links"]) == 1


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity", "7" * 5000])
def test_a_refused_constant_is_located_by_reading_each_scalar_once(ada: Learner, constant: str) -> None:
    """A megabyte of long integers before it: a pattern that starts anew at each digit would take seconds."""
    body = '{"title":"NaN \\"Infinity","knowledge_ids":[' + ",".join(["1" * 3999] * 200) + f",{constant}]}}"

    answer = ada.post("/sessions", raw=body.encode())

    assert (answer.status, answer.json["detail"][0]["loc"]) == (422, ["body", len(body) - 2 - len(constant)])
    assert sum(1 for _ in _SCALAR.finditer(body)) <= 205, "each scalar of the body is one match"
