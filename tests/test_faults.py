"""Nothing is lost when AWS fails a learner: at every request of every function, every kind of fault.

Afterwards the learner's items hold together, and the same request sent again succeeds: once, if it has an
`Idempotency-Key`. A function that is in none of the tables below fails the last test.
"""

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from local.functions import FunctionError
from local.stack import Stack
from practice import clock, secrets
from practice.config import config
from practice.store import accounts
from practice.transfers import requests as transfers
from practice.turns.providers import Completion, echo
from tests import deliveries, faults
from tests.invariants import broken
from tests.learners import Answer, Learner, made, new_user_id

pytestmark = pytest.mark.trust

ItemsOf = Callable[[Learner], dict[tuple[str, str], Any]]
PLAIN = {"content-type": "application/x-ndjson"}
LATER = {"prefer": "respond-async"}
EXPORT = b'{"type":"practice-export","version":1,"exported_at":"2026-01-07T05:31:56.120501Z"}'


class World:
    """A learner's account with something of everything, and what an operation on it needs."""

    def __init__(self, learner: Learner, stranger: Learner) -> None:
        self.learner, self.stranger = learner, stranger
        self.jobs: dict[str, str] = {}
        self.example = learner.add_example()["example_id"]
        session = learner.open_session(title="Lesson")
        self.session = session["session_id"]
        learner.patch(f"/sessions/{self.session}/settings", {"few_shot_example_ids": [self.example]})
        self.models = [model["session_model_id"] for model in learner.models_of(session)]
        self.model_name = learner.models_of(session)[0]["model_name"]
        self.response = learner.add_response(session)["response_id"]
        self.long = learner.add_response(session, response_text="x" * 1_000_000)["response_id"]
        queued = learner.post(f"/sessions/{self.session}/chat", {"prompt_text": "Later?"}, headers=LATER)
        self.turn = made(queued, 202)["turn_id"]


Operation = Callable[[World], Answer]
CREATED, READ, GONE, LEFT = (201,), (200,), (204, 404), (202,)


def export_later(w: World) -> Answer:
    """As if there were too much for one answer."""
    patience, transfers.AT_ONCE_SECONDS = transfers.AT_ONCE_SECONDS, 0.0  # type: ignore[misc]
    try:
        return w.learner.get("/export")
    finally:
        transfers.AT_ONCE_SECONDS = patience  # type: ignore[misc]


def import_into_nothing(w: World) -> Answer:
    """The account of a world is full: its stranger's is not."""
    return w.stranger.post("/import", raw=EXPORT, headers=PLAIN)


def get_job(kind: str) -> Operation:
    def get(w: World) -> Answer:
        if kind not in w.jobs:
            begun = export_later(w) if kind == "export" else w.learner.post("/import")
            w.jobs[kind] = begun.headers["location"]
        return w.learner.get(w.jobs[kind])

    return get

