"""Sessions with more in them than one answer holds: what is embedded, and how the rest is reached."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from local.stack import Stack
from practice import table
from practice.http.replies import as_returned
from practice.limits import SESSION_IDS
from practice.runtime import clock
from practice.schemas.response import Response
from practice.store.responses import of_model
from practice.table import keys
from tests.support.learners import Answer, Learner, made, walk

Json = dict[str, Any]
MakeLearner = Callable[[], Learner]

ANSWER_BYTES = 5_500_000
MEGABYTE = 1024 * 1024


def path_of(session: Json) -> str:
    return f"/sessions/{session['session_id']}"


def own(session: Json) -> Json:
    embedded = ("settings", "responses", "responses_next_cursor")
    return {name: value for name, value in session.items() if name not in embedded}


def fits(answer: Answer) -> bool:
    """The function's whole result, as the Python that escapes more would serialise it."""
    return len(json.dumps(as_returned(answer.body.decode()))) < ANSWER_BYTES


def older(who: Learner, session: Json, cursor: str | None, size: int | None = None) -> Iterator[Json]:
    """The responses before those at hand, newest first, along the cursors."""
    while cursor:
        page = who.get(f"{path_of(session)}/responses?cursor={cursor}" + (f"&size={size}" if size else ""))
        assert page.status == 200
        assert fits(page)
        assert len(page.json["items"]) <= (size or 50)
        yield from reversed(page.json["items"])
        cursor = page.json["next_cursor"]


def incompressible(characters: int, seed: int) -> str:
    return Random(seed).randbytes(characters).decode("latin-1").replace("\0", "0")


