"""How the models of a session follow its class."""

from collections.abc import Callable
from typing import Any

import pytest

from local.stack import Stack
from practice import table
from practice.runtime.config import Config, config
from practice.store.classes import sync_with_class
from practice.table import keys
from tests.support.learners import Learner, made, new_user_id

Json = dict[str, Any]
Announce = Callable[..., Any]

DEFAULT_MODELS = ["claude-3-haiku-20240307", "gpt-4o-mini"]


@pytest.fixture
def class_id() -> int:
    return new_user_id()


def path_of(session: Json) -> str:
    return f"/sessions/{session['session_id']}"


def names(who: Learner, session: Json) -> list[str]:
    return [model["model_name"] for model in who.models_of(session)]


def by_name(who: Learner, session: Json, name: str) -> Json:
    [model] = [model for model in who.models_of(session) if model["model_name"] == name]
    return model


def delete_model(who: Learner, session: Json, name: str) -> None:
    model = by_name(who, session, name)
    assert who.delete(f"/models/{model['session_model_id']}").status == 204


Sync = Callable[[Learner, Json], Any]


def name_the_class(who: Learner, session: Json) -> None:
    assert who.patch(path_of(session), {"class_id": session["class_id"]}).status == 200


def add_a_model(who: Learner, session: Json) -> None:
    primary = who.models_of(session)[0]["model_name"]
    who.post(f"{path_of(session)}/models", {"model_name": primary})


def move_elsewhere(who: Learner, session: Json) -> None:
    assert who.patch(path_of(session), {"class_id": new_user_id()}).status == 200


BRINGS_IN_LINE = pytest.mark.parametrize("sync", [name_the_class, add_a_model])


@BRINGS_IN_LINE
def test_models_that_the_class_gains_are_added_last(
    ada: Learner, announce: Announce, class_id: int, sync: Sync
) -> None:
    announce(class_id, "alpha", "beta")
    session = ada.open_session(class_id=class_id)
    before = ada.models_of(session)
    settings = {"generation_params": {"temperature": 0.1, "top_k": 4}}
    merged = made(ada.patch(f"{path_of(session)}/settings", settings), 200)["generation_params"]

    announce(class_id, "delta", "alpha", "gamma", "beta", primary="gamma")
    assert names(ada, session) == ["alpha", "beta"]
    sync(ada, session)

    after = ada.models_of(session)
    assert [model["model_name"] for model in after] == ["alpha", "beta", "gamma", "delta"]
    assert [model["is_primary"] for model in after] == [True, False, False, False]
    assert [model["session_model_id"] for model in after[:2]] == [
        model["session_model_id"] for model in before
    ]
    assert [model["generation_params"] for model in after] == [merged] * 4
    ids = [model["session_model_id"] for model in after]
    assert ids == sorted(set(ids))


@BRINGS_IN_LINE
def test_models_that_the_class_loses_go_while_there_is_no_response(
    ada: Learner, announce: Announce, class_id: int, sync: Sync
) -> None:
    announce(class_id, "alpha", "beta", "gamma")
    session = ada.open_session(class_id=class_id)
    gone = by_name(ada, session, "beta")

    announce(class_id, "alpha", "gamma")
    sync(ada, session)

    assert names(ada, session) == ["alpha", "gamma"]
    assert ada.patch(f"/models/{gone['session_model_id']}", {"is_primary": True}).status == 404


@BRINGS_IN_LINE
def test_with_a_response_they_stay_to_be_read(
    ada: Learner, announce: Announce, class_id: int, sync: Sync
) -> None:
    announce(class_id, "alpha", "beta", "gamma")
    session = ada.open_session(class_id=class_id)
    alpha = by_name(ada, session, "alpha")
    response = ada.add_response(session)
    assert response["model_name"] == "alpha"

    announce(class_id, "gamma", "beta", "delta")
    ada.patch(f"{path_of(session)}", {"class_id": class_id})

    # What may not run any more cannot be the primary: the lowest id that may is.
    assert names(ada, session) == ["beta", "alpha", "gamma", "delta"]
    assert by_name(ada, session, "alpha") == alpha | {"is_primary": False}
    assert ada.get(path_of(session)).json["responses"] == [response]
    assert ada.get(f"/responses/{response['response_id']}").json == response
    announce(class_id, "alpha", "beta")
    sync(ada, session)
    assert names(ada, session) == ["beta", "alpha", "gamma", "delta"]


def test_after_its_only_response_is_deleted_a_session_has_none(
    ada: Learner, announce: Announce, class_id: int
) -> None:
    announce(class_id, "alpha", "beta")
    session = ada.open_session(class_id=class_id)
    response = ada.add_response(session)
    ada.delete(f"/responses/{response['response_id']}")

    announce(class_id, "beta")
    name_the_class(ada, session)

    assert names(ada, session) == ["beta"]


