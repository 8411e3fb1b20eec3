"""Responses that workers elsewhere made arrive through a queue: each once, whatever happens on the way."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from local import consumers
from local.stack import Stack
from practice import table
from tests.support import deliveries
from tests.support.deliveries import Deliveries
from tests.support.learners import Learner
from tests.support.processes import Killed

QUEUE = "practice-local-IngestionQueue"


@pytest.fixture
def delivered(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Deliveries:
    monkeypatch.setattr(consumers, "retry_delay", lambda attempts: 0)
    return deliveries.of(stack)


@pytest.fixture
def produce(stack: Stack) -> Callable[..., str]:
    def send(body: object) -> str:
        return stack.queues.send(QUEUE, body if isinstance(body, str) else json.dumps(body))

    return send


def a_message(ada: Learner, session: dict[str, Any], **fields: object) -> dict[str, Any]:
    return {
        "user_id": ada.user_id,
        "session_model_id": ada.models_of(session)[0]["session_model_id"],
        "prompt_text": "Why is the sky blue?",
        "response_text": "Air scatters blue light most.",
        "token_usage": {"prompt_tokens": 14, "ratio": 1.0, "note": None},
        "latency_ms": 840,
        "dedup_id": "worker-7/1",
        **fields,
    }


def responses_of(ada: Learner, session: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ada.get(f"/sessions/{session['session_id']}").json["responses"]
    return found


def test_a_message_becomes_a_response_as_if_it_had_been_posted(
    ada: Learner, delivered: Deliveries, produce: Callable[..., str]
) -> None:
    ingested, posted = ada.open_session(), ada.open_session()
    produce(a_message(ada, ingested))
    delivered.run()
    fields = ("prompt_text", "response_text", "token_usage", "latency_ms")
    ada.add_response(posted, **{name: a_message(ada, posted)[name] for name in fields})

    [one], [other] = responses_of(ada, ingested), responses_of(ada, posted)

    own = ("response_id", "session_model_id", "session_id", "created_at")
    assert {k: v for k, v in one.items() if k not in own} == {k: v for k, v in other.items() if k not in own}
    assert ada.get(f"/responses/{one['response_id']}").json == one
    newest = ada.get("/sessions?sort=activity").json["items"]
    assert newest[0]["session_id"] == posted["session_id"]
    turn = ada.get(f"/sessions/{ingested['session_id']}/turns").json["items"]
    assert [each["turn_id"] for each in turn] == [one["response_id"]]


def test_it_moves_its_session_to_the_front(
    ada: Learner, delivered: Deliveries, produce: Callable[..., str]
) -> None:
    first, second = ada.open_session(), ada.open_session()

    produce(a_message(ada, first))
    delivered.run()

    listed = ada.get("/sessions?sort=activity").json["items"]
    assert [each["session_id"] for each in listed] == [first["session_id"], second["session_id"]]


def test_a_producer_that_sends_again_adds_nothing(
    ada: Learner, delivered: Deliveries, produce: Callable[..., str]
) -> None:
    session = ada.open_session()
    for text in ("first", "again", "and again"):
        produce(a_message(ada, session, response_text=text))
    delivered.run()
    produce(a_message(ada, session, response_text="much later"))
    delivered.run()

    assert [each["response_text"] for each in responses_of(ada, session)] == ["first"]


def test_messages_without_a_dedup_id_count_by_their_own(
    ada: Learner, delivered: Deliveries, stack: Stack, produce: Callable[..., str]
) -> None:
    session = ada.open_session()
    message = a_message(ada, session)
    del message["dedup_id"]
    produce(message)
    produce(message | {"dedup_id": None})

    received = stack.queues.receive(QUEUE, 10, visibility=0)
    delivered.run()
    for each in received:  # redelivered although it was taken: visibility ran out
        stack.invoker.invoke("ingest_responses", event_of([(each.message_id, each.body)]))

    assert len(responses_of(ada, session)) == 2


def event_of(messages: list[tuple[str, str]]) -> dict[str, Any]:
    sent = {"SentTimestamp": str(int(time.time() * 1000))}
    return {"Records": [{"messageId": name, "body": body, "attributes": sent} for name, body in messages]}


def test_the_same_dedup_id_of_two_learners_is_two_responses(
    ada: Learner, ben: Learner, delivered: Deliveries, produce: Callable[..., str]
) -> None:
    hers, his = ada.open_session(), ben.open_session()
    produce(a_message(ada, hers))
    produce(a_message(ben, his))

    delivered.run()

    assert (len(responses_of(ada, hers)), len(responses_of(ben, his))) == (1, 1)


def test_several_consumers_of_one_message_add_one_response(ada: Learner, stack: Stack) -> None:
    session = ada.open_session()
    event = event_of([("m", json.dumps(a_message(ada, session)))])
    answers: list[Any] = []
    together = threading.Barrier(4)

    def consume() -> None:
        together.wait()
        answers.append(stack.invoker.invoke("ingest_responses", event))

    threads = [threading.Thread(target=consume) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert answers == [{"batchItemFailures": []}] * 4
    assert len(responses_of(ada, session)) == 1


@pytest.mark.parametrize("moment", ["before-call", "after-call"])
@pytest.mark.parametrize("operation", ["UpdateItem", "TransactWriteItems"])
def test_a_consumer_that_dies_leaves_it_to_the_next(
    ada: Learner, delivered: Deliveries, produce: Callable[..., str], operation: str, moment: str
) -> None:
    session = ada.open_session()
    produce(a_message(ada, session))
    name, events = f"{moment}.dynamodb.{operation}", table.dynamodb().meta.events

    def kill(**_: Any) -> None:
        events.unregister(name, kill)
        raise Killed

    events.register(name, kill)
    delivered.run()

    assert len(responses_of(ada, session)) == 1
    assert delivered.waiting("IngestionQueue") == []


def test_a_faulty_message_costs_the_others_of_its_batch_nothing(
    ada: Learner, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    from botocore.exceptions import ClientError

    first, second = ada.open_session(), ada.open_session()
    asked: list[str] = []
    write = table.dynamodb().transact_write_items

    def throttled_once(**params: Any) -> Any:
        asked.append("transaction")
        if len(asked) == 1:
            raise ClientError({"Error": {"Code": "ThrottlingException", "Message": ""}}, "TransactWriteItems")
        return write(**params)

    monkeypatch.setattr(table.dynamodb(), "transact_write_items", throttled_once)
    event = event_of(
        [
            ("one", json.dumps(a_message(ada, first))),
            ("two", json.dumps(a_message(ada, second, dedup_id="2"))),
        ]
    )

    answer = stack.invoker.invoke("ingest_responses", event)

    assert answer == {"batchItemFailures": [{"itemIdentifier": "one"}]}
    assert (len(responses_of(ada, first)), len(responses_of(ada, second))) == (0, 1)


UNREADABLE: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda message: "{not json", "not JSON"),
    (lambda message: "[" * 100_000, "not JSON"),
    (lambda message: [message], "model_type at the top"),
    (lambda message: {k: v for k, v in message.items() if k != "prompt_text"}, "missing at prompt_text"),
    (lambda message: {k: v for k, v in message.items() if k != "user_id"}, "missing at user_id"),
    (lambda message: message | {"user_id": "me"}, "int_parsing at user_id"),
    (lambda message: message | {"response_text": None}, "string_type at response_text"),
    (lambda message: message | {"response_text": "\0"}, "string_nul at response_text"),
    (lambda message: message | {"prompt_text": "?" * 102_401}, "string_too_long at prompt_text"),
    (lambda message: message | {"latency_ms": -1}, "greater_than_equal at latency_ms"),
    (lambda message: message | {"token_usage": [1]}, "dict_type at token_usage"),
    (lambda message: message | {"dedup_id": ""}, "too_short at dedup_id"),
    (lambda message: message | {"dedup_id": "d" * 256}, "too_long at dedup_id"),
    (lambda message: message | {"session_model_id": 5}, "model not found"),
    (lambda message: message | {"session_model_id": 2**53 - 1}, "model not found"),
]


@pytest.mark.parametrize(
    ("spoil", "reason"), UNREADABLE, ids=[f"{n} {reason}" for n, (_, reason) in enumerate(UNREADABLE)]
)
def test_a_message_that_can_never_succeed_goes_to_the_dead_letter_queue_alone(
    ada: Learner,
    delivered: Deliveries,
    produce: Callable[..., str],
    spoil: Callable[[dict[str, Any]], object],
    reason: str,
) -> None:
    session = ada.open_session()
    bad = spoil(a_message(ada, session))
    body = bad if isinstance(bad, str) else json.dumps(bad)
    produce(body)
    produce(a_message(ada, session, dedup_id="good"))

    delivered.run()

    letter = delivered.dead_letters_in("IngestionDeadLetters")[0]
    assert letter["body"] == body
    assert letter["attributes"]["reason"]["StringValue"].startswith(reason)
    assert len(responses_of(ada, session)) == 1
    assert delivered.waiting("IngestionQueue") == []


def test_a_model_of_another_learner_is_an_unknown_one(
    ada: Learner, ben: Learner, delivered: Deliveries, produce: Callable[..., str]
) -> None:
    his = ben.open_session()
    produce(a_message(ben, his) | {"user_id": ada.user_id})

    delivered.run()

    letter = delivered.dead_letters_in("IngestionDeadLetters")[0]
    assert letter["attributes"]["reason"]["StringValue"] == "model not found"
    assert responses_of(ben, his) == []


def test_a_redelivery_after_the_model_was_deleted_is_no_dead_letter(
    ada: Learner, delivered: Deliveries, produce: Callable[..., str]
) -> None:
    session = ada.open_session()
    message = a_message(ada, session)
    produce(message)
    delivered.run()
    ada.delete(f"/models/{message['session_model_id']}")
    before = len(delivered.dead_letters_in("IngestionDeadLetters"))

    produce(message)
    delivered.run()

    assert len(delivered.dead_letters_in("IngestionDeadLetters")) == before
    assert responses_of(ada, session) == []


def test_a_body_at_the_limit_of_the_queue_goes_to_the_dead_letter_queue_with_its_reason(
    ada: Learner, delivered: Deliveries, produce: Callable[..., str]
) -> None:
    produce("x" * 1_048_576)

    delivered.run()

    letter = delivered.dead_letters_in("IngestionDeadLetters")[0]
    assert letter["attributes"]["reason"]["StringValue"] == "not JSON"
    assert letter["attributes"]["cut"]["StringValue"] == "from 1048576 bytes"
    assert set(letter["body"]) == {"x"}


def test_a_message_of_an_erased_learner_leaves_no_trace(
    ada: Learner,
    delivered: Deliveries,
    stack: Stack,
    hand_in: Callable[[str, dict[str, Any]], Any],
    items_of: Callable[[Learner], dict[tuple[str, str], Any]],
) -> None:
    session = ada.open_session()
    under_way = event_of([("m", json.dumps(a_message(ada, session, response_text="a secret")))])
    hand_in("UserErased", {"user_id": ada.user_id})
    delivered.run()
    before = delivered.dead_letters_in("IngestionDeadLetters")

    assert stack.invoker.invoke("ingest_responses", under_way) == {"batchItemFailures": []}

    assert delivered.dead_letters_in("IngestionDeadLetters") == before
    assert [sk for _, sk in items_of(ada)] == ["ACCOUNT"]