def seed(stack: Stack, who: Learner, session: Json, count: int, text: str) -> list[Json]:
    """Puts responses into the table as POST would, three at each moment, for one model after the other."""
    models = who.models_of(session)
    start = datetime.now(UTC)
    document = table.write_returning(
        table.update(
            keys.models(who.user_id, session["session_id"]),
            set_to={"last": table.text(clock.to_timestamp(start + timedelta(microseconds=count)))},
            add={"next_id": count, "answered": count},
        )
    )
    first_id = document.number("next_id") - count
    responses = [
        Response(
            response_id=first_id + n,
            session_id=session["session_id"],
            session_model_id=models[n % len(models)]["session_model_id"],
            model_name=models[n % len(models)]["model_name"],
            prompt_text=f"Question {n}",
            response_text=text,
            created_at=clock.to_timestamp(start + timedelta(microseconds=n // 3)),
            token_usage={"total_tokens": n},
            latency_ms=n,
        )
        for n in range(count)
    ]
    items = [
        table.put(keys.response(who.user_id, each.response_id), each, attributes=of_model(each))[0].params[
            "Item"
        ]
        for each in responses
    ]
    name, engine = stack.template.environment["TABLE_NAME"], stack.engine.client()
    for at in range(0, count, 25):
        asked: Any = {name: [{"PutRequest": {"Item": item}} for item in items[at : at + 25]]}
        assert not engine.batch_write_item(RequestItems=asked).get("UnprocessedItems")
    return [each.model_dump() for each in responses]


LongSession = tuple[Learner, Json, list[Json]]


@pytest.fixture(scope="module", params=[1_200, pytest.param(10_000, marks=pytest.mark.torture)])
def long_session(request: pytest.FixtureRequest, stack: Stack, another_learner: MakeLearner) -> LongSession:
    """With its responses, oldest first; they take more than one page of the store. Only its title is changed."""
    ada = another_learner()
    session = ada.open_session()
    return ada, session, seed(stack, ada, session, request.param, "Because. " * 100)


@pytest.mark.parametrize("how", ["read", "changed", "listed"])
def test_the_newest_of_many_responses_are_embedded_and_a_cursor_leads_to_all_others(
    long_session: LongSession, how: str
) -> None:
    ada, session, responses = long_session

    if how == "read":
        answer = ada.get(path_of(session))
        whole = answer.json
    elif how == "changed":
        answer = ada.patch(path_of(session), {"title": "long"})
        whole = answer.json
    else:
        answer = ada.get("/sessions?expand=settings,responses")
        [whole] = answer.json["items"]

    embedded = whole["responses"]
    assert fits(answer)
    assert 100 < len(embedded) < len(responses)
    assert embedded == responses[-len(embedded) :]
    if how == "read":
        rest = list(older(ada, session, whole["responses_next_cursor"], size=200))
        assert rest == responses[: -len(embedded)][::-1]
    else:
        page = ada.get(f"{path_of(session)}/responses?size=3&cursor={whole['responses_next_cursor']}")
        assert page.json["items"] == responses[-len(embedded) - 3 : -len(embedded)]


def test_a_session_can_be_had_without_its_responses_at_the_price_of_a_short_one(
    long_session: LongSession, requests_to_table: Callable[[], Any]
) -> None:
    ada, session, responses = long_session
    path = path_of(session)

    with requests_to_table() as requests:
        bare = ada.get(path + "?responses=0").json
    assert [operation for operation, _ in requests] == ["Query"]
    with requests_to_table() as requests:
        changed = ada.patch(path + "?responses=0", {"title": "bare"}).json
    assert [operation for operation, _ in requests] == ["Query", "UpdateItem"]

    assert own(changed) == own(bare) | {"title": "bare", "updated_at": changed["updated_at"]}
    for whole in (bare, changed):
        assert whole["responses"] == []
        assert whole["settings"] == session["settings"]
        first = ada.get(f"{path}/responses?cursor={whole['responses_next_cursor']}").json
        assert first["items"] == responses[-50:]


def test_the_responses_of_a_session_come_newest_first_page_by_page_each_ascending(
    long_session: LongSession,
) -> None:
    ada, session, responses = long_session

    newest = ada.get(path_of(session) + "/responses").json
    before = ada.get(f"{path_of(session)}/responses?size=7&cursor={newest['next_cursor']}").json
    before_that = ada.get(f"{path_of(session)}/responses?size=1&cursor={before['next_cursor']}").json

    assert newest["items"] == responses[-50:]
    assert before["items"] == responses[-57:-50]
    assert before_that["items"] == responses[-58:-57]


def size_of(response: Json, user_id: int) -> int:
    """Bytes of its item as DynamoDB counts them, for a text that needs no compression."""
    reported = Response.model_validate(response)
    [write] = table.put(keys.response(user_id, reported.response_id), reported, attributes=of_model(reported))
    item = write.params["Item"]
    numbers = {name for name, value in item.items() if "N" in value}
    return sum(len(name) + (2 if name in numbers else len(item[name]["S"])) for name in item)


def test_of_the_shortest_responses_as_many_are_embedded_as_a_megabyte_holds(
    stack: Stack, ada: Learner
) -> None:
    session = ada.open_session()
    responses = seed(stack, ada, session, 3_600, "")

    whole = ada.get(path_of(session)).json

    embedded = whole["responses"]
    older_ones = responses[: -len(embedded)]
    assert embedded == responses[-len(embedded) :]
    assert sum(size_of(each, ada.user_id) for each in responses[-len(embedded) - 5 :]) > MEGABYTE
    page = ada.get(f"{path_of(session)}/responses?size=200&cursor={whole['responses_next_cursor']}").json
    assert page["items"] == older_ones[-200:]


def test_a_query_is_never_cut_by_the_number_of_its_rows_before_its_page_is_full() -> None:
    """So the rows that are asked for at most, which spare a laptop's engine the rest of a range, change no answer."""
    shortest = {
        "response_id": SESSION_IDS + 3,
        "session_model_id": SESSION_IDS + 2,
        "session_id": SESSION_IDS,
        "model_name": "m",
        "prompt_text": "p",
        "response_text": "",
        "created_at": "2026-01-01T00:00:00.000000Z",
        "token_usage": None,
        "latency_ms": 0,
    }

    assert size_of(shortest, user_id=1) * table.ROWS > MEGABYTE


@pytest.mark.parametrize("size", [1, 2, 3, 4, 50])
def test_the_last_page_has_no_cursor(ada: Learner, size: int) -> None:
    session = ada.open_session()
    responses = [ada.add_response(session, prompt_text=str(n)) for n in range(4)]

    newest = ada.get(f"{path_of(session)}/responses?size={size}").json
    rest = list(older(ada, session, newest["next_cursor"], size))

    assert (newest["items"][::-1] + rest)[::-1] == responses
    assert newest["items"] == responses[-size:]
    assert (newest["next_cursor"] is None) == (size >= 4)


def test_a_session_without_responses_has_no_cursor(ada: Learner) -> None:
    session = ada.open_session()

    assert ada.get(path_of(session) + "/responses").json == {"items": [], "next_cursor": None}
    assert ada.get(path_of(session) + "?responses=0").json == session


def test_what_is_added_or_deleted_meanwhile_does_not_disturb_who_is_paging(ada: Learner) -> None:
    session = ada.open_session()
    responses = [ada.add_response(session, prompt_text=str(n)) for n in range(8)]
    newest = ada.get(path_of(session) + "/responses?size=3").json

    ada.add_response(session)
    for n in (3, 4, 5, 7):
        ada.delete(f"/responses/{responses[n]['response_id']}")

    before = ada.get(f"{path_of(session)}/responses?size=3&cursor={newest['next_cursor']}").json
    assert before == {"items": responses[:3], "next_cursor": None}


@pytest.mark.usefixtures("stack")
def test_a_page_below_many_responses_of_a_deleted_model_takes_few_requests(
    ada: Learner, requests_to_table: Callable[[], Any]
) -> None:
    session = ada.open_session()
    gone, left = (model["session_model_id"] for model in ada.models_of(session))
    body = {"prompt_text": "Why?", "response_text": "Because."}
    kept = [ada.post(f"/models/{left}/responses", body).json for _ in range(4)]
    for _ in range(60):
        made(ada.post(f"/models/{gone}/responses", body), 201)
    kept += [ada.post(f"/models/{left}/responses", body).json for _ in range(2)]
    assert ada.delete(f"/models/{gone}").status == 204

    with requests_to_table() as requests:
        page = ada.get(f"{path_of(session)}/responses?size=5")

    assert page.json["items"] == kept[-5:]
    assert len(requests) <= 6, requests


def test_a_cursor_is_for_one_learner_and_one_session(ada: Learner, ben: Learner) -> None:
    session, other, foreign = ada.open_session(), ada.open_session(), ben.open_session()
    for each in range(3):
        ada.add_response(session, prompt_text=str(each))
    cursor = ada.get(path_of(session) + "/responses?size=1").json["next_cursor"]
    elsewhere = ada.get("/sessions?size=1").json["next_cursor"]

    for who, where, sent in (
        (ada, other, cursor),
        (ben, foreign, cursor),
        (ada, session, elsewhere),
        (ada, session, cursor[:-1]),
        (ada, session, "x"),
        (ada, session, ""),
    ):
        answer = who.get(f"{path_of(where)}/responses?cursor={sent}")
        assert answer.status == 422
        assert [each["loc"] for each in answer.detail] == [["query", "cursor"]]
    for size in ("0", "201", "x", ""):
        answer = ada.get(f"{path_of(session)}/responses?size={size}")
        assert (answer.status, answer.detail[0]["loc"]) == (422, ["query", "size"])
    for value in ("1", "", "no"):
        answer = ada.get(f"{path_of(session)}?responses={value}")
        assert (answer.status, answer.detail[0]["loc"]) == (422, ["query", "responses"])


TEXTS = {
    "quotes": '"' * MEGABYTE,
    "incompressible": incompressible(600_000, 1),
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_the_very_newest_response_is_embedded_however_long_it_is(ada: Learner, text: str) -> None:
    session = ada.open_session()
    first = ada.add_response(session)
    long = [ada.add_response(session, response_text=text) for _ in range(3)]

    answer = ada.get(path_of(session))

    embedded = answer.json["responses"]
    assert fits(answer)
    assert embedded[-1] == long[-1]
    rest = list(older(ada, session, answer.json["responses_next_cursor"]))
    assert (embedded[::-1] + rest)[::-1] == [first, *long]
    listed = ada.get(path_of(session) + "/responses?size=200")
    rest = list(older(ada, session, listed.json["next_cursor"], 200))
    assert fits(listed)
    assert (listed.json["items"][::-1] + rest)[::-1] == [first, *long]


def test_a_text_that_no_answer_could_carry_is_refused(ada: Learner) -> None:
    """A control character takes six bytes in JSON, every other one two at most."""
    model = f"/models/{ada.models_of(ada.open_session())[0]['session_model_id']}/responses"

    refused = ada.post(model, {"prompt_text": "?", "response_text": "\x01" * 360_000})
    kept = ada.post(model, {"prompt_text": "\x01" * 100 * 1024, "response_text": "\x01" * (MEGABYTE // 3)})

    assert refused.status == 422
    assert [(each["type"], each["loc"]) for each in refused.detail] == [
        ("string_too_long", ["body", "response_text"])
    ]
    assert (kept.status, fits(kept)) == (201, True)


def test_a_page_of_sessions_that_is_too_big_ends_early_and_continues_exactly(ada: Learner) -> None:
    sessions = [own(ada.open_session(notes="🐍" * 100_000, title=f"{n}")) for n in range(13)][::-1]

    first = ada.get("/sessions?size=12")
    pages = walk(ada, "/sessions?size=12")
    second = ada.get("/sessions?size=12&page=2").json

    assert fits(first)
    assert 1 < len(first.json["items"]) < 12
    assert (first.json["size"], first.json["total"]) == (12, 13)
    assert [item for page in pages for item in page["items"]] == sessions
    assert (second["items"], second["next_cursor"]) == (sessions[12:], None)


def test_an_expanded_page_that_is_too_big_ends_early_and_continues_exactly(ada: Learner) -> None:
    sessions = [ada.open_session(title="long", notes="🐍" * 50_000) for _ in range(2)]
    for session in sessions:
        for _ in range(3):
            ada.add_response(session, response_text="x" * MEGABYTE)
    read = [ada.get(path_of(session)).json for session in reversed(sessions)]

    for expand in ("responses", "settings,responses"):
        first = ada.get(f"/sessions?expand={expand}")
        second = ada.get(f"/sessions?expand={expand}&cursor={first.json['next_cursor']}")

        assert fits(first)
        assert fits(second)
        assert [own(item) for item in first.json["items"]] == [own(read[0])]
        assert [own(item) for item in second.json["items"]] == [own(read[1])]
        assert second.json["next_cursor"] is None
        for page, whole in ((first, read[0]), (second, read[1])):
            [item] = page.json["items"]
            assert item["responses"][-1] == whole["responses"][-1]
            assert len(item["responses"]) == 3


@pytest.mark.usefixtures("under_load")
def test_a_session_stays_readable_with_everything_as_long_as_it_may_be(ada: Learner) -> None:
    session = ada.open_session(
        title="🐍" * 10_000, notes=incompressible(100_000, 2), knowledge_ids=[*range(2**62, 2**62 + 1000)]
    )
    examples = [
        ada.add_example(input_text=incompressible(10_000, n), output_text="é" * 4000)["example_id"]
        for n in range(50)
    ]
    settings = {"style_params": {"a": incompressible(30_000, 3)}, "few_shot_example_ids": examples}
    changed = made(ada.patch(path_of(session) + "/settings", settings), 200)
    response = ada.add_response(session, response_text=incompressible(300_000, 4))

    answer = ada.get(path_of(session))

    assert fits(answer)
    assert answer.json == session | {"settings": changed, "responses": [response]}
    renamed = ada.patch(path_of(session), {"title": "short"})
    assert renamed.json["responses"] == [response]
    assert ada.delete(path_of(session)).status == 204
    assert ada.get(path_of(session)).status == 404
