"""Nothing is lost when the table fails a learner: at every request of every endpoint, every kind of fault.

Afterwards the learner's items hold together, and the same request sent again succeeds.
"""

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests import faults
from tests.invariants import broken
from tests.learners import Answer, Learner

ItemsOf = Callable[[Learner], dict[tuple[str, str], Any]]


class World:
    """A learner's account with something of everything, and what an operation on it needs."""

    def __init__(self, learner: Learner) -> None:
        self.learner = learner
        self.example = learner.add_example()["example_id"]
        session = learner.open_session(title="Lesson")
        self.session = session["session_id"]
        learner.patch(f"/sessions/{self.session}/settings", {"few_shot_example_ids": [self.example]})
        self.models = [model["session_model_id"] for model in learner.models_of(session)]
        self.model_name = learner.models_of(session)[0]["model_name"]
        self.response = learner.add_response(session)["response_id"]
        self.long = learner.add_response(session, response_text="x" * 1_000_000)["response_id"]


Operation = Callable[[World], Answer]
CREATED, READ, GONE = (201,), (200,), (204, 404)

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
    "create_export": (lambda w: w.learner.get("/export"), READ),
}

FOR_GOOD, ONCE = 1000, 1

FAULTS: dict[str, tuple[Callable[[Any], Any], int]] = {
    "throttled for good": (faults.throttled, FOR_GOOD),
    "throttled once": (faults.throttled, ONCE),
    "failing inside": (faults.broken_inside, FOR_GOOD),
    "in conflict": (faults.in_conflict, 3),
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
        world = World(somebody())
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
        if times == ONCE and not fault.startswith("killed"):
            assert answer is not None, where
            assert answer.status in success, (where, answer.body[:300])
            if name.startswith("delete"):
                assert answer.status == 204, where

        again = ask(operation, world)
        assert again is not None, where
        assert again.status in success, (where, again.body[:300])
        assert broken(items_of(world.learner)) == [], where

    assert hit, f"{name} made no request"


@pytest.mark.parametrize("name", [name for name, (_, success) in OPERATIONS.items() if success == READ])
def test_batches_that_are_answered_in_part_are_read_to_their_end(ada: Learner, name: str) -> None:
    world = World(ada)
    operation, _ = OPERATIONS[name]
    if name.startswith(("list", "get")):
        whole = operation(world)
        with faults.partial_batches():
            assert operation(world).json == whole.json
    else:
        with faults.partial_batches():
            assert operation(world).status == 200


def test_a_learner_whose_storage_is_full_can_read_and_delete(ada: Learner) -> None:
    world = World(ada)
    full = faults.refusal("ItemCollectionSizeLimitExceededException")

    def writes_fail(request: Any) -> Any:
        target = request.headers["X-Amz-Target"]
        is_delete = b'"Delete"' in request.body and b'"Put"' not in request.body
        if any(kind in target for kind in (b"Query", b"BatchGetItem", b"DeleteItem")) or is_delete:
            return None
        if b"TransactWriteItems" in target:
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
