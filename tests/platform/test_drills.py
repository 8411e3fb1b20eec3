"""The drills of docs/runbook.md, by the book, on the local stack."""

import json
import random
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore import xform_name
from botocore.exceptions import ClientError
from botocore.validate import validate_parameters

from local import consumers
from local.data import TOKEN_SECRET
from local.engine import create_table
from local.intrinsics import parse
from local.stack import Stack
from practice import table
from practice.events import consequences
from practice.runtime import queues, secrets
from practice.runtime.config import config
from practice.store import accounts, catalogue, turns
from practice.table import ids, keys
from practice.turns import configuration, worker
from practice.turns.providers import bedrock
from tests.support import deliveries, invariants
from tests.support.deliveries import Deliveries
from tests.support.learners import Learner, learner, made, new_user_id
from tests.support.providers import FakeProvider, Played
from tests.support.recount import miscounts
from tools import deploy, deployed, redrive
from tools.build import ROOT
from tools.deployed import LocalStack, template
from tools.redrive import Redrive
from tools.restore import __main__ as restore
from tools.restore import tables
from tools.restore.changes import AHEAD_BLINDLY
from tools.restore.plan import Command, Names, steps

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
        output = capsys.readouterr()
        return code, output.out, output.err

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


def missing(*_: Any) -> Any:
    raise KeyError("a mistake of ours")


def fails(*_: Any, **__: Any) -> Any:
    raise RuntimeError("a mistake of ours")


def a_response(ada: Learner, session: Json, **fields: object) -> Json:
    return {
        "user_id": ada.user_id,
        "session_model_id": ada.models_of(session)[0]["session_model_id"],
        "prompt_text": "a prompt that stays private",
        "response_text": "an answer that stays private",
        "token_usage": None,
        "latency_ms": None,
        **fields,
    }


def texts_of(ada: Learner, session: Json) -> list[str]:
    found = ada.get(f"/sessions/{session['session_id']}").json["responses"]
    return [each["response_text"] for each in found]


