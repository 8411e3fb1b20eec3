"""Nothing is lost when AWS fails a learner: at every request of every function, every kind of fault.

Afterwards the learner's items hold together, and the same request sent again succeeds: once, if it has an
`Idempotency-Key`. A function that is in none of the tables below fails the last test.
"""

import json
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from itertools import product
from pathlib import Path
from random import Random
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest

from local.functions import FunctionError
from local.stack import Stack
from practice.runtime import clock
from practice.store import reservations, turns
from practice.transfers import export_jobs
from practice.turns import worker
from practice.turns.providers import Parts, echo
from tests.support import faults
from tests.support.invariants import broken
from tests.support.learners import Answer, Learner, made, new_user_id
from tests.support.lists import assert_complete
from tests.support.live import Refused, Socket
from tests.support.processes import Killed
from tests.support.recount import miscounts
from tests.support.torture import chosen

pytestmark = [pytest.mark.trust, pytest.mark.usefixtures("stack")]

ItemsOf = Callable[[Learner], dict[tuple[str, str], Any]]
PLAIN = {"content-type": "application/x-ndjson"}
LATER = {"prefer": "respond-async"}
EXAMPLE = (
    b'\n{"type":"example","example_id":5,"input_text":"a","output_text":"b",'
    b'"created_at":"2026-01-07T05:31:56.120501Z","updated_at":"2026-01-07T05:31:56.120501Z"}'
)
LONG = b64encode(Random(0).randbytes(375_000)).decode()
"""More than one item holds, however it is compressed."""
EXPORT = b'{"type":"practice-export","version":1,"exported_at":"2026-01-07T05:31:56.120501Z"}'


class World:
    """A learner's account with something of everything, and what an operation on it needs."""

    def __init__(self, learner: Learner, other: Learner, class_id: int = 1) -> None:
        self.learner, self.other, self.lesson_class = learner, other, class_id
        self.jobs: dict[str, str] = {}
        self.example = learner.add_example()["example_id"]
        session = learner.open_session(title="Lesson", class_id=class_id)
        self.session = session["session_id"]
        learner.patch(f"/sessions/{self.session}/settings", {"few_shot_example_ids": [self.example]})
        models = learner.models_of(session)
        self.models = [each["session_model_id"] for each in models]
        self.model_name = models[0]["model_name"]
        self.response = self.keep("Because.")
        queued = learner.post(f"/sessions/{self.session}/chat", {"prompt_text": "Later?"}, headers=LATER)
        self.turn = made(queued, 202)["turn_id"]
        self.class_id = 0
        self.long, self.judged = 0, ""

    def keep(self, text: str) -> int:
        body = {"prompt_text": "Why?", "response_text": text}
        kept: int = made(self.learner.post(f"/models/{self.models[0]}/responses", body), 201)["response_id"]
        return kept

    def keep_long(self) -> None:
        self.long = self.keep(LONG)

    def judge(self) -> None:
        """A turn in a class of its own, with a vote and a rating."""
        self.answer()
        made(self.learner.put(f"{self.judged}/vote", {"tie": "good"}), 200)
        made(self.learner.put(f"/responses/{self.answers[0]}/rating", {"score": 2}), 200)

    def answer(self) -> None:
        """The same turn before it is judged."""
        self.class_id = new_user_id()
        session = self.learner.open_session(class_id=self.class_id)
        chat = self.learner.post(f"/sessions/{session['session_id']}/chat", {"prompt_text": "Which?"})
        self.answers = [each["response_id"] for each in made(chat, 201)["results"]]
        self.judged = chat.headers["location"]


Operation = Callable[[World], Answer]
Subject = TypeVar("Subject")
Result = TypeVar("Result")
CREATED, READ, GONE, LEFT = (201,), (200,), (204, 404), (202,)


def export_later(w: World) -> Answer:
    """As if there were too much for one answer."""
    seconds_to_wait, export_jobs.AT_ONCE_SECONDS = export_jobs.AT_ONCE_SECONDS, 0.0  # type: ignore[misc]
    try:
        return w.learner.get("/export")
    finally:
        export_jobs.AT_ONCE_SECONDS = seconds_to_wait  # type: ignore[misc]


def import_into_nothing(w: World) -> Answer:
    """The account of a world is full: its stranger's is not."""
    return w.other.post("/import", raw=EXPORT, headers=PLAIN)


def get_job(kind: str) -> Operation:
    def get(w: World) -> Answer:
        if kind not in w.jobs:
            begun = export_later(w) if kind == "export" else w.learner.post("/import")
            w.jobs[kind] = begun.headers["location"]
        return w.learner.get(w.jobs[kind])

    return get


def cancel(w: World) -> Answer:
    return w.learner.delete(f"/sessions/{w.session}/turns/{w.turn}")


