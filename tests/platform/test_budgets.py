"""What each endpoint asks of the table, counted on the real engine: `docs/table.md` is its price list.

The standard session has 5 selected examples, 20 responses and 3 models, 22 KB in all. A second library has a hundred
times as many sessions and examples around it: nothing may cost more there.
"""

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from local.stack import Stack
from practice.caller import Caller
from practice.store import accounts
from practice.table import ids
from tests.support.learners import Answer, Learner, Send, learner, new_user_id
from tests.support.lists import assert_complete
from tests.support.reads import reads
from tools.openapi import endpoints

Json = dict[str, Any]
Items = dict[tuple[str, str], Any]

TABLE = Path(__file__).parents[2] / "docs" / "table.md"
READS = {"Query", "GetItem", "BatchGetItem"}
CLASS_OF_THREE = 4_100_000_001


class Cost(NamedTuple):
    requests: str
    """In their order: `Query + UpdateItem`."""
    read_units: float
    write_units: float


class Library(NamedTuple):
    """A learner with a standard session."""

    learner: Learner
    session: int
    model: int
    response: int
    examples: list[int]

    @property
    def path(self) -> str:
        return f"/sessions/{self.session}"


Count = Callable[[Callable[[], Answer]], Cost]


@pytest.fixture(autouse=True)
def revocations_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking for them has a price of its own, once in a while."""
    monkeypatch.setattr(accounts, "REMEMBERED_SECONDS", 3600.0)


@pytest.fixture
def count(requests_to_table: Callable[[], Any], needs: Callable[[str], None]) -> Count:
    needs("capacity")

    def measure(call: Callable[[], Answer]) -> Cost:
        with requests_to_table() as requests:
            answer = call()
        assert answer.status < 300, answer.body[:500]
        return Cost(
            " + ".join(operation for operation, _ in requests),
            sum(units for operation, units in requests if operation in READS),
            sum(units for operation, units in requests if operation not in READS),
        )

    return measure


def standard(who: Learner) -> Library:
    def text(length: int, about: str) -> str:
        return (about * length)[:length]

    examples = [
        who.add_example(
            title=f"Example {number}",
            input_text=text(300, "What is it? "),
            output_text=text(300, "It is this. "),
            meta={"level": number},
        )["example_id"]
        for number in range(5)
    ]
    opened = who.open_session(
        class_id=CLASS_OF_THREE,
        title="Prompting 101",
        notes=text(400, "To be tried again. "),
        knowledge_ids=[1, 2, 3],
    )
    session = opened["session_id"]
    who.patch(
        f"/sessions/{session}/settings", {"few_shot_example_ids": examples, "style_params": {"tone": "calm"}}
    )
    models = [each["session_model_id"] for each in who.models_of(opened)]
    assert len(models) == 3
    newest = 0
    for number in range(20):
        body = {
            "prompt_text": text(120, f"Question {number}? "),
            "response_text": text(420, f"Answer {number}. "),
            "token_usage": {"prompt_tokens": 40, "completion_tokens": 120, "total_tokens": 160},
            "latency_ms": 850,
        }
        newest = who.post(f"/models/{models[number % 3]}/responses", body).json["response_id"]
    return Library(who, session, models[0], newest, examples)


@pytest.fixture(scope="module")
def small(stack: Stack, send: Send) -> Library:
    """Ten sessions, ten examples, one of the sessions the standard one."""
    announced = {
        "version": 1,
        "updated_at": "2026-01-01T00:00:00Z",
        "class_id": CLASS_OF_THREE,
        "status": "active",
        "primary_model": "alpha",
        "allowed_models": ["beta", "gamma"],
    }
    event = {"source": "practice.catalogue", "detail-type": "ClassUpdated", "detail": announced}
    handed = send("POST", "/_local/events", {"host": "localhost"}, json.dumps(event).encode())
    assert handed.status == 200, handed.body
    # Ids of one length, since a digit more in each of them may be a unit more.
    who = learner(send, stack.token_secret, 10**15 + new_user_id() % 10**14)
    for _ in range(5):
        who.open_session()
        who.add_example()
    library = standard(who)
    for _ in range(4):
        who.open_session()
    return library


@pytest.fixture(scope="module")
def large(small: Library, stack: Stack, items_of: Callable[[Learner], Items]) -> Library:
    """The same learner's copy with a thousand sessions and as many examples more, put straight into the table."""
    who = learner(small.learner.send, stack.token_secret, small.learner.user_id + 10**14)
    own = [renamed(item, small.learner.user_id, who.user_id) for item in items_of(small.learner).values()]
    copied = list(own)
    for prefix in ("SESSION#", "EXAMPLE#"):
        first = min(int(item["sk"]["S"].split("#")[1]) for item in own if item["sk"]["S"].startswith(prefix))
        template = [item for item in own if item["sk"]["S"].startswith(f"{prefix}{first:016d}")]
        for number in range(1000):
            second = f"{2025 + 2 * (number % 2)}-01-01T00:{number // 60:02d}:{number % 60:02d}"
            copied += [renamed(item, first, 2**51 + number * 2**15, second) for item in template]
    account = next(item for item in copied if item["sk"]["S"] == "ACCOUNT")
    for name in ("sessions", "examples"):
        account[name] = {"N": str(int(account[name]["N"]) + 1000)}
    client = stack.engine.client()
    table = stack.template.environment["TABLE_NAME"]
    for start in range(0, len(copied), 25):
        puts: Any = [{"PutRequest": {"Item": item}} for item in copied[start : start + 25]]
        assert not client.batch_write_item(RequestItems={table: puts})["UnprocessedItems"]
    assert who.get("/sessions").json["total"] == small.learner.get("/sessions").json["total"] + 1000
    return small._replace(learner=who)


