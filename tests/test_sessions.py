"""A learner's practice sessions."""

from collections.abc import Callable
from typing import Any

from tests.learners import Learner


def test_a_learner_renames_a_session_and_reads_it_back(ada: Learner) -> None:
    session = ada.open_session(title="Prompting 101")

    renamed = ada.patch(f"/sessions/{session['session_id']}", {"title": "Prompting 102"})

    assert renamed.status == 200
    assert renamed.json == session | {"title": "Prompting 102", "updated_at": renamed.json["updated_at"]}
    assert renamed.json["updated_at"] > session["updated_at"]
    assert ada.get(f"/sessions/{session['session_id']}").json == renamed.json


def test_another_learner_cannot_see_it(ada: Learner, ben: Learner) -> None:
    session = ada.open_session()

    answer = ben.get(f"/sessions/{session['session_id']}")

    assert (answer.status, answer.json) == (404, {"detail": "session not found"})


def test_renaming_is_a_query_and_a_conditional_update(
    ada: Learner, requests_to_table: Callable[[], Any]
) -> None:
    session = ada.open_session()

    with requests_to_table() as requests:
        ada.patch(f"/sessions/{session['session_id']}", {"title": "Prompting 102"})

    assert [operation for operation, _ in requests] == ["Query", "UpdateItem"]
