"""However large, deep, long or odd a request is: what cannot be taken is a clear 4xx, at once, and changes nothing.

`test_bad_input.py` has what is wrong with single fields; here is what is wrong with a request as a whole, at every route.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest

from local.gateway import build_event
from local.stack import Stack
from practice.http.endpoint import Endpoint
from tests.support.account import ENDPOINTS, Account
from tests.support.learners import Answer, Learner

Json = dict[str, Any]
ItemsOf = Callable[[Learner], dict[tuple[str, str], Any]]

WITH_BODY = [each for each in ENDPOINTS if each.body_model]
WITH_PATH = [each for each in ENDPOINTS if each.path_parameters]
WITH_QUERY = [each for each in ENDPOINTS if each.query_model]


@pytest.fixture(scope="module")
def account(another_learner: Callable[[], Learner]) -> Account:
    return Account(another_learner())


@pytest.fixture(autouse=True)
def unchanged(account: Account, contents_of: ItemsOf) -> Iterator[None]:
    before = contents_of(account.owner)
    yield
    assert contents_of(account.owner) == before


def refused(answer: Answer, what: str, *statuses: int) -> None:
    assert answer.status in (statuses or (422,)), (what, answer.status, answer.body[:300])
    refusal = answer.json
    assert refusal.keys() in ({"detail"}, {"message"}), what
    assert len(answer.body) < 10_000, what


BIG = 100_000
BODIES: dict[str, bytes] = {
    "an integer": b'{"class_id": 1' + b"0" * BIG + b"}",
    "a negative integer": b'{"title": -1' + b"0" * BIG + b"}",
    "an integer in an unknown field": b'{"unknown name": [{"a": 1' + b"0" * BIG + b"}]}",
    "an integer in an array": b"[1" + b"0" * BIG + b"]",
    "an integer alone": b"9" * BIG,
    "minuses": b"-" * BIG,
    "an exponent without a number": b'{"title": 1e' + b"+" * BIG,
    "a text without an end": b'{"title": "' + b"x" * BIG,
    "backslashes": b'{"title": "' + b"\\" * (BIG + 1) + b'"}',
    "escapes that end early": b'{"title": "' + b"\\u00" * BIG + b'"}',
    "commas": b'{"title": 1' + b"," * BIG + b"}",
    "brackets": b'{"unknown name": ' + b"[" * BIG + b"]" * BIG + b"}",
    "objects in arrays": b'{"unknown name": ' + b'[{"":' * BIG + b"1" + b"}]" * BIG + b"}",
    "brackets that never close": b'{"unknown name": ' + b"[" * BIG,
    "an array of a million": b"[" + b"1," * 1_000_000 + b"1]",
    "spaces": b" " * BIG,
    "control characters": b"\x00\x01" * BIG,
}


@pytest.mark.parametrize("endpoint", WITH_BODY, ids=lambda each: each.name)
def test_a_body_without_measure_is_refused(endpoint: Endpoint, account: Account) -> None:
    for name, raw in BODIES.items():
        refused(account.owner.ask(endpoint.method, account.target(endpoint), raw=raw), name)


def test_a_body_of_more_than_ten_megabytes_stops_at_the_gateway(account: Account) -> None:
    for endpoint in ENDPOINTS:
        answer = account.owner.ask(
            endpoint.method, account.target(endpoint), raw=b"x" * (10 * 1024 * 1024 + 1)
        )

        assert (answer.status, answer.json) == (413, {"message": "Request Entity Too Large"}), endpoint.name


NUMBERS = ("9" * BIG, "-" + "9" * BIG, "1" + "." * 5000, "1e99999", "٣", "１", "0x1", "--1", "")
PERCENT = ("%", "%Z", "%ZZ", "%E0%A4%A", "%C0%80", "%FF", "%00", "%u0031", "%25", "%ED%A0%80", "%F4%90%80%80")


@pytest.mark.parametrize("endpoint", WITH_PATH, ids=lambda each: each.name)
def test_an_id_without_measure_is_refused_in_a_path(
    endpoint: Endpoint, account: Account, stack: Stack
) -> None:
    """Behind the gateway too, which takes no such path."""
    match = stack.gateway.router.match(endpoint.method, account.target(endpoint))
    assert match
    headers = {"authorization": f"Bearer {account.owner.token}"}
    for name in endpoint.path_parameters:
        for value in (*NUMBERS, *PERCENT, "\ud800", "1\n2", "\0"):
            event = build_event(endpoint.method, account.target(endpoint), headers, b"{}", match)
            event["pathParameters"] = match.path_parameters | {name: value}

            answer = stack.invoker.invoke(match.route.function, event)

            assert answer["statusCode"] in (404, 422), (value[:20], answer)
            assert len(answer["body"]) < 1000


@pytest.mark.parametrize("endpoint", WITH_QUERY, ids=lambda each: each.name)
def test_a_query_without_measure_is_refused(endpoint: Endpoint, account: Account) -> None:
    assert endpoint.query_model
    for field, info in endpoint.query_model.model_fields.items():
        name = info.alias or field
        for value in (*map(quote, NUMBERS), *PERCENT, "x" * 8192):
            answer = account.owner.ask(
                endpoint.method, account.target(endpoint, f"{name}={value}"), raw=b"{}"
            )

            refused(answer, f"{name}={value[:20]}", 414, 422, 431)


@pytest.mark.parametrize("endpoint", WITH_QUERY, ids=lambda each: each.name)
def test_a_query_of_ten_thousand_parameters_is_answered_by_its_content(
    endpoint: Endpoint, account: Account, stack: Stack
) -> None:
    """The gateway stops long before."""
    where = account.target(endpoint)
    match = stack.gateway.router.match(endpoint.method, where.partition("?")[0])
    assert match
    headers = {"authorization": f"Bearer {account.owner.token}"}
    event = build_event(endpoint.method, where, headers, b"[", match)
    for query in (
        "&".join(f"p{number}=%{number}" for number in range(10_000)),
        "&" * BIG,
        "=" * BIG,
        "a;" * BIG,
    ):
        refusal = f"{query}&{event['rawQueryString']}" if event["rawQueryString"] else query

        answer = stack.invoker.invoke(match.route.function, event | {"rawQueryString": refusal})

        assert answer["statusCode"] in (200, 404, 409, 422), query[:20]


HEADERS: dict[str, str] = {
    "if-match": '"' + "1" * 8000 + '"',
    "idempotency-key": "k" * 256,
    "prefer": "respond-async;" * 500,
    "content-type": "application/json;" + "a=b;" * 2000,
    "accept": "*/*," * 2000,
    "x-unknown-name": "x" * 9000,
}


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda each: each.name)
def test_a_header_without_measure_is_refused_or_ignored(endpoint: Endpoint, account: Account) -> None:
    where = account.target(endpoint, "", **dict.fromkeys(endpoint.path_parameters, 2**53 - 1))
    plain = account.owner.ask(endpoint.method, where, raw=b"[")
    for name, value in HEADERS.items():
        answer = account.owner.ask(endpoint.method, where, raw=b"[", headers={name: value})

        assert answer.status == plain.status or 400 <= answer.status < 500, name
        assert answer.status != 401, name


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda each: each.name)
def test_headers_without_number_are_refused_or_ignored(
    endpoint: Endpoint, account: Account, stack: Stack
) -> None:
    """At the gateway by their size; behind it ten thousand of them are as good as none."""
    where = account.target(endpoint, "", **dict.fromkeys(endpoint.path_parameters, 2**53 - 1))
    plain = account.owner.ask(endpoint.method, where, raw=b"[")
    many = {f"x-{number}": "x" * 1000 for number in range(10_000)}
    refused(account.owner.ask(endpoint.method, where, raw=b"[", headers=many), "many headers", 413, 431)
    match = stack.gateway.router.match(endpoint.method, where.partition("?")[0])
    assert match
    few = {f"x-{number}": "x" for number in range(10_000)} | {
        "authorization": f"Bearer {account.owner.token}"
    }
    event = build_event(endpoint.method, where, few, b"[", match)
    assert stack.invoker.invoke(match.route.function, event)["statusCode"] == plain.status


@pytest.mark.parametrize("endpoint", WITH_BODY, ids=lambda each: each.name)
def test_of_a_key_that_comes_twice_the_last_is_judged(endpoint: Endpoint, account: Account) -> None:
    """A thousand times too, and in a free-form object: what is refused is the one that would be kept."""
    assert endpoint.body_model
    name = next(iter(endpoint.body_model.model_fields))
    pairs = ",".join(f'"{name}": null' for _ in range(1000))
    for raw in (f'{{{pairs}, "{name}": {{"a": []}}}}', f'{{"{name}": 1, "{name}": [[{{}}]]}}'):
        answer = account.owner.ask(endpoint.method, account.target(endpoint), raw=raw.encode())

        refused(answer, raw[:40])
        assert name in {problem["loc"][1] for problem in answer.detail}


@pytest.mark.parametrize("endpoint", WITH_BODY, ids=lambda each: each.name)
def test_a_token_without_measure_is_refused(endpoint: Endpoint, account: Account) -> None:
    for token in ("." * 9000, "a." * 4000, account.owner.token + "=" * 9000, "e30." * 3):
        answer = account.owner.ask(
            endpoint.method,
            account.target(endpoint),
            raw=b"{}",
            headers={"authorization": f"Bearer {token}"},
        )
        refused(answer, token[:20], 401)


def test_a_body_may_nest_as_deep_as_it_is_allowed_to_and_no_deeper(account: Account) -> None:
    for depth, status in ((31, 201), (32, 422), (900, 422)):
        meta = json.loads('{"a":' * depth + "{}" + "}" * depth)
        answer = account.owner.post("/few-shot-examples", {"input_text": "", "output_text": "", "meta": meta})

        assert answer.status == status, depth
        if status == 201:
            account.owner.delete(f"/few-shot-examples/{answer.json['example_id']}")