OPERATIONS: dict[str, tuple[Operation, tuple[int, ...]]] = {
    "create_session": (lambda w: w.learner.post("/sessions", {"class_id": 1}), CREATED),
    "list_sessions": (lambda w: w.learner.get("/sessions?expand=settings,responses"), READ),
    "get_session": (lambda w: w.learner.get(f"/sessions/{w.session}"), READ),
    "update_session": (lambda w: w.learner.patch(f"/sessions/{w.session}", {"title": "New"}), READ),
    "change_class": (
        lambda w: w.learner.patch(f"/sessions/{w.session}", {"class_id": 2, "agent_id": 9}),
        READ,
    ),
    "delete_session": (lambda w: w.learner.delete(f"/sessions/{w.session}"), GONE),
    "list_session_responses": (lambda w: w.learner.get(f"/sessions/{w.session}/responses"), READ),
    "get_settings": (lambda w: w.learner.get(f"/sessions/{w.session}/settings"), READ),
    "update_settings": (
        lambda w: w.learner.patch(
            f"/sessions/{w.session}/settings",
            {
                "generation_params": {"temperature": 0.1},
                "few_shot_example_ids": [],
                "style_preset": "creative",
            },
        ),
        READ,
    ),
    "list_models": (lambda w: w.learner.get(f"/sessions/{w.session}/models"), READ),
    "add_model": (
        lambda w: w.learner.post(
            f"/sessions/{w.session}/models", {"model_name": w.model_name, "generation_params": {"top_p": 0.3}}
        ),
        CREATED,
    ),
    "update_model": (lambda w: w.learner.patch(f"/models/{w.models[-1]}", {"is_primary": True}), READ),
    "delete_model": (lambda w: w.learner.delete(f"/models/{w.models[0]}"), GONE),
    "list_responses": (lambda w: w.learner.get(f"/models/{w.models[0]}/responses"), READ),
    "add_response": (
        lambda w: w.learner.post(
            f"/models/{w.models[0]}/responses", {"prompt_text": "p", "response_text": "y" * 1_000_000}
        ),
        CREATED,
    ),
    "get_response": (lambda w: w.learner.get(f"/responses/{w.long}"), READ),
    "update_response": (
        lambda w: w.learner.patch(f"/responses/{w.long}", {"response_text": "z" * 900_000}),
        READ,
    ),
    "delete_response": (lambda w: w.learner.delete(f"/responses/{w.long}"), GONE),
    "create_example": (
        lambda w: w.learner.post("/few-shot-examples", {"input_text": "a", "output_text": "b"}),
        CREATED,
    ),
    "list_examples": (lambda w: w.learner.get("/few-shot-examples?is_active=true"), READ),
    "get_example": (lambda w: w.learner.get(f"/few-shot-examples/{w.example}"), READ),
    "update_example": (lambda w: w.learner.patch(f"/few-shot-examples/{w.example}", {"title": "T"}), READ),
    "delete_example": (lambda w: w.learner.delete(f"/few-shot-examples/{w.example}"), GONE),
    "chat": (lambda w: w.learner.post(f"/sessions/{w.session}/chat", {"prompt_text": "Why?"}), CREATED),
    "list_turns": (lambda w: w.learner.get(f"/sessions/{w.session}/turns"), READ),
    "chat later": (
        lambda w: w.learner.post(f"/sessions/{w.session}/chat", {"prompt_text": "Why?"}, headers=LATER),
        LEFT,
    ),
    "run_session": (
        lambda w: w.learner.post(
            "/sessions/run?class_id=1", {"prompt_text": "Why?", "few_shot_example_ids": [w.example]}
        ),
        CREATED,
    ),
    "get_turn": (lambda w: w.learner.get(f"/sessions/{w.session}/turns/{w.turn}"), READ),
    "cancel_turn": (lambda w: w.learner.delete(f"/sessions/{w.session}/turns/{w.turn}"), (204,)),
    "create_export": (lambda w: w.learner.get("/export"), READ),
    "create_export later": (export_later, LEFT),
    "get_export": (get_job("export"), READ),
    "create_import": (import_into_nothing, CREATED),
    "create_import later": (lambda w: w.learner.post("/import"), LEFT),
    "get_import": (get_job("import"), READ),
}

FOR_GOOD, ONCE = 1000, 1