def run_by(lease: turns.Lease) -> Callable[[World], object]:
    """The queued turn of a world as its worker claims it."""
    return lambda w: turns.claim(w.learner.user_id, w.turn, lease)


LAPSED = turns.Lease(-1, 3600)
READ_OR_DELETE_LONG = (
    *("list_sessions", "get_session", "change_class", "delete_session", "list_session_responses"),
    *("delete_model", "list_responses", "get_response", "update_response", "delete_response", "chat"),
    *("create_export", "create_export later"),
)
BEFORE: dict[str, Callable[[World], object]] = {
    **dict.fromkeys(READ_OR_DELETE_LONG, World.keep_long),
    "get_export": get_job("export"),
    "get_import": get_job("import"),
    "cancel_turn running": run_by(worker.WORKER_LEASE),
    "cancel_turn lapsed": run_by(LAPSED),
    **dict.fromkeys(("put_rating", "put_vote", "get_blind_turn"), World.answer),
    **dict.fromkeys(("put_rating again", "get_rating", "delete_rating", "get_standings"), World.judge),
    **dict.fromkeys(("put_vote again", "get_vote", "delete_vote", "delete_response judged"), World.judge),
}
"""What has happened already when an operation begins."""


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
    "get_effective_parameters": (
        lambda w: w.learner.get(f"/sessions/{w.session}/effective-parameters"),
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
            f"/models/{w.models[0]}/responses", {"prompt_text": "p", "response_text": LONG}
        ),
        CREATED,
    ),
    "get_response": (lambda w: w.learner.get(f"/responses/{w.long}"), READ),
    "update_response": (
        lambda w: w.learner.patch(f"/responses/{w.long}", {"response_text": LONG[::-1]}),
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
            f"/sessions/run?class_id={w.lesson_class}",
            {"prompt_text": "Why?", "few_shot_example_ids": [w.example]},
        ),
        CREATED,
    ),
    "get_turn": (lambda w: w.learner.get(f"/sessions/{w.session}/turns/{w.turn}"), READ),
    "get_usage": (lambda w: w.learner.get("/usage"), READ),
    "cancel_turn": (cancel, (204,)),
    "cancel_turn running": (cancel, (204,)),
    "cancel_turn lapsed": (cancel, (204,)),
    "put_rating": (lambda w: w.learner.put(f"/responses/{w.answers[0]}/rating", {"score": 4}), READ),
    "put_rating again": (lambda w: w.learner.put(f"/responses/{w.answers[0]}/rating", {"score": 4}), READ),
    "get_rating": (lambda w: w.learner.get(f"/responses/{w.answers[0]}/rating"), READ),
    "delete_rating": (lambda w: w.learner.delete(f"/responses/{w.answers[0]}/rating"), GONE),
    "get_blind_turn": (lambda w: w.learner.get(f"{w.judged}/blind"), READ),
    "put_vote": (lambda w: w.learner.put(f"{w.judged}/vote", {"label": "A"}), READ),
    "put_vote again": (lambda w: w.learner.put(f"{w.judged}/vote", {"label": "A"}), READ),
    "get_vote": (lambda w: w.learner.get(f"{w.judged}/vote"), READ),
    "delete_vote": (lambda w: w.learner.delete(f"{w.judged}/vote"), GONE),
    "delete_response judged": (lambda w: w.learner.delete(f"/responses/{w.answers[0]}"), GONE),
    "get_standings": (lambda w: w.learner.get(f"/standings?class_id={w.class_id}"), READ),
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


def ask(operation: Callable[[Subject], Answer], world: Subject) -> Answer | None:
    """None when the process was killed."""
    try:
        answer = operation(world)
    except Killed:
        return None
    return answer


NOT_TRIED_AGAIN = ("killed before", "killed after", "a token that does not fit")
"""What a client has to try again itself."""


Cases = list[tuple[str, str]]


def long_and_short(every: Cases, some: Cases) -> list[Any]:
    """All of some, and of the others what the long run has."""
    return [*some, *(pytest.param(*each, marks=pytest.mark.torture) for each in every if each not in some)]


def each_request(
    name: str, fault: str, prepare: Callable[[], Subject], act: Callable[[Subject], Result]
) -> Iterator[tuple[str, Subject, Result]]:
    """What comes of the operation when the fault hits its first request, its second, and so on, each time anew.

    Requests that this kind of fault spares are passed over.
    """
    inject, times = FAULTS[fault]
    number = 1
    while True:
        subject = prepare()
        with faults.at(number, inject, times=times) as injected:
            result = act(subject)
        if not injected.done:
            assert injected.requests or number > 1, f"{name} made no request"
            return
        yield f"request {injected.first} of {name}, {fault}", subject, result
        number = injected.first + 1


