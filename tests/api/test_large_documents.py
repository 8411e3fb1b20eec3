"""Documents that are larger than an item of the table: whole for every reader, and replaced without a trace."""

import secrets
from collections.abc import Callable
from typing import Any

from tests.support.learners import Learner, made

MODELS = [f"model-{number}" for number in range(10)]


def incompressible(size: int) -> str:
    return secrets.token_urlsafe(size)[:size]


def test_a_session_keeps_large_parameters_of_many_models(ada: Learner, announce: Callable[..., Any]) -> None:
    new_class = secrets.randbelow(2**40) + 1000
    announce(new_class, *MODELS)
    session = ada.open_session(class_id=new_class)
    session_id = session["session_id"]
    expected: dict[str, str] = {}

    for model in ada.models_of(session):
        text = incompressible(60_000)
        changed = ada.patch(f"/models/{model['session_model_id']}", {"generation_params": {"text": text}})
        made(changed, 200)
        expected[model["model_name"]] = text
    assert {m["model_name"]: m["generation_params"]["text"] for m in ada.models_of(session)} == expected

    made(ada.patch(f"/sessions/{session_id}/settings", {"generation_params": {"temperature": 1}}), 200)
    made(
        ada.post(f"/sessions/{session_id}/models", {"model_name": MODELS[3], "generation_params": {"n": 3}}),
        201,
    )
    [last] = [m for m in ada.models_of(session) if m["model_name"] == MODELS[-1]]
    assert ada.delete(f"/models/{last['session_model_id']}").status == 204
    del expected[MODELS[-1]]
    announce(new_class + 1, *MODELS[1:])
    made(ada.patch(f"/sessions/{session_id}", {"class_id": new_class + 1}), 200)
    del expected[MODELS[0]]

    models = {model["model_name"]: model["generation_params"] for model in ada.models_of(session)}
    assert {name: params["text"] for name, params in models.items()} == expected
    assert {params["temperature"] for params in models.values()} == {1.0}
    assert models[MODELS[3]]["n"] == 3


def test_a_response_of_a_megabyte_is_replaced_and_deleted(ada: Learner) -> None:
    session = ada.open_session()
    response = ada.add_response(session, response_text=incompressible(1_000_000))
    path = f"/responses/{response['response_id']}"
    longer = incompressible(1_040_000)

    assert ada.get(path).json == response
    changed = ada.patch(path, {"response_text": longer})
    assert (changed.status, changed.json) == (200, response | {"response_text": longer})
    assert ada.get(path).json["response_text"] == longer
    [embedded] = ada.get(f"/sessions/{session['session_id']}").json["responses"]
    assert embedded["response_text"] == longer
    assert ada.patch(path, {"response_text": "short"}).status == 200
    assert ada.get(path).json["response_text"] == "short"

    assert ada.delete(path).status == 204
    assert ada.get(path).status == 404
    assert ada.get(f"/sessions/{session['session_id']}").json["responses"] == []
