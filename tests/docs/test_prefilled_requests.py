"""Every body that /docs fills in is one that the API takes: a newcomer presses Execute, and it works."""

import pytest

from practice.http.endpoint import Endpoint
from tests.support.learners import Learner, made
from tools.openapi import document, endpoints

DOCUMENT = document()
WITH_BODY = [each for each in endpoints() if each.body_model]


@pytest.mark.parametrize("endpoint", WITH_BODY, ids=lambda each: each.name)
def test_a_request_succeeds_as_the_reference_fills_it_in(endpoint: Endpoint, ada: Learner) -> None:
    session = ada.open_session()
    response = ada.add_response(session)
    turn = made(ada.post(f"/sessions/{session['session_id']}/chat", {"prompt_text": "Why?"}), 201)
    ids = {**session, **response, **ada.add_example(), "turn_id": turn["results"][0]["response_id"]}
    name = endpoint.body_model.__name__ if endpoint.body_model else ""
    query = "?class_id=1" if endpoint.name == "run_session" else ""

    answer = ada.ask(
        endpoint.method,
        endpoint.path.format_map(ids) + query,
        DOCUMENT["components"]["examples"][name]["value"],
    )

    assert answer.status == endpoint.status, (answer.status, answer.body)