def dead_letter_of_a_bug(
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
    dead_letter_of_a_bug(broken, delivered, stack, "IngestionQueue", message)

    code, output, _ = make_redrive("IngestionDeadLetters")
    assert code == 0
    assert "IngestionDeadLetters: 1 messages" in output
    assert f"user_id={ada.user_id} session_model_id={message['session_model_id']}" in output
    assert redrive.FAILED_TOO_OFTEN in output
    assert "that stays private" not in output
    assert len(delivered.dead_letters_in("IngestionDeadLetters")) == 1
    assert texts_of(ada, session) == []

    code, output, _ = make_redrive("IngestionDeadLetters", dry=False)
    delivered.run()

    assert (code, "sent to IngestionQueue" in output) == (0, True)
    assert texts_of(ada, session) == ["an answer that stays private"]
    assert delivered.dead_letters_in("IngestionDeadLetters") == []


def test_a_replay_that_dies_after_it_sent_is_started_again_and_adds_nothing_twice(
    ada: Learner,
    stack: Stack,
    delivered: Deliveries,
    broken: pytest.MonkeyPatch,
    empty: Callable[[str], None],
) -> None:
    empty("IngestionDeadLetters")
    session = ada.open_session()
    dead_letter_of_a_bug(broken, delivered, stack, "IngestionQueue", a_response(ada, session))

    class Died(BaseException):
        pass

    def die(_: object) -> None:
        raise Died

    dying = Redrive(LocalStack(stack.url), "IngestionDeadLetters")
    broken.setattr(dying, "_delete", die)
    with pytest.raises(Died):
        list(dying.hand_back())
    delivered.run()
    assert len(delivered.dead_letters_in("IngestionDeadLetters")) == 1

    list(Redrive(LocalStack(stack.url), "IngestionDeadLetters").hand_back())
    delivered.run()

    assert texts_of(ada, session) == ["an answer that stays private"]


def test_what_fails_again_is_left_for_the_next_run(
    ada: Learner,
    stack: Stack,
    delivered: Deliveries,
    empty: Callable[[str], None],
    make_redrive: Callable[..., tuple[int, str, str]],
) -> None:
    empty("IngestionDeadLetters")
    session = ada.open_session()
    good, poison = a_response(ada, session, dedup_id="1"), a_response(ada, session, dedup_id="2")
    del poison["prompt_text"]
    for message in (good | {"session_model_id": 1}, poison):
        stack.queues.send("practice-local-IngestionQueue", json.dumps(message))
    delivered.run()

    _, output, _ = make_redrive("IngestionDeadLetters")
    assert "1  missing at prompt_text" in output
    assert "1  model not found" in output
    assert "by ingest_responses" in output

    code, output, _ = make_redrive("IngestionDeadLetters", dry=False)
    delivered.run()

    assert (code, "2 handed back" in output) == (0, True)
    assert len(delivered.dead_letters_in("IngestionDeadLetters")) == 2


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
    dead_letter_of_a_bug(broken, delivered, stack, "IngestionQueue", *messages)
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
    broken.undo()
    delivered.run()
    assert (len(texts_of(ada, session)), len(delivered.dead_letters_in("IngestionDeadLetters"))) == (1, 2)

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
    dead_letter_of_a_bug(broken, delivered, stack, "IngestionQueue", *messages)
    letters = {json.loads(each["body"])["response_text"]: each["message_id"]
               for each in delivered.dead_letters_in("IngestionDeadLetters")}  # fmt: skip

    make_redrive("IngestionDeadLetters", "--id", letters["1"], dry=False)
    code, output, _ = make_redrive("IngestionDeadLetters", "--drop", letters["2"], dry=False)
    delivered.run()

    assert (code, output) == (0, "deleted\n")
    assert texts_of(ada, session) == ["1"]
    assert [each["message_id"] for each in delivered.dead_letters_in("IngestionDeadLetters")] == [
        letters["0"]
    ]


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
    dead_letter_of_a_bug(broken, delivered, stack, "IngestionQueue", a_response(ada, session))
    hand_in("UserErased", {"user_id": ada.user_id})
    delivered.run()

    _, output, _ = make_redrive("IngestionDeadLetters", dry=False)
    delivered.run()

    assert "dropped: its user was erased since" in output
    assert delivered.dead_letters_in("IngestionDeadLetters") == []


@pytest.mark.parametrize("failing", ["dead letter of the function", "given up by Lambda"])
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

    _, output, _ = make_redrive("CatalogueDeadLetters")
    assert f"detail-type=ClassUpdated class_id={class_id}" in output

    code, output, _ = make_redrive("CatalogueDeadLetters", dry=False)
    delivered.run()

    assert (code, "published on the bus as ClassUpdated" in output) == (0, True)
    session = ada.open_session(class_id=class_id)
    assert [each["model_name"] for each in ada.models_of(session)] == ["house-model"]
    assert delivered.dead_letters_in("CatalogueDeadLetters") == []


def _taking_no_version_1() -> Any:
    from pydantic import BaseModel, TypeAdapter

    class Later(BaseModel):
        of_a_later_version: int

    return TypeAdapter(Later)


def an_unread_record(ada: Learner, delivered: Deliveries, broken: pytest.MonkeyPatch) -> Json:
    """A deleted session of which the stream's function could not read the record."""
    session = ada.open_session(notes="notes that stays private")
    ada.add_response(session)
    delivered.run()
    broken.setitem(consequences._CONSEQUENCES, "SESSION", missing)
    ada.delete(f"/sessions/{session['session_id']}")
    delivered.run()
    broken.undo()
    return session


def items_in(items: dict[tuple[str, str], Any], session: Json) -> list[str]:
    return [sk for _, sk in items if sk.startswith("SESSION#") and str(session["session_id"]) in sk]


def test_a_change_in_the_dead_letter_queue_is_read_again(
    ada: Learner,
    delivered: Deliveries,
    broken: pytest.MonkeyPatch,
    empty: Callable[[str], None],
    items_of: ItemsOf,
    make_redrive: Callable[..., tuple[int, str, str]],
) -> None:
    empty("StreamDeadLetters")
    session = an_unread_record(ada, delivered, broken)
    assert items_in(items_of(ada), session) != []

    _, output, _ = make_redrive("StreamDeadLetters")
    assert "1  KeyError" in output
    assert f"pk=USER#{ada.user_id}" in output
    assert "that stays private" not in output

    code, _, _ = make_redrive("StreamDeadLetters", dry=False)
    delivered.run()

    assert code == 0
    assert items_in(items_of(ada), session) == []
    assert delivered.dead_letters_in("StreamDeadLetters") == []


@pytest.fixture
def given_up(
    ada: Learner, delivered: Deliveries, broken: pytest.MonkeyPatch, empty: Callable[[str], None]
) -> Json:
    """A deleted session, of which Lambda gave up the records after they had failed for a day."""
    empty("StreamDeadLetters")
    session = ada.open_session()
    delivered.run()
    ada.delete(f"/sessions/{session['session_id']}")
    broken.setattr(consequences, "of", lambda record: iter(fails()))
    broken.setattr(queues, "dead_letter", fails)
    delivered.give_up_on_stream()
    broken.undo()
    return session


def test_a_batch_that_lambda_gave_up_is_read_from_the_stream_again(
    delivered: Deliveries, given_up: Json, make_redrive: Callable[..., tuple[int, str, str]]
) -> None:
    _, output, _ = make_redrive("StreamDeadLetters")
    assert "RetryAttemptsExhausted" in output
    code, output, complained = make_redrive("StreamDeadLetters", dry=False)

    assert (code, complained) == (0, "")
    sweeps = [json.loads(each["body"]) for each in delivered.waiting("SweepQueue")]
    assert given_up["session_id"] in [each.get("session_id") for each in sweeps]
    delivered.run()


def test_empty_pages_of_the_stream_are_not_its_end_and_are_not_read_for_ever(
    stack: Stack,
    delivered: Deliveries,
    broken: pytest.MonkeyPatch,
    given_up: Json,
    make_redrive: Callable[..., tuple[int, str, str]],
) -> None:
    streams = LocalStack(stack.url).client("dynamodbstreams")
    read, met = streams.get_records, set[str]()

    def nothing(ShardIterator: str) -> Any:  # noqa: N803 (as botocore calls it)
        return {"Records": [], "NextShardIterator": ShardIterator}

    def nothing_at_first(ShardIterator: str) -> Any:  # noqa: N803
        if ShardIterator in met:
            return read(ShardIterator=ShardIterator)
        met.add(ShardIterator)
        return nothing(ShardIterator)

    broken.setattr(streams, "get_records", nothing)
    code, _, complained = make_redrive("StreamDeadLetters", dry=False)
    assert (code, redrive.GONE in complained) == (1, True)

    broken.setattr(streams, "get_records", nothing_at_first)
    code, _, complained = make_redrive("StreamDeadLetters", dry=False)

    assert (code, complained) == (0, "")
    assert met
    sweeps = [json.loads(each["body"]) for each in delivered.waiting("SweepQueue")]
    assert given_up["session_id"] in [each.get("session_id") for each in sweeps]
    delivered.run()


def test_a_batch_that_the_stream_has_forgotten_stays_and_reports_it(
    ada: Learner,
    stack: Stack,
    delivered: Deliveries,
    empty: Callable[[str], None],
    make_redrive: Callable[..., tuple[int, str, str]],
) -> None:
    empty("StreamDeadLetters")
    batch = {"shardId": "none", "startSequenceNumber": "1", "endSequenceNumber": "2", "batchSize": 2}
    stack.queues.send("practice-local-StreamDeadLetters", json.dumps({"DDBStreamBatchInfo": batch}))

    code, _, complained = make_redrive("StreamDeadLetters", dry=False)

    assert (code, "the stream no longer has its records" in complained) == (1, True)
    assert len(delivered.dead_letters_in("StreamDeadLetters")) == 1
    empty("StreamDeadLetters")


def test_a_turn_that_its_workers_died_on_is_done_after_all(
    ada: Learner,
    delivered: Deliveries,
    broken: pytest.MonkeyPatch,
    empty: Callable[[str], None],
    make_redrive: Callable[..., tuple[int, str, str]],
) -> None:
    empty("TurnDeadLetters")
    session = ada.open_session()
    path = f"/sessions/{session['session_id']}/chat"
    accepted = ada.post(path, {"prompt_text": "Why?"}, headers={"Prefer": "respond-async"})
    turn = accepted.headers["location"]
    broken.setattr(worker, "WORKER_LEASE", turns.Lease(0, 0))
    broken.setattr(worker, "answer_turn", fails)
    delivered.run()
    broken.undo()
    assert (accepted.status, ada.get(turn).json["status"]) == (202, "failed")

    _, output, _ = make_redrive("TurnDeadLetters")
    assert f"turn_id={accepted.json['turn_id']}" in output
    make_redrive("TurnDeadLetters", dry=False)
    delivered.run()

    done = ada.get(turn).json
    assert (done["status"], len(done["results"]), done["errors"]) == ("done", 2, [])
    assert delivered.dead_letters_in("TurnDeadLetters") == []


@pytest.mark.usefixtures("delivered")
def test_a_look_at_a_queue_that_takes_too_long_ends_and_reports_it(
    stack: Stack,
    broken: pytest.MonkeyPatch,
    empty: Callable[[str], None],
    make_redrive: Callable[..., tuple[int, str, str]],
) -> None:
    empty("SweepDeadLetters")
    for number in range(3):
        stack.queues.send("practice-local-SweepDeadLetters", json.dumps({"session_id": number}))
    receive, times = Redrive._receive, 0

    def a_few_times(self: Redrive) -> Any:
        nonlocal times
        times += 1
        assert times < 20, "it goes round in circles"
        return receive(self)

    broken.setattr(redrive, "HIDDEN_SECONDS", 0)
    broken.setattr(Redrive, "_receive", a_few_times)
    code, output, _ = make_redrive("SweepDeadLetters")
    broken.undo()

    assert (code, "SweepDeadLetters: 3 messages or more" in output) == (0, True)
    assert "SweepDeadLetters: 3 messages\n" in make_redrive("SweepDeadLetters")[1]
    empty("SweepDeadLetters")


@pytest.mark.usefixtures("delivered")
def test_every_dead_letter_queue_of_the_template_has_a_way_back(stack: Stack) -> None:
    declared = {each.logical_id for each in stack.template.queues.values() if "DeadLetters" in each.name}

    for queue in declared:
        assert Redrive(LocalStack(stack.url), queue).look() is not None
    assert len(declared) >= 8
    with pytest.raises(SystemExit, match="QUEUE is one of"):
        Redrive(LocalStack(stack.url), "SweepQueue")


# Point-in-time restore


@pytest.fixture
def restored(stack: Stack, needs: Callable[[str], None]) -> Iterator[Callable[[], str]]:
    """Another table with the state of this moment, as a restore makes it: what is in it, without its stream."""
    needs("streams")
    client = stack.engine.client()
    made: list[str] = []

    def restore() -> str:
        name = f"practice-restored-{new_user_id()}"
        create_table(client, {**stack.template.table, "TableName": name, "StreamSpecification": None})
        made.append(name)
        for page in client.get_paginator("scan").paginate(TableName=stack.template.table["TableName"]):
            for item in page["Items"]:
                client.put_item(TableName=name, Item=item)
        return name

    yield restore
    for name in made:
        client.delete_table(TableName=name)


@pytest.fixture
def run_restore(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], str]:
    """`python -m tools.restore ...`, and what it prints."""
    monkeypatch.delenv("STACK", raising=False)
    monkeypatch.setenv("PORT", str(stack.server.port))

    def run(arguments: str) -> str:
        capsys.readouterr()
        assert restore.main(arguments.split()) == 0
        return capsys.readouterr().out

    return run


