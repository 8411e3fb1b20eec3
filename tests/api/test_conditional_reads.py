"""A learner who has an object already is not sent it again, and one request with another spelling is the same request."""

import json

import pytest

from tests.support.learners import Learner


@pytest.mark.parametrize("header", ["{}", "W/{}", '"7", {}', "*"])
def test_an_object_that_the_client_has_is_a_304_without_a_body(ada: Learner, header: str) -> None:
    example = ada.add_example()
    path = f"/few-shot-examples/{example['example_id']}"
    etag = ada.get(path).etag

    answer = ada.ask("GET", path, headers={"if-none-match": header.format(etag)})

    assert (answer.status, answer.body, answer.etag) == (304, b"", etag)


def test_a_changed_object_is_sent_whole(ada: Learner) -> None:
    session = ada.open_session()
    for path in (f"/sessions/{session['session_id']}", f"/sessions/{session['session_id']}/settings"):
        known = ada.get(path).etag
        ada.patch(
            path,
            {"title": "Tone"} if path.endswith(str(session["session_id"])) else {"style_preset": "creative"},
        )

        answer = ada.ask("GET", path, headers={"if-none-match": known})

        assert answer.status == 200
        assert answer.etag != known
        assert ada.ask("GET", path, headers={"if-none-match": answer.etag}).status == 304


def test_a_list_is_never_a_304(ada: Learner) -> None:
    assert ada.ask("GET", "/sessions", headers={"if-none-match": "*"}).status == 200


def test_an_idempotent_request_is_compared_as_json(ada: Learner) -> None:
    """Another order of keys and other white space are the same request; another value is not."""
    key = {"idempotency-key": "lesson-1"}
    body = {"input_text": "2+2", "output_text": "4", "meta": {"a": 1, "b": [1, 2]}}
    other_order = {"meta": {"b": [1, 2], "a": 1}, "output_text": "4", "input_text": "2+2"}
    first = ada.post("/few-shot-examples", body, headers=key)

    again = ada.post("/few-shot-examples", raw=json.dumps(other_order, indent=2).encode(), headers=key)
    reused = ada.post("/few-shot-examples", body | {"meta": {"a": 1, "b": [2, 1]}}, headers=key)

    assert (first.status, again.status, again.json) == (201, 201, first.json)
    assert (reused.status, reused.detail) == (422, "idempotency_key_reused")