FAULTS: dict[str, tuple[Callable[[Any], Any], int]] = {
    "throttled for good": (faults.throttled, FOR_GOOD),
    "throttled once": (faults.throttled, ONCE),
    "throttled once, with reasons": (faults.throttled_with_reasons, ONCE),
    "failing inside": (faults.broken_inside, FOR_GOOD),
    "in conflict": (faults.in_conflict, 3),
    "cancelled for two reasons": (faults.cancelled("ThrottlingError", "TransactionConflict"), ONCE),
    "cancelled by a throttle": (faults.cancelled("ProvisionedThroughputExceeded"), FOR_GOOD),
    "a transaction in progress": (faults.of_transactions("TransactionInProgressException"), ONCE),
    "a token that does not fit": (faults.of_transactions("IdempotentParameterMismatchException"), ONCE),
    "connection reset": (faults.reset, ONCE),
    "answer lost": (faults.lost, ONCE),
    "answers lost for good": (faults.lost, FOR_GOOD),
    "killed before": (faults.killed_before, ONCE),
    "killed after": (faults.killed_after, ONCE),
}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between tries are not what is tested."""
    real = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: real(min(seconds, 0.001)))


def ask(operation: Operation, world: World) -> Answer | None:
    """None when the process was killed."""
    try:
        answer = operation(world)
    except faults.Killed:
        return None
    return answer


NOT_TRIED_AGAIN = ("killed before", "killed after", "a token that does not fit")
"""What a client has to try again itself."""

EVERY = [(name, fault) for name in OPERATIONS for fault in FAULTS]
SAMPLE = [(name, list(FAULTS)[number % len(FAULTS)]) for number, name in enumerate(OPERATIONS)]
"""One kind of fault for each operation, another one for the next: the rest is for the long run."""


# A model is asked in a thread of its own, which dies with its process.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    ("name", "fault"),
    [pytest.param(*each, marks=() if each in SAMPLE else pytest.mark.torture) for each in EVERY],
)
def test_nothing_is_lost_or_left_half_done(
    somebody: Callable[[], Learner], items_of: ItemsOf, name: str, fault: str
) -> None:
    operation, success = OPERATIONS[name]
    inject, times = FAULTS[fault]
    number = hit = 0
    while True:
        number += 1
        world = World(somebody(), somebody())
        if name in ("get_export", "get_import"):
            operation(world)
        with faults.at(number, inject, times=times) as injected:
            answer = ask(operation, world)
        if injected.requests < number:
            break
        hit += 1
        if not injected.done:
            continue  # this kind of fault spares what was left

        where = f"request {number} of {name}, {fault}"
        assert broken(items_of(world.learner)) == [], where
        if answer is not None:
            assert answer.status in (*success, 500, 503), (where, answer.body[:300])
            assert answer.status != 500 or fault.startswith("killed"), (where, answer.body[:300])
            if answer.status == 503:
                assert int(answer.headers["retry-after"]) >= 1
        if times == ONCE and fault not in NOT_TRIED_AGAIN:
            assert answer is not None, where
            assert answer.status in success, (where, answer.body[:300])
            if success == GONE:
                assert answer.status == 204, where

        again = ask(operation, world)
        assert again is not None, where
        assert again.status in success, (where, again.body[:300])
        assert broken(items_of(world.learner)) == [], where

    assert hit, f"{name} made no request"
    assert injected.requests < 40, f"{name} makes too many requests to try them all"


@pytest.mark.parametrize("name", [name for name, (_, success) in OPERATIONS.items() if success == READ])
def test_batches_that_are_answered_in_part_are_read_to_their_end(ada: Learner, ben: Learner, name: str) -> None:
    world = World(ada, ben)
    operation, _ = OPERATIONS[name]
    if name.startswith(("list", "get")):
        whole = operation(world)
        with faults.partial_batches():
            assert operation(world).json == whole.json
    else:
        with faults.partial_batches():
            assert operation(world).status == 200


def test_a_learner_whose_storage_is_full_can_read_and_delete(ada: Learner, ben: Learner) -> None:
    world = World(ada, ben)
    full = faults.refusal("ItemCollectionSizeLimitExceededException")

    def writes_fail(request: Any) -> Any:
        target = faults.target(request)
        is_delete = b'"Delete"' in request.body and b'"Put"' not in request.body
        if any(kind in target for kind in ("Query", "BatchGetItem", "DeleteItem")) or is_delete:
            return None
        if "TransactWriteItems" in target:
            reasons = [{"Code": "ItemCollectionSizeLimitExceeded"}]
            return faults.refusal("TransactionCanceledException", CancellationReasons=reasons)(request)
        return full(request)

    with faults.at(1, writes_fail, times=FOR_GOOD):
        created = ada.post("/sessions", {"class_id": 1})
        changed = ada.patch(f"/sessions/{world.session}", {"title": "New"})
        read = ada.get(f"/sessions/{world.session}")
        deleted = ada.delete(f"/responses/{world.long}")

    assert (created.status, created.detail) == (507, "storage_full")
    assert (changed.status, changed.detail) == (507, "storage_full")
    assert (read.status, deleted.status) == (200, 204)
