"""Classes and agents, as their owner announces them on the bus."""

import json
from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest

from local.stack import Stack
from tests.support.learners import Learner, new_user_id

Deliver = Callable[..., dict[str, Any]]


@pytest.fixture
def deliver(stack: Stack) -> Deliver:
    def hand_in(kind: str, **detail: object) -> dict[str, Any]:
        event = {
            "id": "0f3d7c52-9a41-4f0e-8d0b-5b1f6a2c7d38",
            "source": "practice.catalogue",
            "detail-type": kind,
            "detail": {"version": 1, "updated_at": "2026-01-07T05:30:10Z", **detail},
        }
        answer: dict[str, Any] = stack.invoker.invoke("update_catalogue", event)
        return answer

    return hand_in


def an_agent(owner: Learner, **fields: object) -> dict[str, Any]:
    return {
        "agent_id": new_user_id(),
        "user_id": owner.user_id,
        "is_active": True,
        "shared_class_ids": [],
        "name": "Socratic tutor",
        "system_prompt": "Answer with a question.",
        "generation_params": {"temperature": 0.3},
        **fields,
    }


def a_class(**fields: object) -> dict[str, Any]:
    return {
        "class_id": new_user_id(),
        "status": "active",
        "primary_model": None,
        "allowed_models": ["gpt-4o-mini"],
        **fields,
    }


def test_the_next_session_of_a_class_has_its_new_models(ada: Learner, deliver: Deliver) -> None:
    practice_class = a_class(primary_model="claude-3-haiku-20240307")
    deliver("ClassUpdated", **practice_class)

    session = ada.open_session(class_id=practice_class["class_id"])

    names = [model["model_name"] for model in ada.models_of(session)]
    assert names == ["claude-3-haiku-20240307", "gpt-4o-mini"]


def test_an_agent_is_in_the_session_as_it_was_then(ada: Learner, deliver: Deliver) -> None:
    agent = an_agent(ada)
    deliver("AgentUpdated", **agent)
    session = ada.open_session(agent_id=agent["agent_id"])
    deliver("AgentUpdated", **agent | {"name": "Stern tutor", "updated_at": "2026-01-08T00:00:00Z"})

    snapshot = ada.get(f"/sessions/{session['session_id']}").json["settings"]["agent_snapshot"]

    assert snapshot == session["settings"]["agent_snapshot"]
    assert snapshot == {
        "agent_id": agent["agent_id"],
        "name": "Socratic tutor",
        "system_prompt": "Answer with a question.",
        "generation_params": {"temperature": 0.3},
        "updated_at": "2026-01-07T05:30:10.000000Z",
    }
    newer = ada.open_session(agent_id=agent["agent_id"])["settings"]["agent_snapshot"]
    assert newer["name"] == "Stern tutor"


@pytest.mark.parametrize("order", list(permutations([1, 2, 3])), ids=str)
def test_whatever_the_order_of_delivery_the_newest_agent_is_kept(
    ada: Learner, deliver: Deliver, order: tuple[int, ...]
) -> None:
    agent = an_agent(ada)
    for day in (*order, *order):
        deliver("AgentUpdated", **agent | {"name": f"day {day}", "updated_at": f"2026-01-0{day}T00:00:00Z"})

    assert ada.open_session(agent_id=agent["agent_id"])["settings"]["agent_snapshot"]["name"] == "day 3"


def test_of_two_announcements_of_one_moment_the_last_delivered_is_kept(
    ada: Learner, deliver: Deliver
) -> None:
    agent = an_agent(ada)
    deliver("AgentUpdated", **agent | {"name": "first"})
    assert deliver("AgentUpdated", **agent | {"name": "second"})["outcome"] == "stored"

    assert ada.open_session(agent_id=agent["agent_id"])["settings"]["agent_snapshot"]["name"] == "second"


def test_a_deleted_agent_is_not_snapshotted_any_more_and_old_sessions_keep_theirs(
    ada: Learner, deliver: Deliver
) -> None:
    agent = an_agent(ada)
    deliver("AgentUpdated", **agent)
    old = ada.open_session(agent_id=agent["agent_id"])
    deliver("AgentDeleted", agent_id=agent["agent_id"], updated_at="2026-01-09T00:00:00Z")
    assert deliver("AgentUpdated", **agent)["outcome"] == "superseded"

    assert ada.open_session(agent_id=agent["agent_id"])["settings"]["agent_snapshot"] == {}
    kept = ada.get(f"/sessions/{old['session_id']}").json["settings"]["agent_snapshot"]
    assert kept["name"] == "Socratic tutor"


def test_another_learners_agent_is_usable_where_it_is_shared(
    ada: Learner, ben: Learner, deliver: Deliver
) -> None:
    agent = an_agent(ben, shared_class_ids=[7])
    deliver("AgentUpdated", **agent)

    shared = ada.open_session(class_id=7, agent_id=agent["agent_id"])
    refused = ada.post("/sessions", {"class_id": 8, "agent_id": agent["agent_id"]})

    assert shared["settings"]["agent_snapshot"]["name"] == "Socratic tutor"
    assert (refused.status, refused.detail) == (404, "agent not found or not accessible")


def test_a_prompt_as_long_as_may_be_is_replaced_whole(ada: Learner, deliver: Deliver) -> None:
    agent = an_agent(ada, system_prompt="x" * 100 * 1024)
    assert deliver("AgentUpdated", **agent)["outcome"] == "stored"

    deliver("AgentUpdated", **agent | {"system_prompt": "Be brief.", "updated_at": "2026-01-08T00:00:00Z"})

    snapshot = ada.open_session(agent_id=agent["agent_id"])["settings"]["agent_snapshot"]
    assert snapshot["system_prompt"] == "Be brief."


@pytest.mark.parametrize(
    ("kind", "detail", "reason"),
    [
        ("ClassUpdated", a_class(version=2), "literal_error at version"),
        ("ClassUpdated", a_class(status="paused"), "enum at status"),
        ("ClassUpdated", a_class(class_id="seven"), "int_parsing at class_id"),
        ("ClassUpdated", a_class(updated_at="yesterday"), "datetime_from_date_parsing at updated_at"),
        (
            "ClassUpdated",
            a_class(updated_at="9999-12-31T23:59:59-14:00"),
            "datetime_out_of_range at updated_at",
        ),
        ("ClassUpdated", {}, "missing at class_id"),
        ("AgentDeleted", {"agent_id": None}, "int_type at agent_id"),
        ("CourseUpdated", a_class(), "unknown detail-type"),
    ],
)
def test_an_announcement_that_cannot_be_handled_goes_to_the_dead_letter_queue_with_its_reason(
    deliver: Deliver, stack: Stack, kind: str, detail: dict[str, Any], reason: str
) -> None:
    answer = deliver(kind, **detail)

    assert answer["outcome"] == "dead_letter"
    letter = stack.state["dead_letters"][0]
    assert letter["queue"].endswith("CatalogueDeadLetters")
    assert json.loads(letter["body"])["detail-type"] == kind
    assert letter["attributes"]["reason"]["StringValue"].startswith(reason)
