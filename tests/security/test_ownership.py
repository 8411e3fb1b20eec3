"""Another learner's id is an unknown id: same answer, same work, and nothing of theirs is read or written.

Every route times every id that it takes, in its path, its query, its body and its cursor, and every id that the other
learner has. A new route, or a new field whose name ends in `_id` or `_ids`, is tried without a word here.
"""

import json
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import pytest

from practice.http.endpoint import Endpoint
from practice.limits import MAX_ID
from practice.store import accounts
from practice.store.idempotency import IdempotentAttempt
from tests.support.account import ENDPOINTS, Account, query_string
from tests.support.hooks import hooked
from tests.support.learners import BASE_URL, Answer, Learner
from tests.support.torture import count
from tools.openapi import document

pytestmark = pytest.mark.trust

Json = dict[str, Any]
ItemsOf = Callable[[Learner], dict[tuple[str, str], Any]]

NOBODYS = MAX_ID - 7
LISTS = [each for each in ENDPOINTS if each.query_model and "cursor" in each.query_model.model_fields]
REPEATABLE = [each for each in ENDPOINTS if each.takes_a(IdempotentAttempt)]
BY_NAME = {each.name: each for each in ENDPOINTS}
LEADING_KEY = re.compile(rb'"((?:USER|CLASS|AGENT|IDS)#\d+)(?:#ACCOUNT)?"')


@dataclass
class Seen:
    """The leading keys of each request to the table."""

    requests: list[tuple[str, set[str]]] = field(default_factory=list)

    @property
    def operations(self) -> list[str]:
        """Without the lease of new ids, which is taken now and then."""
        return sorted(
            operation
            for operation, found in self.requests
            if any(not key.startswith("IDS#") for key in found)
        )

    def only_of(self, who: Learner) -> None:
        for operation, found in self.requests:
            assert found, operation
            users = {key for key in found if key.startswith("USER#")}
            assert users <= {f"USER#{who.user_id}"}, (operation, found)


@contextmanager
def watched() -> Iterator[Seen]:
    seen = Seen()
    if BASE_URL:  # its functions ask their table elsewhere: the answers alone are compared
        yield seen
        return

    def note(request: Any, **_: Any) -> None:
        operation = request.headers["X-Amz-Target"].decode().rpartition(".")[2]
        seen.requests.append((operation, {key.decode() for key in LEADING_KEY.findall(request.body)}))

    with hooked("before-send.dynamodb", note):
        yield seen


@pytest.fixture(scope="module")
def theirs(another_learner: Callable[[], Learner]) -> Account:
    return Account(another_learner(), "theirs")


@pytest.fixture(scope="module")
def mine(another_learner: Callable[[], Learner]) -> Account:
    return Account(another_learner(), "mine")


@pytest.fixture(autouse=True)
def a_standing_that_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading it, once a minute, is no part of the work for any one request."""
    monkeypatch.setattr(accounts, "REMEMBERED_SECONDS", math.inf)


@pytest.fixture(autouse=True)
def unchanged(theirs: Account, contents_of: ItemsOf) -> Iterator[None]:
    """No item of the other learner's changes."""
    before = contents_of(theirs.owner)
    assert before
    yield
    assert contents_of(theirs.owner) == before


def ask(
    account: Account, endpoint: Endpoint, path: str, query: Json, body: Json, **headers: str
) -> tuple[Answer, Seen]:
    """With what was asked of the table, all of it the account's own or unknown."""
    target = path + query_string(endpoint, urlencode(query))
    raw = b"" if endpoint.takes else json.dumps(body).encode()
    with watched() as seen:
        answer = account.owner.ask(endpoint.method, target, raw=raw, headers=headers)
    seen.only_of(account.owner)
    return answer, seen


def shown(answer: Answer) -> Any:
    """An answer without what differs between any two: ids, times, the request's own name, and what is said of the connection
    (RFC 9110, 7.6.1: a server closes one after so many requests)."""
    headers = {
        name: value
        for name, value in answer.headers.items()
        if "request" not in name and name not in ("location", "date", "content-length", "connection")
    }
    return answer.status, headers, plain(json.loads(answer.body)) if answer.body else None


MEASURED = ("latency_ms", "first_token_ms")


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items() if name not in MEASURED}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, int) and value >= 1000:
        return "id"
    return "time" if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", value) else value


PATH_IDS = [(endpoint, name) for endpoint in ENDPOINTS for name in endpoint.path_parameters]


