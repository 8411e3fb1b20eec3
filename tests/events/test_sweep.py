"""What a delete leaves behind goes, whatever dies on the way: looked at in every item of the table."""

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from local import consumers
from local.stack import Stack
from practice import table
from practice.events import outbound
from practice.runtime import queues
from practice.schemas.response import Response
from practice.store import responses
from practice.table import keys
from practice.turns.providers import Parts, echo
from tests.support import deliveries
from tests.support.deliveries import Deliveries
from tests.support.hooks import hooked
from tests.support.learners import Learner, made
from tests.support.processes import Killed

Items = dict[tuple[str, str], Any]
ItemsOf = Callable[[Learner], Items]


@pytest.fixture
def delivered(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Deliveries:
    monkeypatch.setattr(consumers, "retry_delay", lambda attempts: 0)
    return deliveries.of(stack)


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few items are many batches, and texts of a few kilobytes many parts."""
    monkeypatch.setattr(table, "DELETIONS", 3)
    monkeypatch.setattr(table, "BATCH", 4)
    monkeypatch.setattr("practice.table.reads.BATCH", 4)
    monkeypatch.setattr("practice.table.items.PART_BYTES", 2_000)


def long_text(size: int) -> str:
    """Does not compress to less than half."""
    return os.urandom(size // 2).hex()


def a_lived_in_session(ada: Learner) -> dict[str, Any]:
    """With notes and one response too long for an item, where parts are small."""
    session = ada.open_session(title="Long ago", notes=long_text(6_000))
    first, second = (model["session_model_id"] for model in ada.models_of(session))
    for text in ("Because.", "Why not?", "Because."):
        ada.add_response(session, response_text=text)
        ada.post(f"/models/{second}/responses", {"prompt_text": "Why?", "response_text": text})
    ada.post(f"/models/{second}/responses", {"prompt_text": "", "response_text": long_text(12_000)})
    return session | {"models": [first, second]}


def orphans(items: Items) -> list[str]:
    """Every item whose parent has gone."""
    found = []
    mains = {sk for (_, sk), item in items.items() if "v" in item}
    parts = {
        f"{sk}#{int(item['v']['N']):08d}#{n:02d}"
        for (_, sk), item in items.items()
        for n in range(int(item.get("parts", {"N": "0"})["N"]))
    }
    for (pk, sk), item in items.items():
        if "#0AFTER#" in sk:
            turn = items.get((pk, f"{sk[: len('SESSION#') + 17]}1TURN#{sk.split('#')[4]}"))
            if turn is None:
                found.append(sk)
            continue
        if "v" not in item:
            if sk not in parts and not sk.startswith(("ACCOUNT", "KEY#", "INGESTED#")):
                found.append(sk)
            continue
        prefix = sk[: len("SESSION#") + 17]
        if sk.startswith("SESSION#") and f"{prefix}5SESSION" not in mains:
            found.append(sk)
        elif "#2RESPONSE#" in sk and "of_model" in item:
            live = items[pk, f"{prefix}3MODELS"].get("live", {}).get("NS", [])
            if str(int(item["of_model"]["S"].split("#")[0])) not in live:
                found.append(sk)
        elif "#2RESPONSE#" in sk:
            turn = items.get((pk, f"{prefix}1TURN#{int(item['turn']['N']):016d}"))
            if turn is None or turn["status"]["S"] not in ("queued", "running"):
                found.append(sk)
        linked = [f"EXAMPLE#{int(number):016d}" for number in item.get("examples", {}).get("NS", [])]
        found += [f"{sk} links {example}" for example in linked if example not in mains]
    return found + [f"{sk} is missing" for sk in parts if not any(key[1] == sk for key in items)]


@contextmanager
def killed_at(number: int, moment: str) -> Iterator[list[str]]:
    """The process that makes this request to AWS dies, just before it or just after; yields the requests made."""
    made: list[str] = []

    def kill(model: Any, **_: Any) -> None:
        made.append(model.name)
        if len(made) == number:
            raise Killed

    with hooked(f"{moment}.*", kill, table.dynamodb(), queues.client(), outbound.client()):
        yield made


def delete_session(ada: Learner) -> None:
    session = a_lived_in_session(ada)
    assert ada.delete(f"/sessions/{session['session_id']}").status == 204


def delete_model(ada: Learner) -> None:
    session = a_lived_in_session(ada)
    assert ada.delete(f"/models/{session['models'][1]}").status == 204


def delete_example(ada: Learner) -> None:
    examples = [ada.add_example()["example_id"] for _ in range(2)]
    for _ in range(3):
        session = ada.open_session()
        selected = {"few_shot_example_ids": examples}
        assert ada.patch(f"/sessions/{session['session_id']}/settings", selected).status == 200
    assert ada.delete(f"/few-shot-examples/{examples[0]}").status == 204


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("moment", ["before-call", pytest.param("after-call", marks=pytest.mark.torture)])
@pytest.mark.parametrize("delete", [delete_session, delete_model, delete_example])
def test_nothing_is_left_wherever_a_function_dies(
    another_learner: Callable[[], Learner],
    delivered: Deliveries,
    items_of: ItemsOf,
    delete: Callable[[Learner], None],
    moment: str,
) -> None:
    dead = delivered.dead_letters()
    number, made = 0, ["at least one"]
    while len(made) > number:
        number += 1
        ada = another_learner()
        delete(ada)
        assert orphans(items_of(ada)), "nothing to sweep"

        with killed_at(number, moment) as made:
            delivered.run()

        assert orphans(items_of(ada)) == []
    assert number > 6
    assert delivered.dead_letters() == dead


def test_everything_of_a_deleted_session_goes(ada: Learner, delivered: Deliveries, items_of: ItemsOf) -> None:
    kept, gone = ada.open_session(), a_lived_in_session(ada)

    ada.delete(f"/sessions/{gone['session_id']}")
    delivered.run()

    left = {sk for _, sk in items_of(ada) if sk.startswith("SESSION#")}
    assert {keys.session_id_in(sk) for sk in left} == {kept["session_id"]}
    assert ada.get(f"/sessions/{kept['session_id']}").json == kept


def test_a_deleted_model_takes_its_responses_and_no_others(
    ada: Learner, delivered: Deliveries, items_of: ItemsOf
) -> None:
    session = a_lived_in_session(ada)
    before = ada.get(f"/models/{session['models'][0]}/responses").json

    ada.delete(f"/models/{session['models'][1]}")
    delivered.run()

    assert ada.get(f"/models/{session['models'][0]}/responses").json == before
    assert sum("#2RESPONSE#" in sk for _, sk in items_of(ada)) == len(before) == 3


def test_a_deleted_example_leaves_every_selection_without_an_error(
    ada: Learner, delivered: Deliveries, items_of: ItemsOf
) -> None:
    first, second = (ada.add_example()["example_id"] for _ in range(2))
    path = f"/sessions/{ada.open_session()['session_id']}/settings"
    ada.patch(path, {"few_shot_example_ids": [first, second]})
    ada.delete(f"/few-shot-examples/{first}")
    before = ada.get(path)

    delivered.run()

    after = ada.get(path)
    assert (after.json, after.etag) == (before.json, before.etag)
    assert [(link["example_id"], link["sort_order"]) for link in after.json["few_shot_links"]] == [
        (second, 1)
    ]
    assert orphans(items_of(ada)) == []
    reported = [event["detail-type"] for event in delivered.published(ada.user_id)]
    assert reported.count("SettingsChanged") == 1


def test_an_example_deleted_while_it_is_selected_is_refused(
    ada: Learner, delivered: Deliveries, items_of: ItemsOf
) -> None:
    example = ada.add_example()["example_id"]
    path = f"/sessions/{ada.open_session()['session_id']}/settings"

    def delete_first(**_: Any) -> None:
        table.dynamodb().meta.events.unregister("before-call.dynamodb.TransactWriteItems", delete_first)
        ada.delete(f"/few-shot-examples/{example}")
        delivered.run()

    table.dynamodb().meta.events.register("before-call.dynamodb.TransactWriteItems", delete_first)
    answer = ada.patch(path, {"few_shot_example_ids": [example]})

    assert (answer.status, answer.detail) == (403, "invalid_few_shot_example_ids")
    assert orphans(items_of(ada)) == []


def test_what_a_model_answers_after_it_was_deleted_is_not_kept(
    ada: Learner, delivered: Deliveries, items_of: ItemsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = ada.open_session(title="t")
    first, second = ada.models_of(session)

    def delete_second() -> None:
        assert ada.delete(f"/models/{second['session_model_id']}").status == 204

    meanwhile(monkeypatch, second["model_name"], delete_second, delivered.run)
    answer = ada.post(f"/sessions/{session['session_id']}/chat", {"prompt_text": "Why?"})
    delivered.run()

    assert [each["model_name"] for each in answer.json["results"]] == [first["model_name"]]
    assert orphans(items_of(ada)) == []


def test_what_a_model_answers_after_its_session_was_deleted_is_not_kept(
    ada: Learner, delivered: Deliveries, items_of: ItemsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = ada.open_session(title="t")

    def delete_session() -> None:
        ada.delete(f"/sessions/{session['session_id']}")

    meanwhile(monkeypatch, ada.models_of(session)[0]["model_name"], delete_session, delivered.run)
    answer = ada.post(f"/sessions/{session['session_id']}/chat", {"prompt_text": "Why?"})
    delivered.run()

    assert answer.status == 404
    assert [sk for _, sk in items_of(ada) if sk.startswith("SESSION#")] == []


def meanwhile(monkeypatch: pytest.MonkeyPatch, model_name: str, *steps: Callable[[], None]) -> None:
    """While this model thinks, something else happens."""
    answer = echo.complete

    def complete(model: Any, *arguments: Any) -> Parts:
        if model.id == model_name:
            for step in steps:
                step()
        return answer(model, *arguments)

    monkeypatch.setattr(echo, "complete", complete)


def test_a_turn_goes_with_its_last_answer(ada: Learner, delivered: Deliveries, items_of: ItemsOf) -> None:
    session = ada.open_session(title="t")
    path = f"/sessions/{session['session_id']}"
    first, second = ada.post(f"{path}/chat", {"prompt_text": "Why?"}).json["results"]

    ada.delete(f"/responses/{first['response_id']}")
    delivered.run()
    [turn] = ada.get(f"{path}/turns").json["items"]
    assert [each["response_id"] for each in turn["results"]] == [second["response_id"]]

    ada.delete(f"/models/{second['session_model_id']}")
    delivered.run()
    assert ada.get(f"{path}/turns").json["items"] == []
    left = {
        sk: item
        for (_, sk), item in items_of(ada).items()
        if "#1TURN#" in sk or "#2RESPONSE#" in sk or "#0AFTER#" in sk
    }
    [node] = left.values()
    assert "Why?" not in json.dumps(node)


@pytest.mark.usefixtures("stack")
def test_turns_that_lost_their_last_answers_go_without_a_read_for_each(
    ada: Learner, delivered: Deliveries, requests_to_table: Any
) -> None:
    session = ada.open_session(title="t")
    path = f"/sessions/{session['session_id']}"
    model, *_ = ada.models_of(session)
    prompt = {"model_names": [model["model_name"]]}
    for n in range(20):
        made(ada.post(f"{path}/chat", {"prompt_text": f"{n}", **prompt}), 201)
    ada.delete(f"/models/{model['session_model_id']}")

    with requests_to_table() as requests:
        delivered.run()

    assert ada.get(f"{path}/turns").json["items"] == []
    assert len([name for name, _ in requests if name == "BatchGetItem"]) < 12, requests


def sweep(stack: Stack, message: dict[str, Any], message_id: str = "1") -> dict[str, Any]:
    record = {"messageId": message_id, "body": json.dumps(message), "attributes": {}}
    answer: dict[str, Any] = stack.invoker.invoke("sweep", {"Records": [record]})
    return answer


@pytest.mark.parametrize("what", ["session", "model", "example"])
def test_what_was_not_deleted_is_never_swept(
    ada: Learner, delivered: Deliveries, stack: Stack, items_of: ItemsOf, what: str
) -> None:
    session = a_lived_in_session(ada)
    ids = {
        "session": {"session_id": session["session_id"]},
        "model": {"session_model_id": session["models"][0]},
        "example": {"example_id": ada.add_example()["example_id"]},
    }
    before = items_of(ada)

    assert sweep(stack, {"sweep": what, "user_id": ada.user_id, **ids[what]}) == {"batchItemFailures": []}

    assert items_of(ada) == before
    assert (
        delivered.dead_letters_in("SweepDeadLetters")[0]["attributes"]["reason"]["StringValue"]
        == "not deleted"
    )


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"sweep": "planet", "user_id": 1}, "union_tag_invalid at the top"),
        ({"sweep": "session", "user_id": 1}, "missing at session.session_id"),
        ({"sweep": "session", "user_id": 0, "session_id": 5}, "greater_than_equal at session.user_id"),
        ("sweep it all", "model_attributes_type at the top"),
    ],
)
def test_an_unreadable_message_goes_to_the_dead_letter_queue_alone(
    ada: Learner, delivered: Deliveries, stack: Stack, items_of: ItemsOf, message: Any, reason: str
) -> None:
    gone = a_lived_in_session(ada)
    ada.delete(f"/sessions/{gone['session_id']}")
    good = {"sweep": "session", "user_id": ada.user_id, "session_id": gone["session_id"]}
    records = [
        {"messageId": "bad", "body": json.dumps(message), "attributes": {}},
        {"messageId": "good", "body": json.dumps(good), "attributes": {}},
    ]

    answer = stack.invoker.invoke("sweep", {"Records": records})

    assert answer == {"batchItemFailures": []}
    assert [sk for _, sk in items_of(ada)] == ["ACCOUNT"]
    letter = delivered.dead_letters_in("SweepDeadLetters")[0]
    assert (letter["body"], letter["attributes"]["reason"]["StringValue"]) == (json.dumps(message), reason)


@pytest.mark.usefixtures("small_batches")
def test_a_throttled_table_is_asked_again_for_what_it_left(
    ada: Learner, delivered: Deliveries, items_of: ItemsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete_session(ada)
    client = table.dynamodb()
    ask, partly = client.batch_write_item, []

    def one_at_a_time(RequestItems: dict[str, list[Any]]) -> Any:  # noqa: N803  # as botocore spells it
        [(name, asked)] = RequestItems.items()
        partly.append(len(asked))
        done = ask(RequestItems={name: asked[:1]})
        return done | {"UnprocessedItems": {name: asked[1:]} if asked[1:] else {}}

    monkeypatch.setattr(client, "batch_write_item", one_at_a_time)
    delivered.run()

    assert orphans(items_of(ada)) == []
    assert "3, 2, 1" in str(partly)


@pytest.mark.usefixtures("small_batches")
def test_a_sweep_that_runs_out_of_time_goes_on_with_another_message(
    ada: Learner, delivered: Deliveries, items_of: ItemsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = delivered.dead_letters()
    delete_session(ada)
    monkeypatch.setattr("practice.events.sweep.RESERVE_SECONDS", 3600)
    delivered.of_the_stream()

    bodies = set()
    while delivered.waiting("SweepQueue"):
        bodies |= {each["body"] for each in delivered.waiting("SweepQueue")}
        assert delivered.step_of("sweep")
        delivered.of_the_stream()

    assert len({body for body in bodies if re.search('"session"', body)}) == 1
    assert orphans(items_of(ada)) == []
    assert delivered.dead_letters() == dead


def fill(who: Learner, session: dict[str, Any], count: int, long: int) -> None:
    """Many responses, written as the store writes them."""
    name = os.environ["TABLE_NAME"]
    model = who.models_of(session)[0]
    first_id = session["session_id"] + 100
    batch: list[Any] = []
    for n in range(count):
        response = Response(
            response_id=first_id + n,
            session_model_id=model["session_model_id"],
            session_id=session["session_id"],
            model_name=model["model_name"],
            prompt_text="Why?",
            response_text=long_text(1_000_000) if n < long else "Because.",
            created_at="2026-01-07T05:31:56.120501Z",
            token_usage=None,
            latency_ms=None,
        )
        key = keys.response(who.user_id, response.response_id)
        for write in table.put(key, response, attributes=responses.of_model(response)):
            batch.append({"PutRequest": {"Item": write.params["Item"]}})
            if len(batch) == 25:
                table.dynamodb().batch_write_item(RequestItems={name: batch})
                batch = []
    if batch:
        table.dynamodb().batch_write_item(RequestItems={name: batch})


@pytest.mark.parametrize(
    ("count", "long"),
    [(300, 3), pytest.param(10_000, 50, marks=pytest.mark.torture)],
    ids=["short", "torture"],
)
@pytest.mark.parametrize("what", ["session", "model"])
def test_a_session_of_many_responses_goes_whole(
    ada: Learner, delivered: Deliveries, items_of: ItemsOf, count: int, long: int, what: str
) -> None:
    session = ada.open_session()
    fill(ada, session, count, long)
    model = ada.models_of(session)[0]["session_model_id"]
    path = f"/sessions/{session['session_id']}" if what == "session" else f"/models/{model}"

    assert ada.delete(path).status == 204
    assert ada.get(path if what == "session" else f"{path}/responses").status == 404
    delivered.run()

    assert orphans(items_of(ada)) == []
    assert not [sk for _, sk in items_of(ada) if "RESPONSE" in sk]


def test_another_learner_keeps_everything(
    ada: Learner, ben: Learner, delivered: Deliveries, items_of: ItemsOf
) -> None:
    a_lived_in_session(ben)
    before = items_of(ben)

    delete_session(ada)
    delete_model(ada)
    delete_example(ada)
    delivered.run()

    assert items_of(ben) == before