EVERY = [each for each in product(OPERATIONS, FAULTS) if chosen(each)]
SAMPLE = [(name, list(FAULTS)[number % len(FAULTS)]) for number, name in enumerate(OPERATIONS)]
"""One kind of fault for each operation, another one for the next: the rest is for the long run."""


# A model is asked in a thread of its own, which dies with its process.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    ("name", "fault"),
    long_and_short(EVERY, SAMPLE),
)
def test_nothing_is_lost_or_left_half_done(
    another_learner: Callable[[], Learner],
    items_of: ItemsOf,
    stack: Stack,
    name: str,
    fault: str,
) -> None:
    operation, success = OPERATIONS[name]
    is_tried_again = FAULTS[fault][1] == ONCE and fault not in NOT_TRIED_AGAIN

    def wrong(world: World) -> list[str]:
        items = items_of(world.learner)
        return broken(items) + (miscounts(stack, world.class_id, [items]) if world.class_id else [])

    worlds: list[World] = []

    def prepare() -> World:
        if not worlds or not name.startswith(("get_", "list_")):  # what only reads leaves its world as it was
            worlds.append(World(another_learner(), another_learner()))
            if name in BEFORE:
                BEFORE[name](worlds[-1])
        return worlds[-1]

    for where, world, answer in each_request(name, fault, prepare, lambda world: ask(operation, world)):
        assert wrong(world) == [], where
        if answer is not None:
            assert answer.status in (*success, 500, 503), (where, answer.body[:300])
            assert answer.status != 500 or fault.startswith("killed"), (where, answer.body[:300])
            if answer.status == 503:
                assert int(answer.headers["retry-after"]) >= 1
        if is_tried_again:
            assert answer is not None, where
            assert answer.status in success, (where, answer.body[:300])
            if success == GONE:
                assert answer.status == 204, where

        with later(60 if name == "create_import" else 0):  # the claim of an import that died lapses
            again = ask(operation, world)
        assert again is not None, where
        assert again.status in success, (where, again.body[:300])
        assert wrong(world) == [], where


def without_link(read: Any) -> Any:
    """A presigned link carries the second in which it was signed."""
    if isinstance(read, dict):
        return {name: value for name, value in read.items() if name not in ("url", "upload_url")}
    return read


@pytest.mark.parametrize("name", [name for name, (_, success) in OPERATIONS.items() if success == READ])
def test_batches_that_are_answered_in_part_are_read_to_their_end(
    ada: Learner, ben: Learner, name: str
) -> None:
    world = World(ada, ben)
    if name in BEFORE:
        BEFORE[name](world)
    operation, _ = OPERATIONS[name]
    if name.startswith(("list", "get")):
        whole = operation(world)
        with faults.partial_batches():
            assert without_link(operation(world).json) == without_link(whole.json)
    else:
        with faults.partial_batches():
            assert operation(world).status == 200


def test_a_learner_whose_storage_is_full_can_read_and_delete(ada: Learner, ben: Learner) -> None:
    world = World(ada, ben)
    world.keep_long()
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


@pytest.mark.parametrize(
    "path",
    ["/sessions?class_id=7", "/sessions?project_id=3&page=2&size=1", "/few-shot-examples?is_active=false"],
)
def test_pages_that_hold_nothing_are_not_the_end(ada: Learner, path: str) -> None:
    for n in range(3):
        ada.open_session(class_id=7 + n % 2, project_id=3 - n % 2)
        ada.add_example(is_active=bool(n % 2))
    whole = ada.get(path).json

    with faults.empty_pages() as pages:
        found = ada.get(path).json

    assert found == whole
    assert whole["items"]
    assert pages.done


# Sent again with the same Idempotency-Key


KEY = {"idempotency-key": "lesson-1"}


class Desk:
    """A learner about to send a POST, a newcomer about to import, and what they have of everything."""

    def __init__(self, learner: Learner, newcomer: Learner, items_of: ItemsOf) -> None:
        self.learner, self.newcomer, self.items_of = learner, newcomer, items_of
        self.session = learner.open_session()["session_id"]
        models = learner.models_of({"session_id": self.session})
        self.models = [each["session_model_id"] for each in models]
        self.model_name = models[0]["model_name"]
        self.before = self.counted()

    def counted(self) -> Counter[str]:
        sessions = self.learner.get("/sessions?size=200").json
        paths = [f"/sessions/{each['session_id']}" for each in sessions["items"]]
        examples = [who.get("/few-shot-examples").json["total"] for who in (self.learner, self.newcomer)]
        return Counter(
            sessions=sessions["total"],
            examples=sum(examples),
            transfers=sum(
                sk.startswith("TRANSFER#")
                and '"status":"failed"' not in item["doc"]["S"]
                and '"has_file":false' not in item["doc"]["S"]  # which is answered by what it imported
                for (_, sk), item in self.items_of(self.newcomer).items()
            ),
            responses=sum(len(self.learner.get(path).json["responses"]) for path in paths),
            turns=sum(len(self.learner.get(f"{path}/turns").json["items"]) for path in paths),
        )

    def answered(self) -> list[str]:
        """The models whose answers stand in the table."""
        sessions = self.learner.get("/sessions?size=200").json["items"]
        found = [self.learner.get(f"/sessions/{each['session_id']}").json["responses"] for each in sessions]
        return [each["model_name"] for responses in found for each in responses]