@pytest.fixture
def on(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Moves the functions to another table; what their processes held is gone with them."""

    def move(name: str) -> None:
        monkeypatch.setenv("TABLE_NAME", name)
        config.cache_clear()
        ids.clear_lease()
        accounts.clear_cache()

    yield move
    monkeypatch.undo()
    config.cache_clear()
    ids.clear_lease()
    accounts.clear_cache()


def test_after_a_restore_no_id_is_given_to_a_second_thing(
    ada: Learner,
    stack: Stack,
    monkeypatch: pytest.MonkeyPatch,
    restored: Callable[[], str],
    on: Callable[[str], None],
    run_restore: Callable[[str], str],
) -> None:
    monkeypatch.setattr(ids, "SHARDS", 1)  # so that a counter that went back surely repeats itself
    monkeypatch.setattr("tools.restore.changes.SHARDS", 1)
    old = stack.template.table["TableName"]
    new = restored()
    ids.clear_lease()
    lost = [ada.open_session()["session_id"] for _ in range(40)]

    on(new)
    repeated = [ada.open_session()["session_id"] for _ in range(40)]
    assert set(repeated) & set(lost), "nothing to drill"

    assert "IDS#0" in run_restore(f"carry --from {old} --to {new}")
    run_restore(f"carry --from {old} --to {new} --apply")
    on(new)
    fresh = [ada.open_session()["session_id"] for _ in range(40)]

    assert not set(fresh) & set(lost)
    assert "IDS#0" not in run_restore(f"carry --from {old} --to {new}")


def test_without_the_old_table_the_counters_move_far_ahead(
    stack: Stack, restored: Callable[[], str], run_restore: Callable[[str], str]
) -> None:
    ids.clear_lease()
    ids.new_session_id()
    new = restored()
    client = stack.engine.client()

    output = run_restore(f"carry --to {new} --apply")

    assert "8 done" in output
    moved = [
        client.get_item(TableName=new, Key={"pk": {"S": f"IDS#{shard}"}, "sk": {"S": "LEASE"}})["Item"]
        for shard in range(ids.SHARDS)
    ]
    assert min(int(each["next"]["N"]) for each in moved) >= AHEAD_BLINDLY
    assert ids.SHARDS * ids.UNITS * AHEAD_BLINDLY < 2**38 / 2000


def test_erasures_revocations_and_announcements_outlive_going_back(
    ada: Learner,
    ben: Learner,
    stack: Stack,
    delivered: Deliveries,
    hand_in: HandIn,
    announce: Callable[..., Any],
    restored: Callable[[], str],
    on: Callable[[str], None],
    run_restore: Callable[[str], str],
) -> None:
    old, class_id = stack.template.table["TableName"], ada.user_id
    session = ada.open_session()
    announce(class_id, "before", updated_at="2026-01-01T00:00:00Z")
    ben.open_session()
    delivered.run()
    new = restored()
    asked = datetime.now(UTC) + timedelta(seconds=2)
    hand_in("UserErased", {"user_id": ada.user_id, "updated_at": asked.isoformat()})
    hand_in("TokensRevoked", {"user_id": ben.user_id, "issued_before": asked.isoformat()})
    announce(class_id, "since", updated_at="2026-01-02T00:00:00Z")
    delivered.run()

    on(new)
    assert ada.get(f"/sessions/{session['session_id']}").status == 200, "the restore brought it back"

    output = run_restore(f"carry --from {old} --to {new}")
    assert f"USER#{ada.user_id}: erased" in output
    assert f"USER#{ben.user_id}: tokens revoked by time" in output
    assert f"CLASS#{class_id}" in output
    run_restore(f"carry --from {old} --to {new} --apply")
    delivered.run()

    on(new)
    assert (ada.get("/sessions").status, ben.get("/sessions").status) == (401, 401)
    items = stack.engine.client().query(
        TableName=new,
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": f"USER#{ada.user_id}"}},
    )["Items"]
    assert items == []
    reported = [event["detail-type"] for event in delivered.published(ada.user_id)]
    assert reported.count("UserDataErased") == 2
    [stored] = [catalogue.look_up(class_id, None).practice_class]
    assert stored is not None
    assert stored.model_names() == ["since"]
    again = run_restore(f"carry --from {old} --to {new}")
    assert not any(name in again for name in (f"#{ada.user_id}", f"#{ben.user_id}"))


def test_an_agent_too_long_for_one_item_outlives_going_back(
    stack: Stack,
    announce_agent: Callable[..., int],
    restored: Callable[[], str],
    on: Callable[[str], None],
    run_restore: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("practice.table.items.PART_BYTES", 20_000)
    old, owner = stack.template.table["TableName"], new_user_id()
    before, since = (random.Random(seed).randbytes(50_000).hex() for seed in (1, 2))
    agent_id = announce_agent(owner, system_prompt=before, updated_at="2026-01-01T00:00:00Z")
    new = restored()
    for day in (2, 3):
        announce_agent(owner, agent_id=agent_id, system_prompt=since, updated_at=f"2026-01-0{day}T00:00:00Z")

    run_restore(f"carry --from {old} --to {new} --apply")

    def stored(name: str) -> Any:
        return stack.engine.client().query(
            TableName=name,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": f"AGENT#{agent_id}"}},
        )["Items"]

    on(new)
    agent = catalogue.look_up(None, agent_id).agent
    assert agent is not None
    assert agent.system_prompt == since
    assert len(stored(new)) > 2, "nothing to drill"
    assert stored(new) == stored(old)
    assert f"AGENT#{agent_id}" not in run_restore(f"carry --from {old} --to {new}")


def test_accounts_of_before_move_out_of_the_partitions_of_their_users_items(
    ada: Learner, stack: Stack, items_of: ItemsOf, run_restore: Callable[[str], str]
) -> None:
    ada.add_example()
    before = keys.account_of_before(ada.user_id)
    revocations: dict[str, table.Value] = {
        "revoked_tokens": {"SS": ["a token"]},
        "revoked_before": {"N": repr(time.time() + 5)},
    }
    totals = {"sessions": table.number(3), "examples": table.number(4)}
    table.write(table.update(before, set_to=totals | revocations))
    command = f"accounts --table {stack.template.table['TableName']}"

    assert f"USER#{ada.user_id}: account" in run_restore(command)
    assert before in items_of(ada), "nothing was to be changed"
    run_restore(command + " --apply")
    accounts.clear_cache()

    items = items_of(ada)
    assert before not in items
    moved = items[keys.account(ada.user_id)]
    assert (moved["sessions"], moved["examples"]) == ({"N": "3"}, {"N": "5"})
    assert moved["revoked_tokens"] == {"SS": ["0 a token"]}
    assert ada.get("/sessions").status == 401
    assert f"USER#{ada.user_id}:" not in run_restore(command)


def test_one_user_gets_back_what_was_deleted(
    ada: Learner,
    stack: Stack,
    delivered: Deliveries,
    restored: Callable[[], str],
    items_of: ItemsOf,
    run_restore: Callable[[str], str],
) -> None:
    live = stack.template.table["TableName"]
    example = ada.add_example()
    lost, kept = ada.open_session(), ada.open_session()
    path = f"/sessions/{lost['session_id']}"
    ada.patch(path + "/settings", {"few_shot_example_ids": [example["example_id"]]})
    ada.add_response(lost, response_text="x" * 1_000_000)
    delivered.run()
    before, total = ada.get(path).json, ada.get("/sessions").json["total"]
    new = restored()
    ada.delete(path)
    ada.delete(f"/few-shot-examples/{example['example_id']}")
    delivered.run()
    later = ada.open_session()
    command = f"user --from {new} --to {live} --user-id {ada.user_id}"

    output = run_restore(command)
    assert f"session {lost['session_id']}" in output
    assert ada.get(path).status == 404
    run_restore(command + " --apply")
    delivered.run()

    assert ada.get(path).json == before
    listed = ada.get("/sessions").json
    assert listed["total"] == total + 1
    assert {each["session_id"] for each in listed["items"]} == {
        each["session_id"] for each in (lost, kept, later)
    }
    assert ada.get("/few-shot-examples").json["total"] == 1
    assert invariants.broken(items_of(ada)) == []
    assert "0 to do" in run_restore(command)


def test_bringing_back_may_die_and_be_begun_again(
    ada: Learner,
    stack: Stack,
    delivered: Deliveries,
    broken: pytest.MonkeyPatch,
    restored: Callable[[], str],
    items_of: ItemsOf,
    run_restore: Callable[[str], str],
) -> None:
    live = stack.template.table["TableName"]
    lost, other = ada.open_session(title="lost"), ada.open_session(title="other")
    path = f"/sessions/{lost['session_id']}"
    ada.add_response(lost)
    before = ada.get(path).json
    delivered.run()
    new = restored()
    for each in (lost, other):
        ada.delete(f"/sessions/{each['session_id']}")
    delivered.run()
    command = f"user --from {new} --to {live} --user-id {ada.user_id} --only {lost['session_id']} --apply"
    broken.setattr(LocalStack(stack.url).client("dynamodb"), "transact_write_items", fails)
    with pytest.raises(RuntimeError):
        run_restore(command)
    broken.undo()
    assert (ada.get(path).status, ada.get("/sessions").json["total"]) == (404, 0)

    with pytest.raises(SystemExit, match="has remaining items"):
        run_restore(command)
    run_restore(f"orphans --table {live} --apply")
    delivered.run()
    run_restore(command)

    assert ada.get(path).json == before
    assert [each["title"] for each in ada.get("/sessions").json["items"]] == ["lost"]
    assert invariants.broken(items_of(ada)) == []


@pytest.mark.usefixtures("provider")
@pytest.mark.parametrize("dies", [False, True])
def test_votes_come_back_with_their_counts_once(
    ada: Learner,
    stack: Stack,
    class_of: Callable[..., int],
    delivered: Deliveries,
    broken: pytest.MonkeyPatch,
    restored: Callable[[], str],
    items_of: ItemsOf,
    run_restore: Callable[[str], str],
    dies: bool,
) -> None:
    live = stack.template.table["TableName"]
    class_id = class_of("alpha", "beta")
    lost, kept = (ada.open_session(class_id=class_id) for _ in range(2))
    for session in (lost, lost, kept):
        turn = made(ada.post(f"/sessions/{session['session_id']}/chat", {"prompt_text": "Why?"}), 201)
        path = f"/sessions/{session['session_id']}/turns/{turn['results'][0]['response_id']}/vote"
        made(ada.put(path, {"label": "A"}), 200)
    delivered.run()
    before = made(ada.get(f"/standings?class_id={class_id}"), 200)
    new = restored()
    ada.delete(f"/sessions/{lost['session_id']}")
    delivered.run()
    assert made(ada.get(f"/standings?class_id={class_id}"), 200)["votes"] == 1
    command = f"user --from {new} --to {live} --user-id {ada.user_id} --apply"

    if dies:
        client = LocalStack(stack.url).client("dynamodb")
        calls = iter([client.transact_write_items])

        def dies_at_second(**given: Any) -> Any:
            act = next(calls, fails)
            return act(**given)

        broken.setattr(client, "transact_write_items", dies_at_second)
        with pytest.raises(RuntimeError):
            run_restore(command)
        broken.undo()
        assert miscounts(stack, class_id, [items_of(ada)]) == []
        run_restore(f"orphans --table {live} --apply")
        delivered.run()
        assert miscounts(stack, class_id, [items_of(ada)]) == []
    run_restore(command)
    run_restore(command)

    assert made(ada.get(f"/standings?class_id={class_id}"), 200) == before
    assert miscounts(stack, class_id, [items_of(ada)]) == []


def test_no_message_brings_back_what_a_user_wanted_erased(
    ada: Learner,
    stack: Stack,
    delivered: Deliveries,
    hand_in: HandIn,
    restored: Callable[[], str],
    run_restore: Callable[[str], str],
) -> None:
    ada.open_session()
    new = restored()
    hand_in("UserErased", {"user_id": ada.user_id})
    delivered.run()

    with pytest.raises(SystemExit, match="erased at their request"):
        run_restore(
            f"user --from {new} --to {stack.template.table['TableName']} --user-id {ada.user_id} --apply"
        )


def test_what_deleted_sessions_left_behind_is_found_and_swept(
    ada: Learner,
    stack: Stack,
    delivered: Deliveries,
    broken: pytest.MonkeyPatch,
    empty: Callable[[str], None],
    items_of: ItemsOf,
    run_restore: Callable[[str], str],
) -> None:
    table = stack.template.table["TableName"]
    kept, gone = ada.open_session(), an_unread_record(ada, delivered, broken)
    empty("StreamDeadLetters")

    output = run_restore(f"orphans --table {table}")
    assert f"USER#{ada.user_id} session {gone['session_id']}" in output
    assert str(kept["session_id"]) not in output

    run_restore(f"orphans --table {table} --apply")
    delivered.run()

    assert items_in(items_of(ada), gone) == []
    assert ada.get(f"/sessions/{kept['session_id']}").json == kept


def test_a_restored_table_is_compared_with_the_template() -> None:
    declared = template().table
    whole = {
        "KeySchema": declared["KeySchema"],
        "LocalSecondaryIndexes": declared["LocalSecondaryIndexes"],
        "StreamSpecification": {"StreamEnabled": True, **declared["StreamSpecification"]},
        "DeletionProtectionEnabled": True,
    }
    ttl = {"TimeToLiveStatus": "ENABLED", "AttributeName": "ttl"}
    backups = {"PointInTimeRecoveryDescription": {"PointInTimeRecoveryStatus": "ENABLED"}}
    as_restored = {name: whole[name] for name in ("KeySchema", "LocalSecondaryIndexes")}
    without_one = {**whole, "LocalSecondaryIndexes": declared["LocalSecondaryIndexes"][1:]}

    assert tables.differences(whole, ttl, backups) == []
    assert tables.differences(without_one, ttl, backups) == ["missing index by_created"]
    assert tables.differences(as_restored, {}, {}) == [
        "missing or different stream",
        "no deletion protection",
        "no time to live by ttl",
        "no point-in-time recovery",
    ]


def test_what_the_catalogue_sent_is_kept_for_as_long_as_a_table_can_go_back() -> None:
    resources = parse((ROOT / "template.yaml").read_text())["Resources"]
    archive = resources["CatalogueArchive"]["Properties"]
    rules = [
        event["Properties"]
        for each in resources.values()
        if each["Type"] == "AWS::Serverless::Function"
        for event in each["Properties"].get("Events", {}).values()
        if event["Type"] == "EventBridgeRule"
    ]

    assert archive["RetentionDays"] > 35
    assert [archive["EventPattern"]["source"]] * len(rules) == [rule["Pattern"]["source"] for rule in rules]


NAMES = Names(
    stack="practice-api-prod",
    table="practice-api-prod-PracticeTable-1ABC",
    functions=["p-CreateSession-1", "p-Sweep-2"],
    behind=["p-Sweep-2"],
    triggers=["11111111-2222-3333-4444-555555555555"],
    stage="prod",
    kms_key="arn:aws:kms:eu-central-1:123456789012:key/k",
)
AT = datetime(2026, 1, 7, 9, tzinfo=UTC)


def test_the_plan_of_a_restore_is_a_script_of_calls_that_aws_knows() -> None:
    plan = steps(NAMES, AT)
    session = botocore.session.get_session()

    for step in plan:
        for command in step.commands:
            if isinstance(command, Command):
                model = session.get_service_model(command.service).operation_model(command.operation)
                assert model.input_shape is not None
                validate_parameters(command.parameters, model.input_shape)  # raises ParamValidationError
                if command.service == "dynamodb":
                    assert len(command.parameters.get("TargetTableName", "")) <= 255
    script = "\n\n".join(map(str, plan))
    assert subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True).stderr == ""
    for output in ("--deletion-protection-enabled", "--no-enabled", "--reserved-concurrent-executions 0"):
        assert output in script
    assert script.index("--no-enabled") < script.index("--reserved-concurrent-executions 0")
    assert script.index("carry --from") < script.rindex("delete-function-concurrency")


def test_a_restore_is_deployed_in_spite_of_its_own_alarms_and_on_functions_that_are_stopped() -> None:
    [output] = [
        command
        for step in steps(NAMES, AT)
        for command in step.commands
        if str(command).startswith("make deploy")
    ]
    given = dict(each.split("=", 1) for each in shlex.split(str(output))[2:])

    chosen = deploy.parameters(given["ENV"], given.get("PARAMETERS", ""))

    assert (chosen["DeploymentPreference"], chosen["ProvisionedConcurrency"]) == ("AllAtOnce", "0")


class Account:
    """CloudFormation and Lambda of an account with one stack."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Json]] = []
        self.parameters = {
            "Stage": "prod",
            "KmsKeyArn": "",
            "EventBusName": "default",
            "ProvisionedConcurrency": "0",
        }
        self.outputs = {"TableName": "prod-PracticeTable-1A2B"}
        self.replies: Json = {"Payload": BytesIO(b'{"batchItemFailures": []}')}
        functions = [each.logical_id for each in template().functions.values()]
        self.resources = [
            *(_resource("AWS::Lambda::Function", name) for name in functions),
            _resource("AWS::Lambda::EventSourceMapping", "SweepWork"),
            _resource("AWS::DynamoDB::Table", "PracticeTable"),
        ]

    def describe_stacks(self, **_: Any) -> Json:
        parameters = [{"ParameterKey": k, "ParameterValue": v} for k, v in self.parameters.items()]
        outputs = [{"OutputKey": k, "OutputValue": v} for k, v in self.outputs.items()]
        return {"Stacks": [{"Parameters": parameters, "Outputs": outputs}]}

    def invoke(self, **asked: Any) -> Json:
        self.asked.append(("invoke", asked))
        return self.replies


def _resource(kind: str, name: str) -> Json:
    return {"ResourceType": kind, "LogicalResourceId": name, "PhysicalResourceId": f"prod-{name}-1A2B"}


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Account:
    account = Account()
    monkeypatch.setattr(deployed, "_client", lambda service: account)
    monkeypatch.setattr(deployed, "_listed", lambda stack: account.resources)
    return account


@pytest.mark.usefixtures("account")
def test_a_plan_names_what_the_stack_has(capsys: pytest.CaptureFixture[str]) -> None:
    assert restore.main(["plan", "--stack", "prod", "--at", "2026-01-07T09:00:00+00:00"]) == 0

    script = capsys.readouterr().out
    assert subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True).stderr == ""
    for name in template().functions.values():
        assert script.count(f"prod-{name.logical_id}-1A2B") == 2, "stopped and started"
    behind, front = script.index("# 6."), script.index("# 7.")
    assert behind < script.rindex("prod-EraseItems-1A2B") < front < script.rindex("prod-GetSession-1A2B")
    with pytest.raises(SystemExit, match="time zone"):
        restore.main(["plan", "--stack", "prod", "--at", "2026-01-07T09:00:00"])