@pytest.mark.parametrize(("endpoint", "name"), PATH_IDS, ids=lambda one: getattr(one, "name", one))
def test_an_id_of_another_learner_in_a_path_is_an_unknown_one(
    endpoint: Endpoint, name: str, mine: Account, theirs: Account, contents_of: ItemsOf
) -> None:
    body = mine.body_of(endpoint)
    before = contents_of(mine.owner)
    unknown, asked = ask(mine, endpoint, mine.path_of(endpoint, **{name: NOBODYS}), {}, body)
    assert unknown.status == 404

    for kind, foreign in theirs.ids.items():
        answer, seen = ask(mine, endpoint, mine.path_of(endpoint, **{name: foreign}), {}, body)
        count("attacks")

        assert shown(answer) == shown(unknown), kind
        assert answer.body == unknown.body, kind
        assert seen.operations == asked.operations, kind
    assert contents_of(mine.owner) == before


def id_fields(schema: Json, definitions: Json, place: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Fields that hold ids or arrays of them."""
    for name, rules in schema.get("properties", {}).items():
        if re.search(r"_ids?$", name):
            yield (*place, name)
        for inner in (rules, *rules.get("anyOf", ())):
            named = inner.get("$ref", "").rpartition("/")[2]
            yield from id_fields(definitions[named] if named else inner, definitions, (*place, name))


def id_fields_of(endpoint: Endpoint) -> list[tuple[str, ...]]:
    schema = endpoint.body_model.model_json_schema() if endpoint.body_model else {}
    return list(id_fields(schema, schema.get("$defs", {})))


BODY_IDS = [(endpoint, place) for endpoint in ENDPOINTS for place in id_fields_of(endpoint)]


@pytest.mark.parametrize(
    ("endpoint", "place"), BODY_IDS, ids=lambda one: one.name if isinstance(one, Endpoint) else ".".join(one)
)
def test_an_id_of_another_learner_in_a_body_is_an_unknown_one(
    endpoint: Endpoint, place: tuple[str, ...], mine: Account, theirs: Account
) -> None:
    def answer_to(number: int) -> tuple[Answer, Seen]:
        body = mine.body_of(endpoint)
        inner = body
        for step in place[:-1]:
            inner = inner[step]
        inner[place[-1]] = [number] if place[-1].endswith("s") else number
        return ask(mine, endpoint, mine.path_of(endpoint), {}, body)

    answer_to(NOBODYS - 1)  # a PATCH changes something the first time
    unknown, asked = answer_to(NOBODYS)
    for kind, foreign in theirs.ids.items():
        answer, seen = answer_to(foreign)
        count("attacks")

        assert shown(answer)[0] == shown(unknown)[0], kind
        assert shown(answer)[2] == shown(unknown)[2], kind
        assert {*seen.operations} == {*asked.operations}, kind
        assert str(theirs.text) not in answer.body.decode(), kind


@pytest.mark.parametrize("route", [endpoint.name for endpoint, place in BODY_IDS if place[-1] == "agent_id"])
def test_an_agent_that_is_not_shared_is_not_accessible(
    route: str, mine: Account, theirs: Account, announce_agent: Callable[..., int]
) -> None:
    """The one exception, the contract's own: an agent that was never announced is no error, one of another learner is."""
    endpoint = BY_NAME[route]
    private = announce_agent(theirs.owner.user_id, name="theirs", system_prompt="theirs")

    answer, _ = ask(
        mine, endpoint, mine.path_of(endpoint), {}, mine.body_of(endpoint) | {"agent_id": private}
    )

    assert (answer.status, answer.json) == (404, {"detail": "agent not found or not accessible"})


QUERY_IDS = [
    (endpoint, name)
    for endpoint in ENDPOINTS
    if endpoint.query_model
    for name in endpoint.query_model.model_fields
    if re.search(r"_ids?$", name)
]


@pytest.mark.parametrize(("endpoint", "name"), QUERY_IDS, ids=lambda one: getattr(one, "name", one))
def test_an_id_of_another_learner_in_a_query_is_an_unknown_one(
    endpoint: Endpoint, name: str, another_learner: Callable[[], Learner], theirs: Account
) -> None:
    mine = Account(another_learner(), "mine")
    body = mine.body_of(endpoint)
    unknown, asked = ask(mine, endpoint, mine.path_of(endpoint), {name: NOBODYS}, body)

    for kind, foreign in theirs.ids.items():
        answer, seen = ask(mine, endpoint, mine.path_of(endpoint), {name: foreign}, body)
        count("attacks")

        assert shown(answer) == shown(unknown), kind
        assert {*seen.operations} == {*asked.operations}, kind


# Cursors


@pytest.fixture(scope="module")
def reader(another_learner: Callable[[], Learner]) -> Account:
    """With more of everything than a page of one shows."""
    account = Account(another_learner(), "theirs")
    account.owner.open_session()
    account.owner.add_example()
    for _ in range(2):
        account.owner.add_response({"session_id": account.ids["session_id"]})
    return account


def cursor_of(account: Account, endpoint: Endpoint, **query: object) -> str:
    answer = account.owner.get(f"{account.path_of(endpoint)}?{urlencode({'size': 1, **query})}")
    found = answer.headers.get("x-next-cursor") or answer.json.get("next_cursor")
    if not found:
        pytest.skip("continues by a cursor only what is larger than an answer")
    return str(found)


@pytest.mark.parametrize("endpoint", LISTS, ids=lambda each: each.name)
def test_a_cursor_is_good_for_one_learner_and_one_list(
    endpoint: Endpoint, reader: Account, mine: Account
) -> None:
    cursor = cursor_of(reader, endpoint)
    assert reader.owner.get(f"{reader.path_of(endpoint)}?cursor={cursor}").status == 200

    for other in LISTS:
        for account, path in (
            (mine, mine.path_of(other)),
            (mine, reader.path_of(other)),
            (reader, reader.path_of(other)),
        ):
            if (account, other) == (reader, endpoint):
                continue
            made_up, asked = ask(account, other, path, {"cursor": "A" * len(cursor)}, {})
            answer, seen = ask(account, other, path, {"cursor": cursor}, {})

            assert (answer.status, answer.detail[0]["type"]) == (422, "cursor_invalid"), other.name
            assert (answer.status, answer.body) == (made_up.status, made_up.body), other.name
            assert seen.operations == asked.operations == [], other.name


@pytest.mark.parametrize("endpoint", LISTS, ids=lambda each: each.name)
def test_a_cursor_is_good_for_its_filters_alone(endpoint: Endpoint, reader: Account) -> None:
    assert endpoint.query_model
    filters = endpoint.query_model.model_fields.keys() - {"page", "size", "cursor", "expand"}
    path, cursor = reader.path_of(endpoint), cursor_of(reader, endpoint)

    for name in filters:
        value = values_of(endpoint, name)[-1]
        answer = reader.owner.get(f"{path}?{name}={value}&cursor={cursor}")

        assert (answer.status, answer.detail[0]["type"]) == (422, "cursor_invalid"), name


def values_of(endpoint: Endpoint, name: str) -> list[str]:
    """What a parameter may be; of its values the first is the default."""
    contract = document()
    parameters = contract["paths"][endpoint.path][endpoint.method.lower()]["parameters"]
    [schema] = [each["schema"] for each in parameters if each.get("name") == name]
    named = schema.get("$ref", "").rpartition("/")[2]
    found: list[str] = (contract["components"]["schemas"][named] if named else schema).get("enum", ["1"])
    return found


@pytest.mark.parametrize("endpoint", LISTS, ids=lambda each: each.name)
def test_a_cursor_with_any_character_changed_is_refused(endpoint: Endpoint, reader: Account) -> None:
    path, cursor = reader.path_of(endpoint), cursor_of(reader, endpoint)
    forged = [
        cursor[:place] + ("A" if cursor[place] != "A" else "B") + cursor[place + 1 :]
        for place in range(len(cursor))
    ]
    cut = [cursor[:length] for length in range(1, len(cursor))]
    others = [
        cursor + "A",
        cursor + "=",
        cursor + "%00",
        cursor[::-1],
        cursor.swapcase(),
        cursor * 9,
        "%20" + cursor,
        "é",
    ]

    for each in forged + cut + others:
        answer, seen = ask(reader, endpoint, f"{path}?cursor={each}", {}, {})
        count("attacks")

        assert answer.status == 422, each
        assert [problem["loc"] for problem in answer.detail] == [["query", "cursor"]], each
        assert seen.requests == []


# Idempotency keys, exports and imports


@pytest.mark.parametrize("endpoint", REPEATABLE, ids=lambda each: each.name)
def test_two_learners_may_use_the_same_idempotency_key(
    endpoint: Endpoint, another_learner: Callable[[], Learner]
) -> None:
    key = {"idempotency-key": "the same"}
    one, other = Account(another_learner(), "theirs"), Account(another_learner(), "mine")
    first, _ = ask(one, endpoint, one.path_of(endpoint), {}, one.body_of(endpoint), **key)
    assert first.status in (201, 202)

    answer, _ = ask(other, endpoint, other.path_of(endpoint), {}, other.body_of(endpoint), **key)

    assert answer.status == first.status
    assert "theirs" not in answer.body.decode()
    again, _ = ask(one, endpoint, one.path_of(endpoint), {}, one.body_of(endpoint), **key)
    assert again.body == first.body


def test_another_learners_export_becomes_ones_own_and_takes_nothing_from_them(
    theirs: Account, another_learner: Callable[[], Learner], contents_of: ItemsOf
) -> None:
    file = theirs.owner.get("/export").body
    thief = another_learner()

    with watched() as seen:
        answer = thief.post("/import", raw=file, headers={"content-type": "application/x-ndjson"})

    assert answer.status == 201, answer.body
    seen.only_of(thief)
    assert not {str(number) for number in theirs.ids.values()} & set(
        re.findall(r"\d+", str(contents_of(thief)))
    )
