"""The events that the service publishes: at least one after every write, and never a text of a learner's."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from local import consumers
from local.stack import Stack
from practice.events import outbound
from practice.runtime import queues
from practice.turns.providers import Parts, echo
from tests.support import deliveries
from tests.support.deliveries import Deliveries
from tests.support.learners import Learner, made
from tools import event_schemas

SCHEMAS = Path(__file__).parents[2] / "docs" / "events"
PUBLISHED = [
    "SessionCreated",
    "ExampleCreated",
    "SettingsChanged",
    "TurnCompleted",
    "TurnCompleted",
    "AnswerRated",
    "VoteCast",
    "VoteWithdrawn",
    "SessionDeleted",
]


JUDGED = ("AnswerRated", "VoteCast", "VoteWithdrawn")


@pytest.fixture
def delivered(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Deliveries:
    monkeypatch.setattr(consumers, "retry_delay", lambda attempts: 0)
    return deliveries.of(stack)


CANARY = "canary-7f3a"


def live(ada: Learner) -> dict[str, Any]:
    """Does everything that is published, with a canary wherever a learner may write a text."""
    session = ada.open_session(
        title=f"title {CANARY}", notes=f"notes {CANARY}", project_id=77, knowledge_ids=[5]
    )
    path = f"/sessions/{session['session_id']}"
    example = ada.add_example(
        title=CANARY, input_text=CANARY, output_text=CANARY, meta={CANARY: [CANARY]}, is_active=True
    )
    settings = {
        "style_preset": "custom",
        "style_params": {CANARY: CANARY},
        "generation_params": {CANARY: CANARY},
        "few_shot_example_ids": [example["example_id"]],
    }
    assert ada.patch(f"{path}/settings", settings).status == 200
    usage = {
        "prompt_tokens": 14,
        "completion_tokens": CANARY,
        "total_tokens": {CANARY: CANARY},
        CANARY: CANARY,
    }
    ada.add_response(session, prompt_text=CANARY, response_text=CANARY, token_usage=usage, latency_ms=840)
    turn = ada.post(f"{path}/chat", {"prompt_text": CANARY})
    first = made(turn, 201)["results"][0]["response_id"]
    rating = {"score": 4, "tags": [CANARY], "comment": CANARY}
    assert ada.put(f"/responses/{first}/rating", rating).status == 200
    assert ada.put(f"{turn.headers['location']}/vote", {"label": "A"}).status == 200
    assert ada.delete(f"{turn.headers['location']}/vote").status == 204
    assert ada.delete(path).status == 204
    assert ada.delete(f"/few-shot-examples/{example['example_id']}").status == 204
    return session


def validate(event: dict[str, Any]) -> None:
    schema = json.loads((SCHEMAS / f"{event['detail-type']}.json").read_text())
    Draft202012Validator(schema).validate(event["detail"])


def test_every_published_event_has_the_shape_of_its_schema(ada: Learner, delivered: Deliveries) -> None:
    session = live(ada)
    delivered.run()

    events = delivered.published(ada.user_id)

    assert sorted(event["detail-type"] for event in events) == sorted(PUBLISHED)
    for event in events:
        validate(event)
        assert (event["source"], event["detail"]["version"]) == ("practice.api", 1)
    by_type = {event["detail-type"]: event["detail"] for event in reversed(events)}
    assert by_type["SessionCreated"] == {
        "version": 1,
        "event_id": f"SessionCreated-{session['session_id']}",
        "user_id": ada.user_id,
        "session_id": session["session_id"],
        "class_id": 1,
        "project_id": 77,
        "agent_id": None,
        "created_at": session["created_at"],
    }
    assert by_type["SessionDeleted"]["session_id"] == session["session_id"]


def test_votes_and_ratings_are_published_with_ids_and_figures(ada: Learner, delivered: Deliveries) -> None:
    session = ada.open_session(title="t")
    chat = ada.post(f"/sessions/{session['session_id']}/chat", {"prompt_text": "Why?"})
    turn, results = chat.headers["location"], made(chat, 201)["results"]
    ids = ("session_model_id", "model_name", "response_id")
    rating = f"/responses/{results[0]['response_id']}/rating"
    for score in (4, 4, 2):
        made(ada.put(rating, {"score": score}), 200)
    assert ada.delete(rating).status == 204
    for choice in ({"label": "B"}, {"label": "B"}, {"tie": "bad"}):
        made(ada.put(f"{turn}/vote", choice), 200)
    revealed = ada.get(f"{turn}/vote").json["revealed"]
    assert ada.delete(f"{turn}/vote").status == 204
    delivered.run()

    events = [e for e in delivered.published(ada.user_id) if e["detail-type"] in JUDGED]

    for event in events:
        validate(event)
    winner = revealed[1]["response_id"]
    found = [
        (e["detail-type"], e["detail"].get("score") or 0, e["detail"].get("winner") or 0) for e in events
    ]
    assert sorted(found) == [
        ("AnswerRated", 2, 0),
        ("AnswerRated", 4, 0),
        ("VoteCast", 0, 0),
        ("VoteCast", 0, winner),
        ("VoteWithdrawn", 0, 0),
    ]
    cast = next(e["detail"] for e in events if e["detail"].get("winner"))
    assert (cast["class_id"], cast["blind"], cast["turn_id"]) == (1, True, results[0]["response_id"])
    assert sorted(cast["answers"], key=lambda each: each["response_id"]) == [
        {name: each[name] for name in ids} for each in results
    ]
    assert len({e["detail"]["event_id"] for e in events}) == 5


def test_a_response_that_came_alone_is_published_as_a_turn(ada: Learner, delivered: Deliveries) -> None:
    response = ada.add_response(
        ada.open_session(title="t"), token_usage={"prompt_tokens": 3, "total_tokens": True}, latency_ms=840
    )
    delivered.run()

    [published_events] = [
        e["detail"] for e in delivered.published(ada.user_id) if e["detail-type"] == "TurnCompleted"
    ]

    assert (published_events["turn_id"], published_events["status"], published_events["errors"]) == (
        response["response_id"],
        "done",
        [],
    )
    assert published_events["results"] == [
        {
            "session_model_id": response["session_model_id"],
            "model_name": response["model_name"],
            "response_id": response["response_id"],
            "latency_ms": 840,
            "prompt_tokens": 3,
            "completion_tokens": None,
            "total_tokens": None,
            "cost_usd": None,
        }
    ]


def test_a_turn_is_published_once_with_all_its_models(ada: Learner, delivered: Deliveries) -> None:
    session = ada.open_session(title="t")
    answer = made(ada.post(f"/sessions/{session['session_id']}/chat", {"prompt_text": "Why?"}), 201)
    delivered.run()

    [published_events] = [
        e["detail"] for e in delivered.published(ada.user_id) if e["detail-type"] == "TurnCompleted"
    ]

    assert published_events["turn_id"] == answer["results"][0]["response_id"]
    figures = ("session_model_id", "model_name", "response_id", "latency_ms")
    assert [[each[name] for name in figures] for each in published_events["results"]] == [
        [each[name] for name in figures] for each in answer["results"]
    ]
    assert [each["total_tokens"] for each in published_events["results"]] == [
        each["token_usage"]["total_tokens"] for each in answer["results"]
    ]


def test_a_turn_that_is_cancelled_is_published_when_its_models_were_asked(
    ada: Learner, delivered: Deliveries, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = ada.open_session(title="t")
    path = f"/sessions/{session['session_id']}"
    queued = made(
        ada.post(f"{path}/chat", {"prompt_text": "Later?"}, headers={"prefer": "respond-async"}), 202
    )
    assert ada.delete(f"{path}/turns/{queued['turn_id']}").status == 204
    complete = echo.complete

    def cancel_first(*asked: Any) -> Parts:
        assert (
            ada.delete(f"{path}/turns/{ada.get(f'{path}/turns').json['items'][-1]['turn_id']}").status == 204
        )
        return complete(*asked)

    monkeypatch.setattr(echo, "complete", cancel_first)
    answer = made(ada.post(f"{path}/chat", {"prompt_text": "Why?"}), 201)
    delivered.run()

    [event] = [e for e in delivered.published(ada.user_id) if e["detail-type"] == "TurnCompleted"]

    validate(event)
    assert (event["detail"]["status"], event["detail"]["errors"]) == ("cancelled", [])
    assert [each["response_id"] for each in event["detail"]["results"]] == [
        each["response_id"] for each in answer["results"]
    ]


def test_a_response_too_long_for_a_record_is_published_all_the_same(
    ada: Learner, delivered: Deliveries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("practice.table.items.PART_BYTES", 500)
    noise = "".join(chr(0x4E00 + (n * n * 7919 + n * 104729) % 20000) for n in range(3000))
    response = ada.add_response(ada.open_session(title="t"), response_text=noise, latency_ms=5)
    delivered.run()

    [published_events] = [
        e["detail"] for e in delivered.published(ada.user_id) if e["detail-type"] == "TurnCompleted"
    ]

    assert (published_events["turn_id"], published_events["results"][0]["latency_ms"]) == (
        response["response_id"],
        5,
    )


def test_what_changes_nothing_that_is_shown_is_not_published(ada: Learner, delivered: Deliveries) -> None:
    session = ada.open_session(title="t")
    path = f"/sessions/{session['session_id']}/settings"
    defaults = session["settings"]["generation_params"]
    ada.patch(path, {"generation_params": {"temperature": defaults["temperature"]}})
    ada.patch(f"/sessions/{session['session_id']}", {"notes": "mine"})
    ada.patch(path, {})
    delivered.run()

    assert [e["detail-type"] for e in delivered.published(ada.user_id)] == ["SessionCreated"]


def test_no_text_of_a_learner_leaves_the_service(
    ada: Learner, delivered: Deliveries, stack: Stack, capfd: pytest.CaptureFixture[str]
) -> None:
    live(ada)
    delivered.of_the_stream()

    assert len(delivered.published(ada.user_id)) >= len(PUBLISHED)
    left = [json.dumps(event) for event in stack.bus.published]
    left += [each["body"] for queue in ("SweepQueue", "TitlesQueue") for each in delivered.waiting(queue)]
    left += capfd.readouterr()
    assert [text for text in left if CANARY in text] == []
    delivered.run()


def test_an_import_brings_back_what_was_and_no_news_of_it(
    ada: Learner, ben: Learner, delivered: Deliveries
) -> None:
    session = ada.open_session()
    ada.add_response(session)
    made(ada.post(f"/sessions/{session['session_id']}/chat", {"prompt_text": "Why?"}), 201)
    exported = ada.get("/export").body

    made(ben.post("/import", raw=exported, headers={"content-type": "application/x-ndjson"}), 201)
    delivered.run()

    [copy] = ben.get("/sessions").json["items"]
    hers, his = (
        who.get(f"/sessions/{each['session_id']}/turns").json["items"]
        for who, each in ((ada, session), (ben, copy))
    )
    assert copy["title"] is None
    assert [len(turn["results"]) for turn in his] == [len(turn["results"]) for turn in hers] == [1, 2]
    assert [event["detail-type"] for event in delivered.published(ben.user_id)] == ["SessionCreated"]


def records_of(ada: Learner, stack: Stack) -> list[dict[str, Any]]:
    """Every record of hers that the stream holds, as its function gets them."""
    found: list[dict[str, Any]] = []

    class Recorder:
        queues = stack.queues
        closing = stack.triggers.closing

        def __call__(self, function: str, event: dict[str, Any]) -> Any:
            found.extend(event["Records"])
            return {"batchItemFailures": []}

    [trigger] = stack.template.stream_triggers
    consumer = consumers.StreamConsumer(Recorder(), trigger, stack.engine)
    checkpoints = stack.queues.checkpoint
    try:
        stack.queues.checkpoint = lambda name: None  # type: ignore[method-assign]  # from the beginning
        stack.queues.save_checkpoint, save = (lambda name, value: None), stack.queues.save_checkpoint  # type: ignore[method-assign]
        while consumer.step():
            pass
    finally:
        stack.queues.checkpoint, stack.queues.save_checkpoint = checkpoints, save  # type: ignore[method-assign]
    return [each for each in found if each["dynamodb"]["Keys"]["pk"]["S"] == f"USER#{ada.user_id}"]


def test_replaying_a_shard_publishes_the_same_and_changes_nothing(
    ada: Learner, delivered: Deliveries, stack: Stack, items_of: Callable[[Learner], Any]
) -> None:
    dead = delivered.dead_letters()
    live(ada)
    kept = ada.open_session(title="t")
    example = ada.add_example()["example_id"]
    ada.patch(f"/sessions/{kept['session_id']}/settings", {"few_shot_example_ids": [example]})
    ada.add_response(kept)
    delivered.run()
    before = items_of(ada)
    published_events = {
        event["detail"]["event_id"]: event["detail"] for event in delivered.published(ada.user_id)
    }

    for _ in range(2):
        assert stack.invoker.invoke("stream_changes", {"Records": records_of(ada, stack)}) == {
            "batchItemFailures": []
        }
        delivered.run()

    assert items_of(ada) == before
    again = delivered.published(ada.user_id)
    assert {event["detail"]["event_id"]: event["detail"] for event in again} == published_events
    assert len(again) > len(published_events)
    assert delivered.dead_letters() == dead


def a_record(number: int, **change: Any) -> dict[str, Any]:
    keys = {"pk": {"S": "USER#1"}, "sk": {"S": f"EXAMPLE#{number:016d}"}}
    dynamodb = {"Keys": keys, "SequenceNumber": str(number), **change}
    return {
        "eventID": str(number),
        "eventName": "INSERT",
        "eventSource": "aws:dynamodb",
        "dynamodb": dynamodb,
    }


IMAGE = {"pk": {"S": "USER#1"}, "sk": {"S": "EXAMPLE#0000000000000007"}, "v": {"N": "1"}}
POISON = {
    "without keys": a_record(1, Keys={}),
    "an image without keys": a_record(2, NewImage={"v": {"N": "1"}, "doc": {"S": "{}"}}),
    "without an image": a_record(3),
    "without a version": a_record(4, NewImage={"pk": {"S": "USER#1"}, "sk": {"S": "EXAMPLE#7"}}),
    "a document of another shape": a_record(5, NewImage=IMAGE | {"doc": {"S": '{"example_id": "x"}'}}),
    "a document that is no JSON": a_record(6, NewImage=IMAGE | {"doc": {"S": "{"}}),
    "bytes that do not unpack": a_record(7, NewImage=IMAGE | {"z": {"B": "AAAA"}}),
    "nothing": {"dynamodb": {"SequenceNumber": "8"}},
    "longer than a message": a_record(9, NewImage=IMAGE | {"doc": {"S": "x" * 1_100_000}}),
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON.keys())
def test_an_unreadable_record_goes_to_the_dead_letter_queue_and_does_not_block_the_shard(
    ada: Learner, delivered: Deliveries, stack: Stack, poison: dict[str, Any]
) -> None:
    good = a_record(
        99,
        NewImage=IMAGE
        | {
            "doc": {
                "S": json.dumps(
                    {
                        "example_id": 99,
                        "user_id": ada.user_id,
                        "input_text": "",
                        "output_text": "",
                        "is_active": True,
                        "created_at": "2026-01-07T05:31:56.120501Z",
                        "updated_at": "2026-01-07T05:31:56.120501Z",
                        "title": None,
                        "meta": {},
                    }
                )
            }
        },
    )
    good["dynamodb"]["Keys"]["pk"]["S"] = f"USER#{ada.user_id}"

    answer = stack.invoker.invoke("stream_changes", {"Records": [poison, good]})

    assert answer == {"batchItemFailures": []}
    assert [e["detail-type"] for e in delivered.published(ada.user_id)] == ["ExampleCreated"]
    letter = delivered.dead_letters_in("StreamDeadLetters")[0]
    assert json.loads(letter["body"])["dynamodb"]["SequenceNumber"] == poison["dynamodb"]["SequenceNumber"]
    assert letter["attributes"]["reason"]["StringValue"]


@pytest.mark.parametrize(
    "key",
    [("USER#1", "HOLOGRAM#5"), ("PLANET#1", "SESSION#0000000000000001#5SESSION"), ("USER#x", "ACCOUNT")],
)
def test_a_kind_of_item_of_a_later_version_is_passed_over(
    delivered: Deliveries, stack: Stack, key: tuple[str, str]
) -> None:
    before = delivered.dead_letters_in("StreamDeadLetters")
    record = a_record(1, Keys={"pk": {"S": key[0]}, "sk": {"S": key[1]}}, NewImage={"anything": {"S": "x"}})

    assert stack.invoker.invoke("stream_changes", {"Records": [record]}) == {"batchItemFailures": []}
    assert delivered.dead_letters_in("StreamDeadLetters") == before


@pytest.mark.parametrize("broken", ["queues", "bus"])
def test_what_could_not_be_sent_is_read_again(
    ada: Learner, delivered: Deliveries, stack: Stack, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    session = ada.open_session(title="t")
    ada.delete(f"/sessions/{session['session_id']}")
    failures = iter([True, True])

    def refuses(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(**params: Any) -> Any:
            if next(failures, False):
                from botocore.exceptions import ClientError

                raise ClientError({"Error": {"Code": "ServiceUnavailable", "Message": ""}}, "x")
            return real(**params)

        return call

    client: Any = queues.client() if broken == "queues" else outbound.client()
    name = "send_message_batch" if broken == "queues" else "put_events"
    monkeypatch.setattr(client, name, refuses(getattr(client, name)))
    delivered.run()

    published_events = {e["detail-type"] for e in delivered.published(ada.user_id)}
    assert published_events == {"SessionCreated", "SessionDeleted"}
    assert next(failures, "used up") == "used up"
    assert delivered.waiting("SweepQueue") == []


def test_the_schemas_are_those_of_the_code() -> None:
    assert event_schemas.main(["--check"]) == 0
