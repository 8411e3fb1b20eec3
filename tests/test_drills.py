"""The drills of docs/runbook.md, by the book, on the local stack."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local import consumers
from local.stack import Stack
from tests import deliveries
from tests.deliveries import Deliveries
from tests.learners import Learner
from tools import redrive
from tools.deployed import LocalStack
from tools.redrive import Redrive

ItemsOf = Callable[[Learner], dict[tuple[str, str], Any]]
HandIn = Callable[[str, dict[str, Any]], Any]
Json = dict[str, Any]


@pytest.fixture
def delivered(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Deliveries:
    monkeypatch.setattr(consumers, "retry_delay", lambda attempts: 0)
    monkeypatch.setattr(redrive, "WAIT_SECONDS", 0)
    return deliveries.of(stack)


# Replay of dead letters


@pytest.fixture
def make_redrive(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """`make redrive`, and what it prints."""
    monkeypatch.delenv("STACK", raising=False)
    monkeypatch.setenv("HOST", "127.0.0.1")
    monkeypatch.setenv("PORT", str(stack.server.port))

    def run(queue: str, *arguments: str, dry: bool = True) -> tuple[int, str, str]:
        monkeypatch.setenv("DRY", "1" if dry else "0")
        capsys.readouterr()
        code = redrive.main([queue, *arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def empty(stack: Stack) -> Callable[[str], None]:
    """Other tests' letters are none of ours."""

    def clear(queue: str) -> None:
        while found := stack.queues.receive(f"practice-local-{queue}", 100):
            for message in found:
                stack.queues.delete(message.receipt)

    return clear


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """What is broken through it is whole again after `undo()`."""
    with monkeypatch.context() as patched:
        yield patched


def fails(*_: Any, **__: Any) -> Any:
    raise RuntimeError("a mistake of ours")


def a_response(ada: Learner, session: Json, **fields: object) -> Json:
    return {
        "user_id": ada.user_id,
        "session_model_id": ada.models_of(session)[0]["session_model_id"],
        "prompt_text": "a prompt nobody may read",
        "response_text": "an answer nobody may read",
        "token_usage": None,
        "latency_ms": None,
        **fields,
    }


def texts_of(ada: Learner, session: Json) -> list[str]:
    found = ada.get(f"/sessions/{session['session_id']}").json["responses"]
    return [each["response_text"] for each in found]


def set_aside_by_a_bug(
    broken: pytest.MonkeyPatch, delivered: Deliveries, stack: Stack, queue: str, *bodies: Json
) -> None:
    """Messages that come back until their queue has had enough."""
    broken.setattr("practice.store.responses.ingest", fails)
    for body in bodies:
        stack.queues.send(f"practice-local-{queue}", json.dumps(body))
    delivered.run()
    broken.undo()


@pytest.mark.parametrize("dedup_id", ["worker-7/1", None])
def test_what_failed_on_a_bug_is_taken_once_after_the_fix(
    ada: Learner,
    stack: Stack,
    delivered: Deliveries,
    broken: pytest.MonkeyPatch,
    empty: Callable[[str], None],
    make_redrive: Callable[..., tuple[int, str, str]],
    dedup_id: str | None,
) -> None:
    empty("IngestionDeadLetters")
    session = ada.open_session()
    message = a_response(ada, session, dedup_id=dedup_id)
    set_aside_by_a_bug(broken, delivered, stack, "IngestionQueue", message)

    code, said, _ = make_redrive("IngestionDeadLetters")
    assert code == 0
    assert "IngestionDeadLetters: 1 messages" in said
    assert f"user_id={ada.user_id} session_model_id={message['session_model_id']}" in said
    assert redrive.FAILED_TOO_OFTEN in said
    assert "nobody may read" not in said
    assert len(delivered.set_aside("IngestionDeadLetters")) == 1
    assert texts_of(ada, session) == []

    code, said, _ = make_redrive("IngestionDeadLetters", dry=False)
    delivered.run()

    assert (code, "sent to IngestionQueue" in said) == (0, True)
    assert texts_of(ada, session) == ["an answer nobody may read"]
    assert delivered.set_aside("IngestionDeadLetters") == []


def test_a_replay_that_dies_after_it_sent_is_started_again_and_adds_nothing_twice(
    ada: Learner,
    stack: Stack,
    delivered: Deliveries,
    broken: pytest.MonkeyPatch,
    empty: Callable[[str], None],
) -> None:
    empty("IngestionDeadLetters")
    session = ada.open_session()
    set_aside_by_a_bug(broken, delivered, stack, "IngestionQueue", a_response(ada, session))

    class Died(BaseException):
        pass

    def die(_: object) -> None:
        raise Died

    dying = Redrive(LocalStack(stack.url), "IngestionDeadLetters")
    broken.setattr(dying, "_delete", die)
    with pytest.raises(Died):
        list(dying.hand_back())
    delivered.run()
    assert len(delivered.set_aside("IngestionDeadLetters")) == 1

    list(Redrive(LocalStack(stack.url), "IngestionDeadLetters").hand_back())
    delivered.run()

    assert texts_of(ada, session) == ["an answer nobody may read"]


def test_what_fails_again_is_left_for_the_next_run(
    ada: Learner,
    stack: Stack,
    delivered: Deliveries,
    empty: Callable[[str], None],
    make_redrive: Callable[..., tuple[int, str, str]],
) -> None:
    empty("IngestionDeadLetters")
    session = ada.open_session()
    good, hopeless = a_response(ada, session, dedup_id="1"), a_response(ada, session, dedup_id="2")
    del hopeless["prompt_text"]
    for message in (good | {"session_model_id": 1}, hopeless):
        stack.queues.send("practice-local-IngestionQueue", json.dumps(message))
    delivered.run()

    _, said, _ = make_redrive("IngestionDeadLetters")
    assert "1  missing at prompt_text" in said
    assert "1  model not found" in said
    assert "by ingest_responses" in said

    code, said, _ = make_redrive("IngestionDeadLetters", dry=False)
    delivered.run()

    assert (code, "2 handed back" in said) == (0, True)
    assert len(delivered.set_aside("IngestionDeadLetters")) == 2