def test_no_plan_for_functions_that_aws_would_not_stop(account: Account) -> None:
    account.parameters["ProvisionedConcurrency"] = "3"

    with pytest.raises(SystemExit, match="ProvisionedConcurrency is 3"):
        restore.main(["plan", "--stack", "prod", "--at", "2026-01-07T09:00:00+00:00"])


@pytest.fixture
def moved(account: Account, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> deployed.Stack:
    """The stack after a restore, its table not adopted yet; queues and table are those of the local stack."""
    account.resources = [each for each in account.resources if each["LogicalResourceId"] != "PracticeTable"]
    account.resources += [
        _resource("AWS::SQS::Queue", each.logical_id)
        | {"PhysicalResourceId": LocalStack(stack.url).physical(each.logical_id)}
        for each in template().queues.values()
    ]
    account.outputs["TableName"] = stack.template.table["TableName"]
    by_local = LocalStack(stack.url).client
    monkeypatch.setattr(
        deployed,
        "_client",
        lambda service: by_local(service) if service in ("sqs", "dynamodb") else account,
    )
    return deployed.Stack("prod")


def test_a_stack_that_was_moved_hands_back_before_its_table_is_adopted(
    ada: Learner,
    stack: Stack,
    delivered: Deliveries,
    broken: pytest.MonkeyPatch,
    empty: Callable[[str], None],
    moved: deployed.Stack,
) -> None:
    empty("IngestionDeadLetters")
    session = ada.open_session()
    dead_letter_of_a_bug(broken, delivered, stack, "IngestionQueue", a_response(ada, session))

    [(_, became)] = Redrive(moved, "IngestionDeadLetters").hand_back()
    delivered.run()

    assert became == "sent to IngestionQueue"
    assert texts_of(ada, session) == ["an answer that stays private"]
    assert Names.of(moved).table == stack.template.table["TableName"]


@pytest.mark.usefixtures("delivered")
def test_a_resource_that_a_stack_lacks_is_named(
    ada: Learner, stack: Stack, account: Account, empty: Callable[[str], None], moved: deployed.Stack
) -> None:
    empty("TitlesDeadLetters")
    account.resources = [each for each in account.resources if each["LogicalResourceId"] != "TitlesQueue"]
    stack.queues.send("practice-local-TitlesDeadLetters", json.dumps({"user_id": ada.user_id}))

    with pytest.raises(redrive.CannotHandBack, match="prod has no TitlesQueue"):
        list(Redrive(moved, "TitlesDeadLetters").hand_back())
    empty("TitlesDeadLetters")


def test_a_function_of_a_stack_is_called_as_everybody_calls_it_and_its_failure_is_no_success(
    account: Account,
) -> None:
    stack = deployed.Stack("prod")

    stack.invoke("StreamChanges", {"Records": []})

    assert account.asked == [
        (
            "invoke",
            {
                "FunctionName": "prod-StreamChanges-1A2B",
                "Qualifier": "live",
                "Payload": b'{"Records": []}',
            },
        )
    ]
    for output in (
        {"Payload": BytesIO(b'{"batchItemFailures": [{"itemIdentifier": "1"}]}')},
        {"Payload": BytesIO(b'{"errorMessage": "KeyError"}'), "FunctionError": "Unhandled"},
    ):
        account.replies = output
        with pytest.raises(deployed.NotTaken):
            stack.invoke("StreamChanges", {"Records": []})


def test_the_stack_moves_to_a_restored_table_and_takes_it_in_later(stack: Stack, tmp_path: Path) -> None:
    arn = "arn:aws:dynamodb:us-east-1:000000000000:table/practice-restored/stream/2026"
    text = tables.moved_template((ROOT / "template.yaml").read_text(), "practice-restored", arn)
    moved = parse(text)

    assert "PracticeTable" not in text
    assert moved["Globals"]["Function"]["Environment"]["Variables"]["TABLE_NAME"] == "practice-restored"
    assert moved["Resources"]["StreamChangesChanges"]["Properties"]["EventSourceArn"] == arn
    assert moved["Resources"].keys() | {"PracticeTable"} == tables.adopted(moved)["Resources"].keys()
    adopted = tables.adopted(moved)["Resources"]["PracticeTable"]
    assert adopted["DeletionPolicy"] == "Retain"
    assert "TableName" not in adopted["Properties"]


# Rotation of the token secret

NEW_SECRET = "the secret that comes, of 32 bytes and more"


@pytest.fixture
def store_secret(stack: Stack) -> Iterator[Callable[[str], None]]:
    """`put-secret-value`, and the five minutes after it."""
    path = stack.data.path / "secrets" / TOKEN_SECRET
    before = path.read_text()

    def store(value: str) -> None:
        path.write_text(value)
        secrets.clear_cache()

    yield store
    store(before)


def test_a_rotation_signs_no_learner_out_and_ends_the_old_secret(
    ada: Learner, stack: Stack, store_secret: Callable[[str], None]
) -> None:
    old = stack.token_secret
    session = ada.open_session()
    path = f"/sessions/{session['session_id']}"
    newer = learner(ada.send, NEW_SECRET, ada.user_id)
    assert newer.get(path).status == 401

    store_secret(json.dumps({"current": NEW_SECRET, "previous": old}))
    assert (ada.get(path).status, newer.get(path).status) == (200, 200)
    assert newer.patch(path, {"title": "signed anew"}).status == 200

    store_secret(NEW_SECRET)
    assert (ada.get(path).status, newer.get(path).status) == (401, 200)


def test_a_rotation_can_be_taken_back(
    ada: Learner, stack: Stack, store_secret: Callable[[str], None]
) -> None:
    old = stack.token_secret
    newer = learner(ada.send, NEW_SECRET, ada.user_id)
    store_secret(NEW_SECRET)
    assert ada.get("/sessions").status == 401

    store_secret(json.dumps({"current": NEW_SECRET, "previous": old}))

    assert (ada.get("/sessions").status, newer.get("/sessions").status) == (200, 200)


# A user's erasure request


def test_an_erasure_request_leaves_a_proof_and_nothing_else(
    ada: Learner,
    ben: Learner,
    stack: Stack,
    delivered: Deliveries,
    broken: pytest.MonkeyPatch,
    empty: Callable[[str], None],
    items_of: ItemsOf,
    make_redrive: Callable[..., tuple[int, str, str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    empty("IngestionDeadLetters")
    session = ada.open_session(notes="notes that stays private")
    ada.add_response(session, prompt_text="a prompt that stays private")
    ada.add_example(input_text="an example that stays private")
    ben.open_session()
    dead_letter_of_a_bug(broken, delivered, stack, "IngestionQueue", a_response(ada, session))
    others = items_of(ben)

    asked = (datetime.now(UTC) + timedelta(seconds=2)).isoformat()
    detail = json.dumps({"version": 1, "user_id": ada.user_id, "updated_at": asked})
    entry = {"Source": "practice.catalogue", "DetailType": "UserErased", "Detail": detail}
    answer = LocalStack(stack.url).client("events").put_events(Entries=[entry])
    assert answer["FailedEntryCount"] == 0
    delivered.run()

    [((_, sk), receipt)] = items_of(ada).items()
    assert sk == "ACCOUNT"
    assert receipt.keys() >= {"erased_at", "erased_items", "ttl"}
    assert "erasing" not in receipt
    [erased] = [each for each in delivered.published(ada.user_id) if each["detail-type"] == "UserDataErased"]
    counts = {name: erased["detail"][name] for name in ("sessions", "examples", "responses")}
    assert counts == {"sessions": 1, "examples": 1, "responses": 1}
    accounts.clear_cache()
    assert ada.get("/sessions").status == 401
    assert items_of(ben) == others
    assert make_redrive("IngestionDeadLetters", dry=False)[0] == 0
    assert delivered.dead_letters_in("IngestionDeadLetters") == []
    lines = [record.__dict__ for record in caplog.records]
    assert "UserErased" in str(lines)
    assert "that stays private" not in str(lines)


# A class of 500 at nine


def begin_the_lesson(who: Learner, class_id: int) -> Json:
    """What every client does: the list, a session with its first turn, again after `Retry-After`."""
    assert who.get("/sessions").status == 200
    key = {"Idempotency-Key": "nine o'clock"}
    while True:
        answer = who.post(f"/sessions/run?class_id={class_id}", {"prompt_text": "Begin."}, headers=key)
        if answer.status not in (409, 429, 503):
            return made(answer, 201)
        time.sleep(float(answer.headers.get("retry-after", "1")) * 0.1)


@pytest.mark.parametrize("size", [20, pytest.param(500, marks=pytest.mark.torture)])
@pytest.mark.usefixtures("under_load")
def test_a_class_that_begins_at_once_loses_nothing(
    size: int,
    another_learner: Callable[[], Learner],
    announce: Callable[..., Any],
    delivered: Deliveries,
    items_of: ItemsOf,
) -> None:
    class_id = new_user_id()
    announce(class_id, "alpha", "beta")
    learners = [another_learner() for _ in range(size)]
    dead = delivered.dead_letters()

    with ThreadPoolExecutor(min(50, size)) as at_a_time:
        turns = list(at_a_time.map(lambda who: begin_the_lesson(who, class_id), learners))
    delivered.run()

    numbers = [turn["session_id"] for turn in turns]
    numbers += [result["response_id"] for turn in turns for result in turn["results"]]
    assert len(set(numbers)) == len(numbers) == 3 * size
    for who, turn in zip(learners, turns, strict=True):
        assert turn["errors"] == []
        assert who.get("/sessions").json["total"] == 1
        session = who.get(f"/sessions/{turn['session_id']}").json
        assert [each["response_id"] for each in session["responses"]] == sorted(
            each["response_id"] for each in turn["results"]
        )
        assert session["title"]
        assert invariants.broken(items_of(who)) == []
        reported = [event["detail-type"] for event in delivered.published(who.user_id)]
        assert size > 50 or sorted(reported) == ["SessionCreated", "TurnCompleted"]
    assert delivered.dead_letters() == dead


# An Amazon Bedrock outage


@pytest.fixture
def serve(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Deploys `Models`."""

    def put(url: str, **models: Json) -> None:
        monkeypatch.setenv("MODELS", json.dumps(models))
        monkeypatch.setenv("UNCLAIMED_MODELS", "refuse")
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", url)
        configuration.clear_cache()
        bedrock.clear_cache()

    yield put
    monkeypatch.undo()
    configuration.clear_cache()
    bedrock.clear_cache()


HAIKU = "anthropic.claude-3-haiku-20240307-v1:0"
ON_BEDROCK = {"provider": "bedrock", "id": HAIKU}


def test_an_outage_of_bedrock_costs_a_turn_its_models_and_is_ended_by_configuration(
    ada: Learner, announce: Callable[..., Any], serve: Callable[..., None]
) -> None:
    with FakeProvider() as fake:
        fake.plays[HAIKU.replace(":", "%3A")] = lambda request: Played({}, status=500)
        elsewhere = {"provider": "openai", "base_url": f"{fake.url}/v1", "id": "another"}
        mixed, alone = ada.user_id, ada.user_id + 1
        announce(mixed, "haiku", "other")
        announce(alone, "haiku")
        serve(fake.url, haiku=ON_BEDROCK, other=elsewhere)

        partial = ada.post(f"/sessions/run?class_id={mixed}", {"prompt_text": "Why?"})
        assert partial.status == 201
        assert [each["model_name"] for each in partial.json["results"]] == ["other"]
        assert [(each["model_name"], each["code"]) for each in partial.json["errors"]] == [
            ("haiku", "provider_error")
        ]

        key = {"Idempotency-Key": "the same turn"}
        run = f"/sessions/run?class_id={alone}"
        failed = ada.post(run, {"prompt_text": "Why?"}, headers=key)
        assert (failed.status, failed.detail) == (502, "no_model_answered")
        session = failed.json["session_id"]
        assert ada.get(f"/sessions/{session}").json["responses"] == []

        serve(fake.url, haiku=elsewhere, other=elsewhere)
        again = made(ada.post(f"/sessions/{session}/chat", {"prompt_text": "Why?"}), 201)
        assert [each["response_text"] for each in again["results"]] == ["another says so"]
        retried = ada.post(run, {"prompt_text": "Why?"}, headers=key)
        assert (retried.status, retried.json["errors"]) == (201, [])


def test_a_class_announced_without_the_failing_model_goes_on_at_once(
    ada: Learner, announce: Callable[..., Any], serve: Callable[..., None]
) -> None:
    with FakeProvider() as fake:
        elsewhere = {"provider": "openai", "base_url": f"{fake.url}/v1", "id": "another"}
        announce(ada.user_id, "haiku", "other", updated_at="2026-01-01T00:00:00Z")
        serve(fake.url, haiku=elsewhere | {"id": "failing"}, other=elsewhere)
        session = made(ada.post(f"/sessions/run?class_id={ada.user_id}", {"prompt_text": "Why?"}), 201)
        path = f"/sessions/{session['session_id']}"
        fake.plays["failing"] = lambda request: Played({}, status=500)

        announce(ada.user_id, "other", updated_at="2026-01-02T00:00:00Z")
        during = made(ada.post(path + "/chat", {"prompt_text": "And?"}), 201)
        assert ([each["model_name"] for each in during["results"]], during["errors"]) == (["other"], [])
        assert len(ada.get(path).json["responses"]) == 3

        del fake.plays["failing"]
        announce(ada.user_id, "haiku", "other", updated_at="2026-01-03T00:00:00Z")
        after = made(ada.post(path + "/chat", {"prompt_text": "And?"}), 201)
        assert {each["model_name"] for each in after["results"]} == {"haiku", "other"}


def test_a_model_taken_out_of_the_configuration_fails_at_once_and_asks_no_provider(
    ada: Learner, announce: Callable[..., Any], serve: Callable[..., None]
) -> None:
    with FakeProvider() as fake:
        announce(ada.user_id, "haiku")
        serve(fake.url)

        answer = ada.post(f"/sessions/run?class_id={ada.user_id}", {"prompt_text": "Why?"})

        assert answer.status == 502
        assert [each["code"] for each in answer.json["errors"]] == ["model_not_enabled"]
        assert fake.asked() == {}


# The page itself

PAGE = (ROOT / "docs/runbook.md").read_text()
DRILLS = PAGE.partition("## Drills")[2]
GLOBAL_OPTIONS = {"query", "output", "region"}


def test_every_drill_of_the_page_is_rehearsed_here() -> None:
    sections = re.findall(r"^# (.+)$", Path(__file__).read_text(), re.MULTILINE)

    assert set(re.findall(r"^### (.+)$", DRILLS, re.MULTILINE)) <= set(sections)


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """Every command of the page, its arguments as the shell makes them; nothing of it is carried out."""
    folder = tmp_path_factory.mktemp("commands")
    log = folder / "log"
    for name in ("aws", "make", "python", "openssl"):
        stub = folder / name
        stub.write_text(
            f"#!/bin/bash\nprintf '%s\\0' {name} \"$@\" >> {log}\nprintf '\\n' >> {log}\necho stub\n"
        )
        stub.chmod(0o755)
    script = "set -eu\n" + "\n".join(re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "NEW_TABLE": "given"}
    run = subprocess.run(["bash"], input=script, text=True, capture_output=True, env=environment, cwd=folder)
    assert (run.returncode, run.stderr) == (0, "")
    return [line.rstrip("\0").split("\0") for line in log.read_text().split("\0\n") if line]


def test_the_commands_of_the_page_are_calls_that_aws_knows(output: list[list[str]]) -> None:
    calls = [arguments[1:] for arguments in output if arguments[0] == "aws" and arguments[2] != "wait"]
    session = botocore.session.get_session()

    for service, operation, *options in calls:
        model = session.get_service_model(service)
        by_command = {xform_name(name, "-"): name for name in model.operation_names}
        shape = model.operation_model(by_command[operation]).input_shape
        assert shape is not None
        members = {xform_name(name, "-"): name for name in shape.members}
        given = {
            each.removeprefix("--"): value for each, value in pairwise([*options, ""]) if each[:2] == "--"
        }
        assert given.keys() - GLOBAL_OPTIONS <= members.keys() | {f"no-{name}" for name in members}, operation
        assert {members.get(name) for name in given} >= set(shape.required_members), operation
        for name, value in given.items():
            member = shape.members.get(members.get(name, ""))
            if member and member.type_name in ("structure", "list", "map") and value[:1] in "{[":
                validate_parameters(json.loads(value), member)
    assert len(calls) > 15


def test_the_names_that_the_page_asks_the_stack_for_are_in_the_template(output: list[list[str]]) -> None:
    declared = parse((ROOT / "template.yaml").read_text())
    alias = f"Alias{declared['Globals']['Function']['AutoPublishAlias']}"
    option = "--logical-resource-id"
    asked = {arguments[arguments.index(option) + 1] for arguments in output if option in arguments}

    assert {name.removesuffix(alias) for name in asked} <= declared["Resources"].keys()
    replayed = {name.removesuffix(alias) for name in asked if name.endswith(alias)}
    assert replayed == {
        name
        for name, resource in declared["Resources"].items()
        for event in resource.get("Properties", {}).get("Events", {}).values()
        if event["Type"] == "EventBridgeRule"
    }


def test_the_commands_of_the_page_are_targets_and_tools_of_this_repository(
    output: list[list[str]],
) -> None:
    targets = set(re.findall(r"^([a-z0-9]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    made_by = [arguments[1:] for arguments in output if arguments[0] == "make"]
    tools = [arguments[1:] for arguments in output if arguments[0] == "python"]
    for target, *variables in made_by:
        assert target in targets
        given = dict(each.split("=", 1) for each in variables)
        if target == "redrive":
            assert Redrive(LocalStack("http://unused"), given["QUEUE"]).queue == given["QUEUE"]
        if "PARAMETERS" in given:
            parameters = deploy.parameters("prod", given["PARAMETERS"])
            assert parameters.keys() <= parse((ROOT / "template.yaml").read_text())["Parameters"].keys()
            for model in json.loads(parameters.get("Models", "{}")).values():
                configuration.ModelConfiguration.model_validate(model)
    for _, module, *arguments in tools:
        assert module == "tools.restore"
        assert restore.parser().parse_args(arguments).command in arguments
    assert (len(made_by) > 5, len(tools) > 4) == (True, True)