def test_an_answer_under_way_keeps_the_models(
    ada: Learner, announce: Announce, class_id: int, stack: Stack
) -> None:
    announce(class_id, "alpha", "beta")
    session = ada.open_session(class_id=class_id)
    place = keys.response(ada.user_id, session["session_id"] + 100)
    key = {"pk": {"S": place.pk}, "sk": {"S": place.sk}}
    name, client = stack.template.environment["TABLE_NAME"], table.dynamodb()
    client.put_item(TableName=name, Item={**key, "v": {"N": "0"}, "turn": {"N": "1"}})
    client.update_item(
        TableName=name,
        Key=dict(
            zip(
                ("pk", "sk"),
                ({"S": part} for part in keys.models(ada.user_id, session["session_id"])),
                strict=True,
            )
        ),
        UpdateExpression="SET answered = :one",
        ExpressionAttributeValues={":one": {"N": "1"}},
    )

    announce(class_id, "beta")
    name_the_class(ada, session)
    assert names(ada, session) == ["beta", "alpha"]

    client.delete_item(TableName=name, Key=key)
    name_the_class(ada, session)
    assert names(ada, session) == ["beta"]


@pytest.mark.usefixtures("stack")
@pytest.mark.parametrize("sync", [name_the_class, move_elsewhere, add_a_model])
def test_a_response_that_arrives_while_the_class_changes_keeps_the_models(
    ada: Learner, announce: Announce, class_id: int, sync: Sync, monkeypatch: pytest.MonkeyPatch
) -> None:
    announce(class_id, "alpha", "beta")
    session = ada.open_session(class_id=class_id)
    announce(class_id, "alpha")
    arrived: list[Json] = []

    def in_line(*args: Any) -> Any:
        decided = sync_with_class(*args)
        if not arrived:
            arrived.append(ada.add_response(session))
        return decided

    monkeypatch.setattr("practice.store.sessions.sync_with_class", in_line)
    monkeypatch.setattr("practice.store.session_models.sync_with_class", in_line)
    sync(ada, session)

    assert {"alpha", "beta"} <= {*names(ada, session)}
    assert ada.get(path_of(session)).json["responses"] == arrived


def test_responses_of_a_deleted_model_do_not_keep_the_others(
    ada: Learner, announce: Announce, class_id: int
) -> None:
    announce(class_id, "alpha", "beta", "gamma")
    session = ada.open_session(class_id=class_id)
    ada.add_response(session)
    delete_model(ada, session, "alpha")

    announce(class_id, "gamma")
    name_the_class(ada, session)

    assert names(ada, session) == ["gamma"]


@BRINGS_IN_LINE
def test_what_its_user_deleted_is_not_brought_back(
    ada: Learner, announce: Announce, class_id: int, sync: Sync
) -> None:
    announce(class_id, "alpha", "beta", "gamma")
    session = ada.open_session(class_id=class_id)
    delete_model(ada, session, "beta")

    announce(class_id, "alpha", "beta", "gamma", "delta")
    sync(ada, session)
    assert names(ada, session) == ["alpha", "gamma", "delta"]

    announce(class_id, "alpha")
    sync(ada, session)
    announce(class_id, "alpha", "beta", "gamma")
    sync(ada, session)
    assert names(ada, session) == ["alpha", "gamma"]

    added = ada.post(f"{path_of(session)}/models", {"model_name": "beta"})
    assert added.status == 201
    sync(ada, session)
    assert names(ada, session) == ["alpha", "gamma", "beta"]


def test_a_primary_that_the_class_still_lists_stays(ada: Learner, announce: Announce, class_id: int) -> None:
    announce(class_id, "alpha", "beta", "gamma")
    session = ada.open_session(class_id=class_id)
    gamma = by_name(ada, session, "gamma")
    ada.patch(f"/models/{gamma['session_model_id']}", {"is_primary": True})

    announce(class_id, "alpha", "beta", "gamma", "delta", primary="delta")
    name_the_class(ada, session)
    assert names(ada, session) == ["gamma", "alpha", "beta", "delta"]

    announce(class_id, "delta", "beta")
    name_the_class(ada, session)
    assert names(ada, session) == ["beta", "delta"]


def test_moving_to_another_class_brings_its_models(ada: Learner, announce: Announce, class_id: int) -> None:
    announce(class_id, "alpha", "gpt-4o-mini", "beta")
    session = ada.open_session(class_id=new_user_id())
    assert names(ada, session) == DEFAULT_MODELS

    moved = ada.patch(path_of(session), {"class_id": class_id, "title": "moved"})

    assert (moved.status, moved.json["class_id"]) == (200, class_id)
    assert names(ada, session) == ["gpt-4o-mini", "alpha", "beta"]
    back = ada.patch(path_of(session), {"class_id": new_user_id()})
    assert back.status == 200
    assert names(ada, session) == ["gpt-4o-mini", "claude-3-haiku-20240307"]


