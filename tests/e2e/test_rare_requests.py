"""Requests of which a function makes one the others seldom see, so that its role is held to it."""

from typing import Any

import pytest

from tests.learners import Learner, made

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/models/3/responses", {"prompt_text": "Why?", "response_text": "Because."}, 404),
        ("/sessions/{session_id}/chat", {"prompt_text": "Why?", "model_names": ["nobody's"]}, 400),
        ("/sessions/run?class_id=1", {"prompt_text": "Why?", "model_names": ["nobody's"]}, 400),
        ("/sessions", {"class_id": 0}, 400),
    ],
)
def test_a_refusal_does_not_keep_its_idempotency_key(
    ada: Learner, path: str, body: dict[str, Any], status: int
) -> None:
    path = path.format(**ada.open_session())
    once = {"idempotency-key": "a"}

    assert ada.post(path, body, headers=once).status == status
    assert ada.post(path, body, headers=once).status == status


def test_a_run_in_the_background_is_accepted(ada: Learner) -> None:
    headers = {"prefer": "respond-async"}

    accepted = ada.post("/sessions/run?class_id=1", {"prompt_text": "Why?"}, headers=headers)

    assert accepted.status == 202, accepted.body
    assert ada.get(accepted.headers["location"]).status == 200


def test_cursors_lead_to_what_an_answer_leaves_out(ada: Learner) -> None:
    session = ada.open_session()
    path = f"/sessions/{session['session_id']}"
    response, second = ada.add_response(session), ada.add_response(session)
    of_model = f"/models/{response['session_model_id']}/responses"

    changed = made(ada.patch(f"{path}?responses=0", {"title": "Sources"}), 200)
    older = ada.get(f"{path}/responses?cursor={changed['responses_next_cursor']}")
    assert older.json["items"] == [response, second]

    first = ada.get(f"{of_model}?size=1")
    assert first.json == [response]
    assert ada.get(f"{of_model}?cursor={first.headers['x-next-cursor']}").json == [second]