def test_a_replay_stops_at_the_first_message_that_is_not_taken(
    ada: Learner,
    stack: Stack,
    delivered: Deliveries,
    broken: pytest.MonkeyPatch,
    empty: Callable[[str], None],
) -> None:
    empty("IngestionDeadLetters")
    session = ada.open_session()
    messages = [a_response(ada, session, dedup_id=str(n), response_text=str(n)) for n in range(3)]
    set_aside_by_a_bug(broken, delivered, stack, "IngestionQueue", *messages)
    run = Redrive(LocalStack(stack.url), "IngestionDeadLetters")
    sent = 0

    def once(**message: Any) -> None:
        nonlocal sent
        sent += 1
        if sent > 1:
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "SendMessage")
        stack.queues.send("practice-local-IngestionQueue", message["MessageBody"])

    broken.setattr(run._sqs, "send_message", once)
    with pytest.raises(redrive.CannotHandBack, match="AccessDenied"):
        list(run.hand_back())
    delivered.run()
    assert (len(texts_of(ada, session)), len(delivered.set_aside("IngestionDeadLetters"))) == (1, 2)

    list(Redrive(LocalStack(stack.url), "IngestionDeadLetters").hand_back())
    delivered.run()
    assert sorted(texts_of(ada, session)) == ["0", "1", "2"]


def test_one_message_can_be_chosen_and_one_be_dropped(
    ada: Learner,
    stack: Stack,
    delivered: Deliveries,
    broken: pytest.MonkeyPatch,
    empty: Callable[[str], None],
    make_redrive: Callable[..., tuple[int, str, str]],
) -> None:
    empty("IngestionDeadLetters")
    session = ada.open_session()
    messages = [a_response(ada, session, dedup_id=str(n), response_text=str(n)) for n in range(3)]
    set_aside_by_a_bug(broken, delivered, stack, "IngestionQueue", *messages)
    letters = {json.loads(each["body"])["response_text"]: each["message_id"]
               for each in delivered.set_aside("IngestionDeadLetters")}  # fmt: skip

    make_redrive("IngestionDeadLetters", "--id", letters["1"], dry=False)
    code, said, _ = make_redrive("IngestionDeadLetters", "--drop", letters["2"], dry=False)
    delivered.run()

    assert (code, said) == (0, "deleted\n")
    assert texts_of(ada, session) == ["1"]
    assert [each["message_id"] for each in delivered.set_aside("IngestionDeadLetters")] == [letters["0"]]


def test_what_its_user_wanted_erased_is_dropped(
    ada: Learner,
    stack: Stack,
    delivered: Deliveries,
    broken: pytest.MonkeyPatch,
    empty: Callable[[str], None],
    hand_in: HandIn,
    make_redrive: Callable[..., tuple[int, str, str]],
) -> None:
    empty("IngestionDeadLetters")
    session = ada.open_session()
    set_aside_by_a_bug(broken, delivered, stack, "IngestionQueue", a_response(ada, session))
    hand_in("UserErased", {"user_id": ada.user_id})
    delivered.run()

    _, said, _ = make_redrive("IngestionDeadLetters", dry=False)
    delivered.run()

    assert "dropped: its user was erased since" in said
    assert delivered.set_aside("IngestionDeadLetters") == []


@pytest.mark.parametrize("failing", ["set aside by the function", "given up by Lambda"])
def test_an_announcement_is_put_on_the_bus_again(
    ada: Learner,
    stack: Stack,
    delivered: Deliveries,
    broken: pytest.MonkeyPatch,
    empty: Callable[[str], None],
    make_redrive: Callable[..., tuple[int, str, str]],
    failing: str,
) -> None:
    empty("CatalogueDeadLetters")
    class_id = ada.user_id
    if failing == "given up by Lambda":
        broken.setattr("practice.store.catalogue.announce", fails)
    else:
        broken.setattr("practice.events.catalogue.SESSION_MODELS", 0)
        broken.setattr("practice.events.catalogue._CLASS_UPDATED", _taking_no_version_1())
    detail = {
        "version": 1,
        "updated_at": "2026-01-07T09:00:00Z",
        "class_id": class_id,
        "status": "active",
        "primary_model": None,
        "allowed_models": ["house-model"],
    }
    entry = {"Source": "practice.catalogue", "DetailType": "ClassUpdated", "Detail": json.dumps(detail)}
    stack.bus.put_events({"Entries": [entry]})
    delivered.run()
    broken.undo()

    _, said, _ = make_redrive("CatalogueDeadLetters")
    assert f"detail-type=ClassUpdated class_id={class_id}" in said

    code, said, _ = make_redrive("CatalogueDeadLetters", dry=False)
    delivered.run()

    assert (code, "put on the bus as ClassUpdated" in said) == (0, True)
    session = ada.open_session(class_id=class_id)
    assert [each["model_name"] for each in ada.models_of(session)] == ["house-model"]
    assert delivered.set_aside("CatalogueDeadLetters") == []


def _taking_no_version_1() -> Any:
    from pydantic import BaseModel, TypeAdapter

    class Later(BaseModel):
        of_a_later_version: int

    return TypeAdapter(Later)
