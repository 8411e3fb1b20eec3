"""The models of a session: which ones answer, with which parameters, and which is the primary one."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.learners import DEFAULT_PARAMS, Learner, at_once, made, new_user_id

Json = dict[str, Any]
Announce = Callable[..., Any]


@pytest.fixture
def class_of_four(announce: Announce) -> int:
    class_id = new_user_id()
    announce(class_id, "alpha", "beta", "gamma", "delta", primary="beta")
    return class_id


def models_path(session: Json) -> str:
    return f"/sessions/{session['session_id']}/models"


def path_of(model: Json) -> str:
    return f"/models/{model['session_model_id']}"


def names(models: list[Json]) -> list[str]:
    return [model["model_name"] for model in models]


def primary(models: list[Json]) -> str:
    [name] = [model["model_name"] for model in models if model["is_primary"]]
    return str(name)


def test_a_session_has_the_models_of_its_class_the_primary_first(ada: Learner, class_of_four: int) -> None:
    session = ada.open_session(class_id=class_of_four)

    answer = ada.get(models_path(session))

    assert answer.status == 200
    ids = [model["session_model_id"] for model in answer.json]
    assert ids == sorted(set(ids))
    assert answer.json == [
        {
            "session_model_id": session_model_id,
            "session_id": session["session_id"],
            "model_name": name,
            "is_primary": name == "beta",
            "generation_params": DEFAULT_PARAMS,
        }
        for session_model_id, name in zip(ids, ["beta", "alpha", "gamma", "delta"], strict=True)
    ]


def test_without_a_primary_the_first_allowed_model_is_it(ada: Learner, announce: Announce) -> None:
    class_id = new_user_id()
    announce(class_id, "zeta", "alpha", "zeta")

    models = ada.models_of(ada.open_session(class_id=class_id))

    assert (names(models), primary(models)) == (["zeta", "alpha"], "zeta")


def test_a_class_that_was_never_announced_has_the_default_models(ada: Learner) -> None:
    models = ada.models_of(ada.open_session(class_id=new_user_id()))

    assert names(models) == ["claude-3-haiku-20240307", "gpt-4o-mini"]


# Changing


def test_another_model_becomes_primary_and_leads_the_list(ada: Learner, class_of_four: int) -> None:
    session = ada.open_session(class_id=class_of_four)
    before = ada.models_of(session)

    changed = ada.patch(path_of(before[2]), {"is_primary": True})

    after = ada.models_of(session)
    assert (changed.status, changed.json) == (200, before[2] | {"is_primary": True})
    assert names(after) == ["gamma", "beta", "alpha", "delta"]
    assert primary(after) == "gamma"
    assert after[1] == before[0] | {"is_primary": False}


@pytest.mark.parametrize("value", [False, None, "false", 0])
def test_a_primary_cannot_step_down(ada: Learner, class_of_four: int, value: object) -> None:
    session = ada.open_session(class_id=class_of_four)
    before = ada.models_of(session)

    for model in before[:2]:
        answer = ada.patch(path_of(model), {"is_primary": value})
        assert (answer.status, answer.json) == (200, model)

    assert ada.models_of(session) == before


def test_both_changes_of_one_request_are_applied(ada: Learner, class_of_four: int) -> None:
    session = ada.open_session(class_id=class_of_four)
    model = ada.models_of(session)[3]

    changed = ada.patch(
        path_of(model), {"is_primary": True, "generation_params": {"temperature": 1, "top_k": 5}}
    ).json

    assert changed == model | {
        "is_primary": True,
        "generation_params": {**DEFAULT_PARAMS, "temperature": 1.0, "top_k": 5},
    }
    assert ada.models_of(session)[0] == changed
    others = ada.models_of(session)[1:]
    assert [other["generation_params"] for other in others] == [DEFAULT_PARAMS] * 3
    assert ada.get(f"/sessions/{session['session_id']}/settings").json == session["settings"]


@pytest.mark.parametrize(
    "equal",
    [
        {},
        {"is_primary": True},
        {"generation_params": None},
        {"generation_params": {}},
        {"generation_params": {"max_tokens": None}},
        {"is_primary": None, "generation_params": {"temperature": "0.2"}, "model_name": "other", "x": 1},
    ],
)
def test_equal_values_change_nothing(
    ada: Learner, contents_of: Callable[[Learner], Json], equal: Json
) -> None:
    session = ada.open_session()
    model = ada.models_of(session)[0]
    before = ada.patch(path_of(model), {"generation_params": {"temperature": 0.2}})
    stored = contents_of(ada)

    after = ada.patch(path_of(model), equal)

    assert (after.status, after.json, after.etag) == (200, before.json, before.etag)
    assert contents_of(ada) == stored


@pytest.mark.parametrize(
    ("body", "kind", "loc"),
    [
        ({"is_primary": "maybe"}, "bool_parsing", ["is_primary"]),
        ({"is_primary": []}, "bool_type", ["is_primary"]),
        ({"generation_params": 5}, "model_attributes_type", ["generation_params"]),
        ({"generation_params": {"top_p": 2}}, "less_than_equal", ["generation_params", "top_p"]),
        ({"generation_params": {"x": "y" * 2**16}}, "too_long", ["generation_params"]),
    ],
)
def test_a_value_that_does_not_fit_is_named_and_nothing_is_written(
    ada: Learner, body: Json, kind: str, loc: list[str]
) -> None:
    session = ada.open_session()
    before = ada.models_of(session)

    for answer in (
        ada.patch(path_of(before[1]), {"is_primary": True, **body}),
        ada.post(models_path(session), {"model_name": before[1]["model_name"], "is_primary": True, **body}),
    ):
        assert answer.status == 422
        assert [(each["type"], each["loc"]) for each in answer.detail] == [(kind, ["body", *loc])]
    assert ada.models_of(session) == before


def test_parameters_are_at_most_64_kb_also_after_merging(ada: Learner) -> None:
    session = ada.open_session()
    model = ada.models_of(session)[0]
    ada.patch(path_of(model), {"generation_params": {"first": "x" * 40_000}})
    before = ada.models_of(session)

    for answer in (
        ada.patch(path_of(model), {"generation_params": {"second": "x" * 40_000}}),
        ada.post(
            models_path(session),
            {"model_name": model["model_name"], "generation_params": {"second": "x" * 40_000}},
        ),
    ):
        assert (answer.status, answer.detail[0]["loc"]) == (422, ["body", "generation_params"])
    assert ada.models_of(session) == before


# Adding


def test_adding_a_model_that_is_there_merges_and_keeps_its_id(ada: Learner, class_of_four: int) -> None:
    session = ada.open_session(class_id=class_of_four)
    model = ada.models_of(session)[2]
    ada.patch(path_of(model), {"generation_params": {"top_k": 5}})

    answer = ada.post(
        models_path(session),
        {"model_name": "gamma", "generation_params": {"temperature": 0, "max_tokens": 9}},
    )

    merged = {**DEFAULT_PARAMS, "top_k": 5, "temperature": 0.0, "max_tokens": 9, "max_completion_tokens": 9}
    assert (answer.status, answer.json) == (201, model | {"generation_params": merged})
    assert ada.models_of(session)[2] == answer.json
    promoted = ada.post(models_path(session), {"model_name": "gamma", "is_primary": True}).json
    assert promoted == answer.json | {"is_primary": True}
    assert primary(ada.models_of(session)) == "gamma"


@pytest.mark.parametrize(
    "extra", [{}, {"is_primary": None}, {"is_primary": False, "generation_params": None}]
)
def test_adding_a_model_that_is_there_with_nothing_new_changes_nothing(ada: Learner, extra: Json) -> None:
    session = ada.open_session()
    before = ada.models_of(session)

    answers = [
        ada.post(models_path(session), {"model_name": model["model_name"], **extra}) for model in before
    ]

    assert [(answer.status, answer.json) for answer in answers] == [(201, model) for model in before]
    assert ada.models_of(session) == before


def test_a_deleted_model_comes_back_when_it_is_added(ada: Learner, class_of_four: int) -> None:
    session = ada.open_session(class_id=class_of_four)
    before = ada.models_of(session)
    ada.patch(
        f"/sessions/{session['session_id']}/settings", {"generation_params": {"temperature": 0.3, "top_k": 2}}
    )
    ada.delete(path_of(before[1]))

    answer = ada.post(
        models_path(session),
        {"model_name": "alpha", "is_primary": True, "generation_params": {"top_k": 3, "seed": 1}},
    )

    assert answer.status == 201
    assert answer.json == {
        "session_model_id": answer.json["session_model_id"],
        "session_id": session["session_id"],
        "model_name": "alpha",
        "is_primary": True,
        "generation_params": {**DEFAULT_PARAMS, "temperature": 0.3, "top_k": 3, "seed": 1},
    }
    assert answer.json["session_model_id"] > before[3]["session_model_id"]
    assert names(ada.models_of(session)) == ["alpha", "beta", "gamma", "delta"]


@pytest.mark.parametrize("name", ["epsilon", "ALPHA", " alpha", "alpha "])
def test_a_model_has_to_be_allowed_for_the_class(ada: Learner, class_of_four: int, name: str) -> None:
    session = ada.open_session(class_id=class_of_four)
    before = ada.models_of(session)

    answer = ada.post(models_path(session), {"model_name": name})

    assert (answer.status, answer.detail) == (400, "model_not_allowed_for_class")
    assert ada.models_of(session) == before


def test_without_a_class_or_with_one_that_does_not_run_nothing_is_added(
    ada: Learner, class_of_four: int, announce: Announce
) -> None:
    session = ada.open_session(class_id=class_of_four)
    models = ada.models_of(session)
    body = {"model_name": "alpha"}

    def refusal() -> tuple[int, str]:
        answer = ada.post(models_path(session), body)
        return answer.status, answer.detail

    for status in ("planned", "ended"):
        announce(class_of_four, "alpha", status=status)
        assert refusal() == (400, "class_not_active")
    announce(class_of_four)
    assert refusal() == (400, "model_not_allowed_for_class")
    ada.patch(f"/sessions/{session['session_id']}", {"class_id": None})
    assert refusal() == (400, "session_has_no_class_id")
    assert ada.models_of(session) == models


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({}, "missing"),
        ({"model_name": None}, "string_type"),
        ({"model_name": ""}, "string_too_short"),
        ({"model_name": "x" * 257}, "string_too_long"),
        ({"model_name": "a\0"}, "string_nul"),
        ({"model_name": 5}, "string_type"),
    ],
)
def test_a_model_to_add_needs_a_name(ada: Learner, body: Json, kind: str) -> None:
    answer = ada.post(models_path(ada.open_session()), body)

    assert answer.status == 422
    assert [(each["type"], each["loc"]) for each in answer.detail] == [(kind, ["body", "model_name"])]


# Deleting


def test_a_deleted_model_is_gone_at_once_with_its_responses(ada: Learner, class_of_four: int) -> None:
    session = ada.open_session(class_id=class_of_four)
    models = ada.models_of(session)
    gone, kept = ada.add_response(session), []
    for model in models[1:3]:
        body = {"prompt_text": "Why?", "response_text": "Because."}
        kept.append(made(ada.post(f"{path_of(model)}/responses", body), 201))

    deleted = ada.delete(path_of(models[0]))

    assert (deleted.status, deleted.body) == (204, b"")
    response = f"/responses/{gone['response_id']}"
    for answer, detail in (
        (ada.delete(path_of(models[0])), "model not found"),
        (ada.patch(path_of(models[0]), {"is_primary": True}), "model not found"),
        (ada.get(f"{path_of(models[0])}/responses"), "model not found"),
        (
            ada.post(f"{path_of(models[0])}/responses", {"prompt_text": "", "response_text": ""}),
            "model not found",
        ),
        (ada.get(response), "response not found"),
        (ada.patch(response, {"latency_ms": 1}), "response not found"),
        (ada.delete(response), "response not found"),
    ):
        assert (answer.status, answer.detail) == (404, detail)
    assert names(ada.models_of(session)) == ["alpha", "gamma", "delta"]
    path = f"/sessions/{session['session_id']}"
    assert ada.get(path).json["responses"] == kept
    assert ada.get(path + "/responses").json == {"items": kept, "next_cursor": None}
    assert ada.get("/sessions?expand=responses").json["items"][0]["responses"] == kept


def test_responses_of_a_deleted_model_do_not_come_back_with_its_name(ada: Learner) -> None:
    session = ada.open_session()
    response = ada.add_response(session)
    model = ada.models_of(session)[0]
    ada.delete(path_of(model))

    again = made(ada.post(models_path(session), {"model_name": model["model_name"]}), 201)

    assert again["session_model_id"] != model["session_model_id"]
    assert ada.get(f"{path_of(again)}/responses").json == []
    assert ada.get(f"/responses/{response['response_id']}").status == 404
    assert ada.get(f"/sessions/{session['session_id']}").json["responses"] == []


def test_the_lowest_remaining_id_takes_over_from_a_deleted_primary(ada: Learner, class_of_four: int) -> None:
    session = ada.open_session(class_id=class_of_four)
    beta, alpha, gamma, delta = ada.models_of(session)

    seen = []
    ada.patch(path_of(delta), {"is_primary": True})
    for model in (delta, beta, gamma, alpha):
        assert ada.delete(path_of(model)).status == 204
        seen.append(ada.models_of(session))

    assert [[(model["model_name"], model["is_primary"]) for model in left] for left in seen] == [
        [("beta", True), ("alpha", False), ("gamma", False)],
        [("alpha", True), ("gamma", False)],
        [("alpha", True)],
        [],
    ]


def test_the_first_model_added_to_none_is_primary(ada: Learner, class_of_four: int) -> None:
    session = ada.open_session(class_id=class_of_four)
    for model in ada.models_of(session):
        ada.delete(path_of(model))

    added = [ada.post(models_path(session), {"model_name": name}).json for name in ("gamma", "alpha")]

    assert [model["is_primary"] for model in added] == [True, False]
    assert names(ada.models_of(session)) == ["gamma", "alpha"]
    assert ada.get(f"/sessions/{session['session_id']}").status == 200


def test_an_unknown_model_is_not_found(ada: Learner, ben: Learner) -> None:
    session = ada.open_session()
    model = ada.models_of(session)[0]
    foreign = ben.models_of(ben.open_session())[0]["session_model_id"]
    own = session["session_id"]

    for model_id in (own, own + 1, own + 500, own - 1, foreign, 1, 2**53 - 1, 2**53, 10**30):
        path = f"/models/{model_id}"
        for answer in (
            ada.patch(path, {"is_primary": True}),
            ada.delete(path),
            ada.get(f"{path}/responses"),
        ):
            assert (answer.status, answer.json) == (404, {"detail": "model not found"}), path
    for bad in ("0", "-1", "1.5", "abc"):
        for answer in (ada.patch(f"/models/{bad}", {"is_primary": 7}), ada.delete(f"/models/{bad}")):
            assert answer.status == 422
            assert answer.detail[0]["loc"] == ["path", "session_model_id"]
    assert ada.models_of(session)[0] == model


def test_another_learner_meets_the_same_answer_for_the_same_work(
    ada: Learner, ben: Learner, requests_to_table: Callable[[], Any]
) -> None:
    session = ada.open_session()
    before = ada.models_of(session)
    ben.get("/sessions")  # once a minute his tokens are asked for

    for method, body in (("PATCH", {"is_primary": True}), ("DELETE", ...)):
        answers, work = [], []
        for model_id in (before[1]["session_model_id"], 2**52):
            with requests_to_table() as requests:
                answers.append(ben.ask(method, f"/models/{model_id}", body))
            work.append(requests)
        assert (answers[0].status, answers[0].body) == (404, answers[1].body)
        assert work[0] == work[1]
    assert ada.models_of(session) == before


# At the same time, and If-Match


def test_there_is_exactly_one_primary_whatever_happens_at_the_same_time(
    ada: Learner, announce: Announce
) -> None:
    class_id = new_user_id()
    announce(class_id, *(f"model-{n}" for n in range(12)))
    session = ada.open_session(class_id=class_id)
    models = ada.models_of(session)

    answers = at_once(
        *(lambda m=m: ada.patch(path_of(m), {"is_primary": True}) for m in models[:8]),
        *(lambda m=m: ada.delete(path_of(m)) for m in (models[0], models[3], models[8])),
        *(
            lambda n=n: ada.post(models_path(session), {"model_name": f"model-{n}", "is_primary": True})
            for n in (9, 10, 11)
        ),
        *(lambda: ada.patch(f"/sessions/{session['session_id']}", {"class_id": class_id}) for _ in range(2)),
    )

    assert {answer.status for answer in answers} <= {200, 201, 204, 404}
    after = ada.models_of(session)
    assert [model["is_primary"] for model in after] == [True] + [False] * 8
    assert set(names(after)) == {f"model-{n}" for n in (1, 2, 4, 5, 6, 7, 9, 10, 11)}


def test_models_added_at_the_same_time_are_all_there_once(ada: Learner, announce: Announce) -> None:
    class_id = new_user_id()
    announce(class_id, *(f"model-{n}" for n in range(6)))
    session = ada.open_session(class_id=class_id)
    for model in ada.models_of(session):
        ada.delete(path_of(model))

    answers = at_once(
        *(lambda n=n: ada.post(models_path(session), {"model_name": f"model-{n % 6}"}) for n in range(18))
    )

    assert [answer.status for answer in answers] == [201] * 18
    after = ada.models_of(session)
    assert sorted(names(after)) == [f"model-{n}" for n in range(6)]
    assert primary(after) == names(after)[0]
    assert {answer.json["session_model_id"] for answer in answers} == {
        model["session_model_id"] for model in after
    }


def test_each_model_has_a_version_of_its_own(ada: Learner) -> None:
    session = ada.open_session()
    first, second = ada.models_of(session)

    def tag(model: Json) -> str:
        return ada.patch(path_of(model), {}).etag

    before = tag(first), tag(second)
    params = {"generation_params": {"temperature": 0.1}}
    changed = ada.patch(path_of(first), params, headers={"if-match": before[0]})

    assert changed.status == 200
    assert changed.etag == tag(first) != before[0]
    assert tag(second) == before[1]
    ada.patch(path_of(second), {"is_primary": True})
    assert tag(second) != before[1]
    assert tag(first) != changed.etag
    ada.patch(f"/sessions/{session['session_id']}/settings", {"generation_params": {"top_k": 2}})
    posted = ada.post(models_path(session), {"model_name": second["model_name"]})
    assert posted.etag == tag(second)


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_the_slower_learner_gets_the_current_version(ada: Learner, method: str) -> None:
    session = ada.open_session()
    model = ada.models_of(session)[1]
    first = ada.patch(path_of(model), {}).etag
    current = ada.patch(path_of(model), {"generation_params": {"top_k": 1}}).etag
    body = {"is_primary": True} if method == "PATCH" else ...

    late = ada.ask(method, path_of(model), body, headers={"if-match": first})

    assert (late.status, late.json, late.etag) == (412, {"detail": "precondition_failed"}, current)
    assert [each["is_primary"] for each in ada.models_of(session)] == [True, False]
    accepted = ada.ask(method, path_of(model), body, headers={"if-match": f'{first}, {current}, "x"'})
    assert accepted.status == (200 if method == "PATCH" else 204)
    other = ada.models_of(session)[-1]
    assert ada.ask(method, path_of(other), body, headers={"if-match": "*"}).status == accepted.status


def test_a_change_of_models_moves_neither_session_nor_settings(ada: Learner) -> None:
    opened = ada.post("/sessions", {"class_id": 1})
    models = ada.models_of(opened.json)

    ada.patch(path_of(models[1]), {"is_primary": True, "generation_params": {"temperature": 0}})
    ada.delete(path_of(models[0]))

    after = ada.get(f"/sessions/{opened.json['session_id']}")
    assert (after.json, after.etag) == (opened.json, opened.etag)
