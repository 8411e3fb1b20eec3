"""A learner whose connection broke sends the same POST again, with the same `Idempotency-Key`."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from local.stack import Stack
from tests.support.learners import Answer, Learner
from tests.support.processes import Killed, killed_at

KEY = {"idempotency-key": "lesson-1"}


def posts(who: Learner) -> dict[str, tuple[str, dict[str, object]]]:
    """Every POST that makes one object, with a body for it."""
    session = who.open_session()
    session_id = session["session_id"]
    model = who.models_of(session)[0]
    return {
        "session": ("/sessions", {"class_id": 1, "title": "Prompting 101"}),
        "example": ("/few-shot-examples", {"input_text": "2+2", "output_text": "4"}),
        "model": (
            f"/sessions/{session_id}/models",
            {"model_name": model["model_name"], "generation_params": {"top_p": 0.5}},
        ),
        "response": (
            f"/models/{model['session_model_id']}/responses",
            {"prompt_text": "Why?", "response_text": "Because. " * 100_000},
        ),
    }


KINDS = ["session", "example", "model", "response"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_second_time_nothing_is_made_and_the_same_is_answered(ada: Learner, kind: str) -> None:
    path, body = posts(ada)[kind]

    first = ada.post(path, body, headers=KEY)
    second = ada.post(path, body, headers=KEY)

    assert first.status == 201
    assert (second.status, second.json, second.etag) == (201, first.json, first.etag)
    assert second.headers["x-request-id"] != first.headers["x-request-id"]


def test_nothing_is_made_twice(ada: Learner) -> None:
    for _ in range(3):
        ada.post("/sessions", {"class_id": 1}, headers=KEY)

    assert ada.get("/sessions").json["total"] == 1


def test_a_key_is_for_one_request(ada: Learner) -> None:
    path, body = posts(ada)["session"]
    ada.post(path, body, headers=KEY)

    others = [
        ada.post(path, body | {"title": "Prompting 102"}, headers=KEY),
        ada.post(f"{path}?x=1", body, headers=KEY),
        ada.post("/few-shot-examples", {"input_text": "a", "output_text": "b"}, headers=KEY),
    ]

    assert [(other.status, other.detail) for other in others] == [(422, "idempotency_key_reused")] * 3


def test_a_key_is_its_users_own(ada: Learner, ben: Learner) -> None:
    first = ada.post("/sessions", {"class_id": 1}, headers=KEY).json
    second = ben.post("/sessions", {"class_id": 1}, headers=KEY).json

    assert second["session_id"] != first["session_id"]


def test_a_refusal_is_not_kept(ada: Learner) -> None:
    refused = ada.post("/sessions", {"title": "no class"}, headers=KEY)
    accepted = ada.post("/sessions", {"title": "no class", "class_id": 1}, headers=KEY)

    assert (refused.status, accepted.status) == (400, 201)


@pytest.mark.parametrize("key", ["k" * 256])
def test_a_key_has_at_most_255_characters(ada: Learner, key: str) -> None:
    answer = ada.post("/sessions", {"class_id": 1}, headers={"idempotency-key": key})

    assert answer.status == 422
    assert answer.detail[0]["loc"] == ["header", "idempotency-key"]


def test_twins_in_flight_make_one_session(ada: Learner) -> None:
    answers: list[Answer] = []
    threads = [
        threading.Thread(target=lambda: answers.append(ada.post("/sessions", {"class_id": 1}, headers=KEY)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {answer.status for answer in answers} <= {201, 409}
    assert len({answer.json["session_id"] for answer in answers if answer.status == 201}) == 1
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers if answer.status == 409)
    assert ada.get("/sessions").json["total"] == 1


@pytest.mark.parametrize(
    ("operation", "number"),
    [("TransactWriteItems", 1), ("BatchGetItem", 1), ("TransactWriteItems", 2)],
    ids=["the claim of the key", "a read", "the session with its answer"],
)
@pytest.mark.parametrize("moment", ["before-call", "after-call"])
def test_after_a_crash_the_retry_waits_for_the_dead_attempt_and_makes_one_session(
    ada: Learner, stack: Stack, monkeypatch: pytest.MonkeyPatch, operation: str, number: int, moment: str
) -> None:
    ada.open_session()  # the ids are leased by now
    died = crash_at(operation, number, moment, lambda: ada.post("/sessions", {"class_id": 1}, headers=KEY))
    before_it_lapses = ada.post("/sessions", {"class_id": 1}, headers=KEY)
    later = time.time() + 60
    monkeypatch.setattr(time, "time", lambda: later)

    retried = ada.post("/sessions", {"class_id": 1}, headers=KEY)
    again = ada.post("/sessions", {"class_id": 1}, headers=KEY)

    assert died
    assert before_it_lapses.status in (201, 409)
    assert (retried.status, again.status, again.json) == (201, 201, retried.json)
    assert ada.get("/sessions").json["total"] == 2


def crash_at(operation: str, number: int, moment: str, act: Callable[[], Any]) -> bool:
    """Whether the process ended at its request of that number."""
    try:
        with killed_at(number, operation, moment=moment):
            answer = act()
    except Killed:
        return True
    return bool(answer.status >= 500)