Post = Callable[[Desk], Answer]

POSTS: dict[str, tuple[Post, Counter[str]]] = {
    "create_session": (
        lambda d: d.learner.post("/sessions", {"class_id": 1}, headers=KEY),
        Counter(sessions=1),
    ),
    "create_example": (
        lambda d: d.learner.post("/few-shot-examples", {"input_text": "a", "output_text": "b"}, headers=KEY),
        Counter(examples=1),
    ),
    "add_model": (
        lambda d: d.learner.post(
            f"/sessions/{d.session}/models",
            {"model_name": d.model_name, "generation_params": {"top_p": 0.3}},
            headers=KEY,
        ),
        Counter(),
    ),
    "add_response": (
        lambda d: d.learner.post(
            f"/models/{d.models[0]}/responses", {"prompt_text": "p", "response_text": "y"}, headers=KEY
        ),
        Counter(responses=1, turns=1),
    ),
    "chat": (
        lambda d: d.learner.post(f"/sessions/{d.session}/chat", {"prompt_text": "Why?"}, headers=KEY),
        Counter(responses=2, turns=1),
    ),
    "chat later": (
        lambda d: d.learner.post(f"/sessions/{d.session}/chat", {"prompt_text": "Why?"}, headers=KEY | LATER),
        Counter(turns=1),
    ),
    "run_session": (
        lambda d: d.learner.post("/sessions/run?class_id=1", {"prompt_text": "Why?"}, headers=KEY),
        Counter(sessions=1, responses=2, turns=1),
    ),
    "create_import": (
        lambda d: d.newcomer.post("/import", raw=EXPORT + EXAMPLE, headers=KEY | PLAIN),
        Counter(examples=1),
    ),
    "create_import from a file": (
        lambda d: d.newcomer.post("/import", headers=KEY),
        Counter(transfers=1),
    ),
    "create_import later": (
        lambda d: d.newcomer.post("/import", raw=EXPORT + b"\n" * 1_001, headers=KEY | PLAIN),
        Counter(transfers=1),
    ),
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each model was asked."""
    times: Counter[str] = Counter()
    answer = echo.complete

    def complete(model: Any, *arguments: Any) -> Parts:
        times[model.id] += 1
        return answer(model, *arguments)

    monkeypatch.setattr(echo, "complete", complete)
    return times


@contextmanager
def later(seconds: float) -> Iterator[None]:
    """What was left behind has lapsed."""
    real = time.time
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(time, "time", lambda: real() + seconds)
        yield


EVERY_POST = [each for each in product(POSTS, FAULTS) if chosen(each)]
SOME_POSTS = [
    *((name, "killed after") for name in ("create_session", "add_response", "run_session")),
    *((name, "answer lost") for name in ("create_example", "chat later", "create_import")),
    ("create_import later", "killed after"),
    ("chat", "throttled for good"),
]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    ("name", "fault"),
    long_and_short(EVERY_POST, SOME_POSTS),
)
def test_with_a_key_the_work_is_done_once_and_answered_the_same(
    another_learner: Callable[[], Learner],
    items_of: ItemsOf,
    asked: Counter[str],
    name: str,
    fault: str,
) -> None:
    post, work = POSTS[name]

    def prepare() -> Desk:
        return Desk(another_learner(), another_learner(), items_of)

    for where, desk, first in each_request(name, fault, prepare, lambda desk: ask(post, desk)):
        answered, asked_before = desk.answered(), Counter(asked)
        with later(60):
            again, once_more = ask(post, desk), ask(post, desk)

        assert again is not None, where
        assert again.status in (201, 202), (where, again.body[:300])
        assert once_more is not None, where
        assert (once_more.status, once_more.json) == (again.status, again.json), where
        if first is not None and first.status == again.status:
            assert first.json == again.json, where
        gained = desk.counted() - desk.before
        if first is not None and first.status == 502:  # not kept: the retry began another turn
            assert gained["responses"] == work["responses"], where
        else:
            assert gained == work, where
        if name in ("chat", "run_session"):
            for model in answered:
                assert asked[model] == asked_before[model], (where, model)
        assert broken(items_of(desk.learner)) == [], where


# What arrives by queue, bus and stream: what fails comes again


Event = dict[str, Any]
Holds = Callable[[], None]


def by_queue(**message: Any) -> Event:
    attributes = {"SentTimestamp": str(int(time.time() * 1000)), "ApproximateReceiveCount": "1"}
    record = {
        "messageId": "1",
        "body": json.dumps(message),
        "eventSource": "aws:sqs",
        "attributes": attributes,
    }
    return {"Records": [record]}


def by_bus(kind: str, **detail: Any) -> Event:
    now = {"version": 1, "updated_at": datetime.now(UTC).isoformat()}
    return {"id": "1", "source": "practice.catalogue", "detail-type": kind, "detail": now | detail}


def sweep(w: World, stack: Stack, items_of: ItemsOf) -> tuple[Event, Holds]:
    w.keep_long()
    assert w.learner.delete(f"/sessions/{w.session}").status == 204

    def holds() -> None:
        assert [sk for _, sk in items_of(w.learner) if sk.startswith("SESSION#")] == []

    return by_queue(sweep="session", user_id=w.learner.user_id, session_id=w.session), holds


def sweep_example(w: World, stack: Stack, items_of: ItemsOf) -> tuple[Event, Holds]:
    assert w.learner.delete(f"/few-shot-examples/{w.example}").status == 204

    def holds() -> None:
        assert not any("examples" in item for (_, sk), item in items_of(w.learner).items() if sk != "ACCOUNT")

    return by_queue(sweep="example", user_id=w.learner.user_id, example_id=w.example), holds


def erase_user(w: World, stack: Stack, items_of: ItemsOf) -> tuple[Event, Holds]:
    def holds() -> None:
        assert "erasing" in items_of(w.learner)[f"USER#{w.learner.user_id}#ACCOUNT", "ACCOUNT"]
        waiting = stack.queues.peek("practice-local-ErasureQueue", 1_000_000)
        assert any(json.loads(each["body"]) == {"user_id": w.learner.user_id} for each in waiting)

    return by_bus("UserErased", user_id=w.learner.user_id), holds


def erase_items(w: World, stack: Stack, items_of: ItemsOf) -> tuple[Event, Holds]:
    w.keep_long()
    before = len([sk for _, sk in items_of(w.learner) if sk != "ACCOUNT"])
    stack.invoker.invoke("erase_user", by_bus("UserErased", user_id=w.learner.user_id))

    def holds() -> None:
        [receipt] = items_of(w.learner).values()
        assert "erasing" not in receipt
        assert int(receipt["erased_items"]["N"]) == before
        reported = [e for e in stack.bus.published if e["detail"].get("user_id") == w.learner.user_id]
        erased = [each["detail"] for each in reported if each["detail-type"] == "UserDataErased"]
        assert {each["items_deleted"] for each in erased} == {before}

    return by_queue(user_id=w.learner.user_id), holds


def ingest_responses(w: World, stack: Stack, items_of: ItemsOf) -> tuple[Event, Holds]:
    def holds() -> None:
        found = w.learner.get(f"/sessions/{w.session}/responses?size=200").json["items"]
        assert [each["prompt_text"] for each in found].count("From elsewhere?") == 1

    message = {"prompt_text": "From elsewhere?", "response_text": "Yes.", "session_model_id": w.models[0]}
    return by_queue(user_id=w.learner.user_id, **message), holds


def revoke_tokens(w: World, stack: Stack, items_of: ItemsOf) -> tuple[Event, Holds]:
    def holds() -> None:
        account = items_of(w.learner)[f"USER#{w.learner.user_id}#ACCOUNT", "ACCOUNT"]
        assert [each.partition(" ")[2] for each in account["revoked_tokens"]["SS"]] == ["a token"]

    return by_bus("TokensRevoked", user_id=w.learner.user_id, token_id="a token"), holds


def stream_changes(w: World, stack: Stack, items_of: ItemsOf) -> tuple[Event, Holds]:
    """An example that was added, and a session that was deleted."""
    pk, items = f"USER#{w.learner.user_id}", items_of(w.learner)
    added, gone = f"EXAMPLE#{w.example:016d}", f"SESSION#{w.session:016d}#5SESSION"
    assert w.learner.delete(f"/sessions/{w.session}").status == 204

    def record(number: str, name: str, image: str, sk: str) -> Event:
        keys = {"pk": {"S": pk}, "sk": {"S": sk}}
        dynamodb = {"Keys": keys, "SequenceNumber": number, image: items[pk, sk]}
        return {"eventID": number, "eventName": name, "eventSource": "aws:dynamodb", "dynamodb": dynamodb}

    def holds() -> None:
        reported = [e for e in stack.bus.published if e["detail"].get("user_id") == w.learner.user_id]
        assert {each["detail-type"] for each in reported} == {"ExampleCreated", "SessionDeleted"}
        assert len({each["detail"]["event_id"] for each in reported}) == 2
        bodies = [
            json.loads(each["body"]) for each in stack.queues.peek("practice-local-SweepQueue", 1_000_000)
        ]
        assert {"sweep": "session", "user_id": w.learner.user_id, "session_id": w.session} in bodies

    records = [record("1", "INSERT", "NewImage", added), record("2", "REMOVE", "OldImage", gone)]
    return {"Records": records}, holds


def update_catalogue(w: World, stack: Stack, items_of: ItemsOf) -> tuple[Event, Holds]:
    class_id = new_user_id()

    def holds() -> None:
        session = w.learner.open_session(class_id=class_id)
        assert [each["model_name"] for each in w.learner.models_of(session)] == ["alpha"]
        assert w.learner.delete(f"/sessions/{session['session_id']}").status == 204

    named = {"class_id": class_id, "status": "active", "primary_model": None, "allowed_models": ["alpha"]}
    return by_bus("ClassUpdated", **named), holds


def work_transfer(w: World, stack: Stack, items_of: ItemsOf) -> tuple[Event, Holds]:
    w.keep_long()
    begun = made(export_later(w), 202)

    def holds() -> None:
        job = w.learner.get(f"/export/{begun['export_id']}").json
        assert job["status"] == "done"
        parts = urlsplit(job["url"])
        connection = HTTPConnection(parts.netloc, timeout=30)
        connection.request("GET", f"{parts.path}?{parts.query}")
        file = connection.getresponse().read()
        connection.close()
        exported = w.learner.get("/export").body
        assert file.split(b"\n")[1:] == exported.split(b"\n")[1:]  # the first line has the time

    return by_queue(user_id=w.learner.user_id, transfer_id=begun["export_id"]), holds


def work_turn(w: World, stack: Stack, items_of: ItemsOf) -> tuple[Event, Holds]:
    def holds() -> None:
        turn = w.learner.get(f"/sessions/{w.session}/turns/{w.turn}").json
        assert (turn["status"], turn["errors"]) == ("done", [])
        assert [each["session_model_id"] for each in turn["results"]] == w.models
        shown = w.learner.get(f"/sessions/{w.session}/responses?size=200").json["items"]
        assert [each["prompt_text"] for each in shown].count("Later?") == len(w.models)

    return by_queue(user_id=w.learner.user_id, turn_id=w.turn), holds


def work_cancelled_turn(w: World, stack: Stack, items_of: ItemsOf) -> tuple[Event, Holds]:
    """The first worker died before it saw that the turn was cancelled."""
    claim = turns.claim(w.learner.user_id, w.turn, worker.WORKER_LEASE)
    assert claim
    assert cancel(w).status == 204
    turns.extend_lease(w.learner.user_id, w.turn, claim.worker, LAPSED)

    def holds() -> None:
        turn = w.learner.get(f"/sessions/{w.session}/turns/{w.turn}").json
        assert (turn["status"], turn["results"]) == ("cancelled", [])
        assert [each["code"] for each in turn["errors"]] == ["cancelled"] * len(w.models)

    return by_queue(user_id=w.learner.user_id, turn_id=w.turn), holds


def write_titles(w: World, stack: Stack, items_of: ItemsOf) -> tuple[Event, Holds]:
    session = w.learner.open_session()
    w.learner.add_response(session)

    def holds() -> None:
        assert w.learner.get(f"/sessions/{session['session_id']}").json["title"]

    return by_queue(user_id=w.learner.user_id, session_id=session["session_id"]), holds


DELIVERIES: dict[str, Callable[[World, Stack, ItemsOf], tuple[Event, Holds]]] = {
    "sweep": sweep,
    "sweep example": sweep_example,
    "erase_user": erase_user,
    "erase_items": erase_items,
    "ingest_responses": ingest_responses,
    "revoke_tokens": revoke_tokens,
    "stream_changes": stream_changes,
    "update_catalogue": update_catalogue,
    "work_transfer": work_transfer,
    "work_turn": work_turn,
    "work_turn cancelled": work_cancelled_turn,
    "write_titles": write_titles,
}

EVERY_DELIVERY = [each for each in product(DELIVERIES, FAULTS) if chosen(each)]
SOME_DELIVERIES = [(name, list(FAULTS)[-1 - number % len(FAULTS)]) for number, name in enumerate(DELIVERIES)]


def deliver(stack: Stack, name: str, event: Event) -> bool:
    """Whether it is done with; what is not comes again."""
    try:
        answer = stack.invoker.invoke(name.split(maxsplit=1)[0], event)
    except FunctionError:
        return False
    return not answer.get("batchItemFailures")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    ("name", "fault"),
    long_and_short(EVERY_DELIVERY, SOME_DELIVERIES),
)
def test_a_delivery_that_fails_comes_again_and_is_done(
    another_learner: Callable[[], Learner],
    stack: Stack,
    items_of: ItemsOf,
    name: str,
    fault: str,
) -> None:
    def prepare() -> tuple[World, Event, Holds]:
        world = World(another_learner(), another_learner())
        return world, *DELIVERIES[name](world, stack, items_of)

    def act(prepared: tuple[World, Event, Holds]) -> bool:
        return deliver(stack, name, prepared[1])

    for where, (world, event, holds), is_done in each_request(name, fault, prepare, act):
        with later(20 * 60):
            assert is_done or deliver(stack, name, event), where
            holds()
            assert deliver(stack, name, event), where  # as queues, bus and stream may do
            holds()
        if "erase" not in name:
            assert broken(items_of(world.learner)) == [], where


BUDGET = {"daily_turns": 50, "daily_tokens": 1_000_000, "daily_usd": "100"}
BUDGETED: dict[str, Callable[[World, Stack], object]] = {
    "chat": lambda w, _: ask(OPERATIONS["chat"][0], w),
    "run_session": lambda w, _: ask(OPERATIONS["run_session"][0], w),
    "work_turn": lambda w, stack: deliver(
        stack, "work_turn", by_queue(user_id=w.learner.user_id, turn_id=w.turn)
    ),
    "cancel_turn": lambda w, _: ask(cancel, w),
}
EVERY_BUDGETED = [each for each in product(BUDGETED, FAULTS) if chosen(each)]
SOME_BUDGETED = [
    ("chat", "killed after"),
    ("run_session", "killed before"),
    ("work_turn", "answers lost for good"),
    ("cancel_turn", "answer lost"),
]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(("name", "fault"), long_and_short(EVERY_BUDGETED, SOME_BUDGETED))
def test_usage_is_the_sum_over_all_turns_and_budgets_get_all_else_back(
    another_learner: Callable[[], Learner],
    announce: Callable[..., Any],
    stack: Stack,
    items_of: ItemsOf,
    name: str,
    fault: str,
) -> None:
    class_id = new_user_id()
    announce(class_id, "alpha", "beta", **BUDGET)

    def prepare() -> World:
        return World(another_learner(), another_learner(), class_id)

    def act(world: World) -> None:
        BUDGETED[name](world, stack)

    for where, world, _ in each_request(name, fault, prepare, act):
        assert broken(items_of(world.learner)) == [], where
        with later(3 * 24 * 3600):
            reservations.give_back_lapsed(world.learner.user_id)
        items = items_of(world.learner)
        assert broken(items) == [], where
        assert [sk for _, sk in items if sk.startswith("RESERVED#")] == [], where
        assert usage_kept(items) == usage_counted(items), where


def usage_kept(items: dict[tuple[str, str], Any]) -> Counter[tuple[str, str, str]]:
    """Turns and answers by day and model, of the turns as they are in the table."""
    kept: Counter[tuple[str, str, str]] = Counter()
    for (pk, sk), item in items.items():
        if "#1TURN#" not in sk:
            continue
        turn = json.loads(item["doc"]["S"])
        answers = {
            asked["model_name"]: "spent" in items.get((pk, sk.split("1TURN")[0] + place), {})
            for asked in turn["asked"]
            for place in [f"2RESPONSE#{asked['response_id']:016d}"]
        }
        was_run = ("outcome" in item and item["errors"]["S"] != "[]") or any(answers.values())
        for name, is_answered in answers.items():
            kept[turn["created_at"][:10], name, "turns"] += was_run
            kept[turn["created_at"][:10], name, "answers"] += is_answered
    return +kept


def usage_counted(items: dict[tuple[str, str], Any]) -> Counter[tuple[str, str, str]]:
    counted: Counter[tuple[str, str, str]] = Counter()
    for (_, sk), item in items.items():
        for attribute, value in item.items() if sk.startswith("USAGE#") else ():
            kind, _, name = attribute.partition(":")
            if name and kind in ("turns", "answers"):
                counted[sk.split("#")[1], name, kind] += int(value["N"])
    return +counted


def test_records_that_come_twice_and_out_of_order_tell_the_same(
    another_learner: Callable[[], Learner], stack: Stack, items_of: ItemsOf
) -> None:
    world = World(another_learner(), another_learner())
    event, holds = stream_changes(world, stack, items_of)
    before = items_of(world.learner)

    event["Records"] = event["Records"][::-1] * 2
    assert deliver(stack, "stream_changes", event)

    holds()
    assert items_of(world.learner) == before


def test_a_clock_that_jumps_back_changes_no_order(
    ada: Learner, items_of: ItemsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = ada.open_session()
    path = f"/sessions/{session['session_id']}"
    first = ada.add_response(session)
    kept = ada.post("/few-shot-examples", {"input_text": "a", "output_text": "b"}, headers=KEY).json
    changed = [ada.patch(path, {"title": "one"}).json]

    class Behind(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) - timedelta(hours=1)

    monkeypatch.setattr(clock, "datetime", Behind)
    with later(-3600):
        second = ada.add_response(session)
        turn = made(ada.post(f"{path}/chat", {"prompt_text": "Why?"}), 201)
        changed += [ada.patch(path, {"title": title}).json for title in ("two", "three")]
        twin = ada.post("/few-shot-examples", {"input_text": "a", "output_text": "b"}, headers=KEY)

    moments = [each["updated_at"] for each in changed]
    assert moments == sorted(set(moments))
    shown = ada.get(path).json["responses"]
    answered = [first, second, *turn["results"]]
    assert [each["response_id"] for each in shown] == [each["response_id"] for each in answered]
    assert [each["created_at"] for each in shown] == sorted(each["created_at"] for each in shown)
    assert (twin.status, twin.json) == (201, kept)
    assert broken(items_of(ada)) == []


# Live connections


Act = Callable[[World, Socket], object]
LIVE: dict[str, tuple[Act, str]] = {
    "live_connect": (lambda w, socket: None, ""),
    "live_disconnect": (lambda w, socket: socket.leave(), ""),
    "live_default": (lambda w, socket: socket.say("ping"), "pong"),
    "live_chat": (
        lambda w, socket: socket.say("chat", session_id=w.session, prompt_text="Why?"),
        "turn.started",
    ),
    "live_run": (lambda w, socket: socket.say("run", class_id=1, prompt_text="Why?"), "turn.started"),
    "live_follow": (
        lambda w, socket: socket.say("follow", session_id=w.session, turn_id=w.turn),
        "turn.started",
    ),
    "live_cancel": (
        lambda w, socket: socket.say("cancel", session_id=w.session, turn_id=w.turn),
        "turn.done",
    ),
}
"""What a client does, and what it is sent then."""
FAILED = (500, 503, "Internal server error")
"""The status of a handshake, and what the gateway sends for a function that died."""
LIVE_FAULTS = [
    name for name in FAULTS if name not in ("a transaction in progress", "cancelled for two reasons")
]


def refused_handshakes(stack: Stack, world: World) -> list[int]:
    """The status of a handshake that fails."""
    try:
        Socket.open(stack, world.learner)
    except Refused as refused:
        return [refused.status]
    return []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    ("name", "fault"),
    long_and_short(
        list(product(LIVE, FAULTS)),
        [(name, LIVE_FAULTS[2 * number % len(LIVE_FAULTS)]) for number, name in enumerate(LIVE)]
        + [("live_connect", "answer lost"), ("live_chat", "killed after"), ("live_follow", "answer lost")],
    ),
)
def test_a_live_message_that_fails_gets_an_error_and_the_next_one_works(
    another_learner: Callable[[], Learner], items_of: ItemsOf, stack: Stack, name: str, fault: str
) -> None:
    act, sent = LIVE[name]
    sockets: list[Socket] = []

    def prepare() -> World:
        world = World(another_learner(), another_learner())
        if name != "live_connect":
            sockets.append(Socket.open(stack, world.learner))
        return world

    def at_fault(world: World) -> list[Any]:
        if name == "live_connect":
            return [{"message": each} for each in refused_handshakes(stack, world)]
        act(world, sockets[-1])
        return sockets[-1].events

    for where, world, events in each_request(name, fault, prepare, at_fault):
        assert broken(items_of(world.learner)) == [], where
        for event in events:
            refused = event.get("status") == 503 if "type" in event else event["message"] in FAILED
            assert event.get("type") == sent or refused, (where, event)
        again = Socket.open(stack, world.learner)
        act(world, again)
        assert [event["type"] for event in again.events][:1] == ([sent] if sent else []), where
        assert broken(items_of(world.learner)) == [], where


# No function is left out

ASK_FOR_NOTHING = {"default", "openapi"}
"""Functions without a request to AWS."""


def test_no_function_is_left_out() -> None:
    functions = {each.parent.name for each in (Path(__file__).parents[2] / "functions").glob("*/handler.py")}
    tried = {name.split()[0] for name in (*OPERATIONS, *DELIVERIES, *LIVE, "change_class")} - {"change_class"}

    assert_complete(tried, functions - ASK_FOR_NOTHING, "OPERATIONS, or DELIVERIES if an event starts it")
    posts = {name.split()[0] for name in POSTS}
    with_key = {
        each.parent.name
        for each in (Path(__file__).parents[2] / "functions").glob("*/handler.py")
        if "IdempotentAttempt" in each.read_text()
    }
    assert_complete(posts, with_key, "POSTS: it takes an Idempotency-Key")