@pytest.mark.parametrize("status", ["planned", "ended"])
def test_any_class_is_accepted_by_a_change(
    ada: Learner, announce: Announce, class_id: int, status: str
) -> None:
    announce(class_id, "alpha", status=status)
    session = ada.open_session(class_id=new_user_id())

    moved = ada.patch(path_of(session), {"class_id": class_id})

    assert (moved.status, moved.json["class_id"]) == (200, class_id)
    assert names(ada, session) == ["alpha"]


def test_leaving_the_class_leaves_the_models(ada: Learner) -> None:
    session = ada.open_session()
    before = ada.models_of(session)

    left = ada.patch(path_of(session), {"class_id": None})

    assert (left.status, left.json["class_id"]) == (200, None)
    assert ada.models_of(session) == before


def test_a_class_that_lists_nothing_leaves_a_session_without_models(
    ada: Learner, announce: Announce, class_id: int
) -> None:
    announce(class_id, "alpha")
    session = ada.open_session(class_id=class_id)
    announce(class_id)

    name_the_class(ada, session)

    assert names(ada, session) == []
    assert ada.get(path_of(session)).status == 200
    announce(class_id, "beta", "alpha")
    name_the_class(ada, session)
    assert [(model["model_name"], model["is_primary"]) for model in ada.models_of(session)] == [
        ("beta", True),
        ("alpha", False),
    ]


def test_following_the_class_moves_neither_session_nor_settings(
    ada: Learner, announce: Announce, class_id: int
) -> None:
    announce(class_id, "alpha")
    opened = ada.post("/sessions", {"class_id": class_id})
    announce(class_id, "beta")

    named = ada.patch(path_of(opened.json), {"class_id": class_id})

    assert (named.json, named.etag) == (opened.json, opened.etag)
    assert names(ada, opened.json) == ["beta"]


def test_old_sessions_are_read_when_their_class_has_ended(
    ada: Learner, announce: Announce, class_id: int
) -> None:
    announce(class_id, "alpha", "beta")
    session = ada.open_session(class_id=class_id)
    response = ada.add_response(session)
    announce(class_id, status="ended")

    whole = ada.get(path_of(session))

    assert (whole.status, whole.json) == (200, session | {"responses": [response]})
    assert names(ada, session) == ["alpha", "beta"]
    assert ada.get(f"/sessions?class_id={class_id}").json["total"] == 1
    renamed = ada.patch(path_of(session), {"title": "still mine"})
    assert (renamed.status, renamed.json["title"]) == (200, "still mine")


def test_a_session_holds_a_hundred_models(ada: Learner, announce: Announce, class_id: int) -> None:
    announce(class_id, *(f"model-{n}" for n in range(90)))
    session = ada.open_session(class_id=class_id, title="kept")
    ada.add_response(session)
    before = ada.models_of(session)
    announce(class_id, *(f"new-{n}" for n in range(11)))

    moved = ada.patch(path_of(session), {"class_id": class_id, "title": "moved"})
    added = ada.post(f"{path_of(session)}/models", {"model_name": "new-5"})

    assert [(each.status, each.detail) for each in (moved, added)] == [(409, "session_full")] * 2
    assert ada.models_of(session) == before
    assert ada.get(path_of(session)).json["title"] == "kept"
    announce(class_id, *(f"new-{n}" for n in range(10)))
    assert ada.patch(path_of(session), {"class_id": class_id}).status == 200
    assert len(ada.models_of(session)) == 100


@pytest.mark.usefixtures("stack")
def test_where_unknown_classes_are_refused_only_announced_ones_open_a_session(
    ada: Learner, announce: Announce, class_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing = Config({**config().variables, "UNKNOWN_CLASS": "refuse"})
    monkeypatch.setattr("practice.store.catalogue.config", lambda: refusing)
    announce(class_id, "alpha")
    session = ada.open_session(class_id=class_id)
    unknown = {"class_id": new_user_id()}

    opened = ada.post("/sessions", unknown)
    moved = ada.patch(path_of(session), unknown)
    added = ada.post(f"{path_of(session)}/models", {"model_name": "alpha"})

    assert (opened.status, opened.detail) == (400, "class_not_found")
    assert (moved.status, moved.json["class_id"]) == (200, unknown["class_id"])
    assert (added.status, added.detail) == (400, "class_not_found")
    assert ada.get("/sessions").json["total"] == 1