def renamed(item: Json, old: int, new: int, second: str = "") -> Json:
    """An item with another id in every place, and another time."""
    assert "z" not in item
    text = json.dumps(
        {name: sorted(value) if isinstance(value, set) else value for name, value in item.items()}
    )
    text = text.replace(f"{old:016d}", f"{new:016d}")
    text = re.sub(rf"\b{old}\b", str(new), text)
    if second:
        text = re.sub(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d", second, text)
    made: Json = json.loads(text)
    return made


# The prices


NOT_AS_THEY_ARE = {"list_sessions", "list_examples", "get_rating", "get_standings"}
"""Read with a query or after something else, by a call of their own."""
WITHOUT_A_PRICE = {"openapi", "create_export"}


def priced(library: Library) -> Iterator[tuple[str, Callable[[], Answer]]]:
    """One call of every endpoint, those that change things last."""
    who, path = library.learner, library.path
    example, response, model = library.examples[0], library.response, library.model
    ids = {
        "session_id": library.session,
        "session_model_id": model,
        "response_id": response,
        "example_id": example,
    }
    for name, read in reads(ids):
        if name not in NOT_AS_THEY_ARE | WITHOUT_A_PRICE:
            yield name, partial(who.get, read)
    yield "get_session?responses=0", lambda: who.get(f"{path}?responses=0")
    yield "get_usage?class_id", lambda: who.get("/usage?class_id=101")
    yield "list_sessions", lambda: who.get("/sessions?size=5")
    yield "list_sessions?cursor", following(who, "/sessions?size=2")
    yield "list_sessions?sort=activity", lambda: who.get("/sessions?size=5&sort=activity")
    yield "list_examples", lambda: who.get("/few-shot-examples?size=5")
    yield "list_examples?cursor", following(who, "/few-shot-examples?size=2")
    yield "get_turn", lambda: who.get(f"{path}/turns/{response}")
    yield "update_session", lambda: who.patch(path, {"title": "Prompting 102"})
    yield "update_session?responses=0", lambda: who.patch(f"{path}?responses=0", {"title": "Prompting 103"})
    yield "update_session (nothing changed)", lambda: who.patch(path, {"title": "Prompting 103"})
    yield "update_settings", lambda: who.patch(f"{path}/settings", {"style_params": {"tone": "warm"}})
    yield "update_model", lambda: who.patch(f"/models/{model}", {"generation_params": {"temperature": 0.1}})
    yield (
        "add_model",
        lambda: who.post(f"{path}/models", {"model_name": "beta", "generation_params": {"top_p": 0.1}}),
    )
    yield "update_response", lambda: who.patch(f"/responses/{response}", {"latency_ms": 900})
    yield "update_example", lambda: who.patch(f"/few-shot-examples/{example}", {"title": "Example X"})
    yield (
        "add_response",
        lambda: who.post(f"/models/{model}/responses", {"prompt_text": "Why?", "response_text": "So."}),
    )
    yield "create_example", lambda: who.post("/few-shot-examples", {"input_text": "a", "output_text": "b"})
    yield "create_session", lambda: who.post("/sessions", {"class_id": CLASS_OF_THREE})
    asked = who.post(f"{path}/chat", {"prompt_text": "Why?"}).json["results"]
    leaf = asked[0]["response_id"]
    yield "get_turn (of a chat)", lambda: who.get(f"{path}/turns/{leaf}")
    yield "list_turns?leaf", lambda: who.get(f"{path}/turns?leaf={leaf}&size=5")
    turn, answer = a_judged_turn(who)
    yield "get_blind_turn", lambda: who.get(f"{turn}/blind")
    yield "put_vote", lambda: who.put(f"{turn}/vote", {"label": "A"})
    yield "put_vote (changed)", lambda: who.put(f"{turn}/vote", {"tie": "good"})
    yield "put_vote (nothing changed)", lambda: who.put(f"{turn}/vote", {"tie": "good"})
    yield "get_vote", lambda: who.get(f"{turn}/vote")
    yield "delete_vote", lambda: who.delete(f"{turn}/vote")
    yield "get_standings", lambda: who.get(f"/standings?class_id={CLASS_OF_THREE}")
    rating = f"/responses/{answer}/rating"
    yield "put_rating", lambda: who.put(rating, {"score": 4, "tags": ["clear"]})
    yield "put_rating (changed)", lambda: who.put(rating, {"score": 3, "tags": ["clear"]})
    yield "get_rating", lambda: who.get(rating)
    yield "delete_rating", lambda: who.delete(rating)
    yield "delete_response (of a turn)", lambda: who.delete(f"/responses/{answer}")
    who.put(f"{turn}/vote", {"tie": "bad"})
    yield A_VOTE_GOES_TOO, lambda: who.delete(f"/responses/{answer + 1}")
    yield "delete_response", lambda: who.delete(f"/responses/{response}")
    yield "delete_model", lambda: who.delete(f"/models/{model}")
    yield "delete_example", lambda: who.delete(f"/few-shot-examples/{example}")
    yield "delete_session", lambda: who.delete(path)


def a_judged_turn(who: Learner) -> tuple[str, int]:
    """The path of a turn that was voted on in its class before, and its first answer."""
    session = who.open_session(class_id=CLASS_OF_THREE)
    turns = [
        who.post(f"/sessions/{session['session_id']}/chat", {"prompt_text": "Which is best?"})
        for _ in range(2)
    ]
    for each in turns:
        assert who.put(f"{each.headers['location']}/vote", {"label": "B"}).status == 200
    assert who.delete(f"{turns[1].headers['location']}/vote").status == 204
    return turns[1].headers["location"], turns[1].json["results"][0]["response_id"]


def following(who: Learner, path: str) -> Callable[[], Answer]:
    """The page after the first."""
    return lambda: who.get(f"{path}&cursor={CURSORS[who.user_id, path]}")


CURSORS: dict[tuple[int, str], str] = {}


def measured(library: Library, count: Count) -> dict[str, Cost]:
    who = library.learner
    for path in ("/sessions?size=2", "/few-shot-examples?size=2"):
        CURSORS[who.user_id, path] = who.get(path).json["next_cursor"]
    while not ids._lease.units or not ids._lease.loose:  # a block of ids has its own price
        who.add_example()
        who.open_session()
    return {name: count(call) for name, call in priced(library)}


@pytest.fixture(scope="module")
def price_list() -> dict[str, Cost]:
    """The table under "What each endpoint asks"."""
    rows = re.findall(
        r"^\| ([a-z_]+[^|]*) \| ([A-Za-z +]+) \| ([\d.]+) \| ([\d.]+) \|$", TABLE.read_text(), re.MULTILINE
    )
    return {name: Cost(requests, float(reads), float(writes)) for name, requests, reads, writes in rows}


def row(name: str, cost: Cost) -> str:
    return f"| {name} | {cost.requests} | {cost.read_units:g} | {cost.write_units:g} |"


def test_every_endpoint_costs_its_price_in_a_small_library_and_a_large_one(
    small: Library, large: Library, count: Count, price_list: dict[str, Cost]
) -> None:
    in_large = measured(large, count)
    in_small = measured(small, count)

    assert in_large == in_small
    differing = [row(name, cost) for name, cost in in_small.items() if price_list.get(name) != cost]
    assert not differing, "docs/table.md should say:\n" + "\n".join(differing)
    assert_complete(
        in_small, price_list, "a call to tests/platform/test_budgets.py (`priced`), or a row to docs/table.md"
    )


AT_MOST = {
    "get_session": 2,
    "update_session": 3,
    "update_settings": 3,
    "create_session": 2,
    **dict.fromkeys(("get_response", "update_response", "delete_response"), 2),
    **dict.fromkeys(("update_model", "delete_model", "get_example", "update_example", "delete_example"), 2),
    **dict.fromkeys(("list_sessions", "list_examples", "list_responses", "list_session_responses"), 2),
    **dict.fromkeys(("get_settings", "list_models", "get_effective_parameters"), 2),
}
"""Requests, one after the other, that no change may exceed."""
A_VOTE_GOES_TOO = "delete_response (with a vote)"


@pytest.mark.parametrize("name", AT_MOST)
def test_no_endpoint_makes_more_requests_than_it_may(name: str, price_list: dict[str, Cost]) -> None:
    costs = [
        cost
        for variant, cost in price_list.items()
        if re.split(r"[? ]", variant)[0] == name and variant != A_VOTE_GOES_TOO
    ]

    assert costs, f"docs/table.md has no row of {name}"
    assert all(len(cost.requests.split(" + ")) <= AT_MOST[name] for cost in costs)


def test_every_function_that_takes_requests_is_in_the_table_document() -> None:
    text = TABLE.read_text()

    named = [each.name for each in endpoints() if each.takes_a(Caller)]
    assert_complete(
        (name for name in named if name in text),
        named,
        "`priced` in tests/platform/test_budgets.py, which then prints its row for docs/table.md",
    )


def test_every_index_and_every_attribute_of_one_is_in_the_table_document(stack: Stack) -> None:
    text = TABLE.read_text()
    for index in stack.template.table["LocalSecondaryIndexes"]:
        [line] = [line for line in text.splitlines() if line.startswith(f"| `{index['IndexName']}` |")]
        named = [each["AttributeName"] for each in index["KeySchema"] if each["KeyType"] == "RANGE"]
        assert all(f"`{name}`" in line for name in named + index["Projection"].get("NonKeyAttributes", []))


def test_every_kind_of_item_and_its_attributes_are_in_the_table_document(
    small: Library, items_of: Callable[[Learner], Items]
) -> None:
    rows = [
        line for line in TABLE.read_text().partition("## Indexes")[0].splitlines() if line.startswith("| ")
    ]
    kinds: dict[str, set[str]] = {}
    for (_, sk), item in items_of(small.learner).items():
        kind = re.sub(r"\d{4}-\d\d-\d\d|\d{6,}", "<>", sk)
        kinds.setdefault(kind, set()).update(item)

    for kind, names in kinds.items():
        found = [line for line in rows if kind in re.sub(r"<\w+>", "<>", line)]
        assert found, f"docs/table.md has no row for items of the kind {kind}, with {sorted(names)}"
        attributes = names - {"pk", "sk", "v", "doc", "z", "parts"}
        spelled = {
            f"`{kind}:" if colon else f"`{kind}`" for kind, colon, _ in (a.partition(":") for a in attributes)
        }
        missing = sorted(name for name in spelled if name not in found[0])
        assert not missing, f"add {missing} to the row of {kind} in docs/table.md"


@pytest.mark.parametrize(("size", "requests"), [(98, 2), (99, 2), (100, 3), (199, 3), (200, 4)])
@pytest.mark.parametrize("path", ["/sessions", "/few-shot-examples"])
def test_a_long_page_is_one_request_more_for_a_hundred_items(
    path: str, size: int, requests: int, large: Library, count: Count
) -> None:
    cost = count(lambda: large.learner.get(f"{path}?size={size}"))

    assert cost.requests == " + ".join(["Query"] + ["BatchGetItem"] * (requests - 1))


@pytest.mark.parametrize("path", ["/sessions", "/few-shot-examples", "/sessions?sort=activity"])
def test_a_cursor_costs_the_same_at_any_depth(path: str, large: Library, count: Count) -> None:
    who = large.learner
    path = path + ("&" if "?" in path else "?") + "size=40"
    page = who.get(path)
    costs = set()
    for _ in range(20):
        cursor = page.json["next_cursor"]
        costs.add(count(lambda cursor=cursor: who.get(f"{path}&cursor={cursor}")))  # type: ignore[misc]
        page = who.get(f"{path}&cursor={cursor}")

    assert len(costs) == 1


def test_another_learners_id_costs_what_an_unknown_one_costs(
    small: Library, large: Library, ben: Learner, requests_to_table: Callable[[], Any]
) -> None:
    ben.open_session()
    for found in (
        f"/sessions/{small.session}",
        f"/sessions/{small.session}/settings",
        f"/sessions/{small.session}/models",
        f"/sessions/{small.session}/responses",
        f"/models/{small.model}/responses",
        f"/responses/{small.response}",
        f"/few-shot-examples/{small.examples[0]}",
    ):
        spent = []
        for path in (found, re.sub(r"\d+", str(2**53 - 2), found)):
            with requests_to_table() as requests:
                assert ben.get(path).status == 404
            spent.append(requests)
        assert spent[0] == spent[1]


def test_a_thousand_creates_lease_ids_now_and_then(
    small: Library, requests_to_table: Callable[[], Any]
) -> None:
    """Sessions take one lease in sixteen, examples none as long as their unit lasts."""
    who = small.learner
    while not ids._lease.loose:
        who.add_example()
    with requests_to_table() as requests:
        for _ in range(48):
            who.open_session()
    sessions = [operation for operation, _ in requests].count("UpdateItem")
    with requests_to_table() as requests:
        for _ in range(50):
            who.add_example()
    examples = [operation for operation, _ in requests].count("UpdateItem")

    assert (sessions, examples) == (48 // ids.UNITS, 0)


def test_a_token_and_an_idempotency_key_have_their_own_prices(small: Library, count: Count) -> None:
    who = small.learner
    body = {"input_text": "a", "output_text": "b"}
    while not ids._lease.loose:
        who.add_example()
    plain = count(lambda: who.post("/few-shot-examples", body))
    first = count(lambda: who.post("/few-shot-examples", body, headers={"idempotency-key": "once"}))
    again = count(lambda: who.post("/few-shot-examples", body, headers={"idempotency-key": "once"}))
    accounts.clear_cache()
    asked = count(lambda: who.get("/few-shot-examples?size=1"))

    assert plain.requests == "TransactWriteItems"
    assert (first.requests, again.requests) == (
        "TransactWriteItems + TransactWriteItems",
        "TransactWriteItems + BatchGetItem",
    )
    assert first.write_units == plain.write_units + 4 + 2
    assert asked.requests == "BatchGetItem + Query + BatchGetItem"
