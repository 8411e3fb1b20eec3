"""The settings of a session: style, generation parameters, selected examples, the agent as it was."""

import importlib
import json
import string
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from tests.support.learners import DEFAULT_PARAMS, Answer, Learner, made, new_user_id

Json = dict[str, Any]
Announce = Callable[..., Any]

OWN_FIELDS = {
    "setting_id",
    "session_id",
    "style_preset",
    "style_params",
    "generation_params",
    "agent_snapshot",
    "few_shot_links",
    "created_at",
    "updated_at",
}


def settings_path(session: Json) -> str:
    return f"/sessions/{session['session_id']}/settings"


def exactly(value: object) -> str:
    """As JSON text: 1, 1.0 and true are not the same."""
    return json.dumps(value, sort_keys=True)


def test_settings_are_made_with_their_session(ada: Learner) -> None:
    session = ada.open_session()

    answer = ada.get(settings_path(session))

    assert (answer.status, answer.json) == (200, session["settings"])
    assert answer.json.keys() == OWN_FIELDS
    assert exactly(answer.json["generation_params"]) == exactly(DEFAULT_PARAMS)
    assert answer.etag


def test_a_change_is_answered_and_read_back_everywhere(ada: Learner) -> None:
    session = ada.open_session()
    change = {"style_preset": "accurate", "style_params": {"persona": "Yoda"}}

    changed = ada.patch(settings_path(session), change)

    assert changed.status == 200
    assert changed.json == session["settings"] | change | {"updated_at": changed.json["updated_at"]}
    assert changed.json["updated_at"] > session["settings"]["updated_at"]
    read = ada.get(settings_path(session))
    assert (read.json, read.etag) == (changed.json, changed.etag)
    assert ada.get(f"/sessions/{session['session_id']}").json == session | {"settings": changed.json}


@pytest.mark.parametrize("preset", ["accurate", "balanced", "creative", "custom"])
def test_a_preset_is_set_and_cleared(ada: Learner, preset: str) -> None:
    path = settings_path(ada.open_session())

    assert ada.patch(path, {"style_preset": preset}).json["style_preset"] == preset
    assert ada.patch(path, {"style_params": {"a": 1}}).json["style_preset"] == preset
    assert ada.patch(path, {"style_preset": None}).json["style_preset"] is None


@pytest.mark.parametrize("name", ["style_params", "generation_params"])
def test_objects_are_merged_key_by_key(ada: Learner, name: str) -> None:
    path = settings_path(ada.open_session())
    ada.patch(path, {name: {"a": {"deep": [1, {"b": 2}]}, "kept": "yes", "gone": 1}})

    merged = ada.patch(path, {name: {"a": {"other": None}, "gone": None, "new": []}}).json[name]

    inherited = DEFAULT_PARAMS if name == "generation_params" else {}
    assert merged == {**inherited, "a": {"other": None}, "kept": "yes", "gone": None, "new": []}


@pytest.mark.parametrize("nothing", [None, {}])
@pytest.mark.parametrize("name", ["style_params", "generation_params"])
def test_nothing_for_the_whole_object_changes_nothing(ada: Learner, name: str, nothing: object) -> None:
    path = settings_path(ada.open_session())
    before = ada.patch(path, {name: {"a": 1}})

    after = ada.patch(path, {name: nothing})

    assert (after.json, after.etag) == (before.json, before.etag)


ODD: Json = {
    "float": 0.7,
    "integer": 1,
    "whole float": 1.0,
    "large": 2**80,
    "small": -1.5e-300,
    "null": None,
    "yes": True,
    "unicode": "Ça va 🐍 \u2028 \x01",
    "": {"empty key": {}},
    "nested": [[], {}, [0, 0.0, False, None, "0"]],
}


def test_free_form_values_come_back_exactly(ada: Learner) -> None:
    session = ada.open_session()
    path = settings_path(session)

    ada.patch(path, {"style_params": ODD, "generation_params": ODD})

    read = ada.get(path).json
    assert exactly(read["style_params"]) == exactly(ODD)
    assert exactly(read["generation_params"]) == exactly({**DEFAULT_PARAMS, **ODD})
    for model in ada.models_of(session):
        given = {name: value for name, value in ODD.items() if value is not None}
        assert exactly(model["generation_params"]) == exactly({**DEFAULT_PARAMS, **given})


@pytest.mark.parametrize("name", ["style_params", "generation_params"])
def test_one_and_true_are_different_values(ada: Learner, name: str) -> None:
    session = ada.open_session()
    path = settings_path(session)
    for value in (1, 1.0, True, [1], [True], {"a": 0}, {"a": False}, {"a": 0.0}):
        before = ada.get(path)

        changed = ada.patch(path, {name: {"key": value}})

        assert exactly(changed.json[name]["key"]) == exactly(value)
        assert exactly(ada.get(path).json[name]["key"]) == exactly(value)
        assert changed.json["updated_at"] > before.json["updated_at"]
        assert changed.etag != before.etag
        if name == "generation_params":
            assert exactly(ada.models_of(session)[0]["generation_params"]["key"]) == exactly(value)


@pytest.mark.parametrize(
    "equal",
    [
        {},
        {"style_preset": "creative"},
        {"style_params": {"b": {"y": 2, "x": 1}}},
        {"style_params": {"a": 1}, "generation_params": {"temperature": 1}},
        {"generation_params": {"temperature": "1.0", "max_tokens": "500"}},
        {"generation_params": {"max_tokens": 500, "max_completion_tokens": 500}},
        {"generation_params": {"max_tokens": None}},
        {"few_shot_example_ids": ["selected", "selected", 0, -3]},
        {"unknown": 5, "setting_id": 7, "agent_snapshot": {"name": "Mallory"}, "updated_at": None},
    ],
)
def test_equal_values_change_nothing(
    ada: Learner, contents_of: Callable[[Learner], Json], equal: Json
) -> None:
    session = ada.open_session()
    path = settings_path(session)
    selected = ada.add_example()["example_id"]
    before = ada.patch(
        path,
        {
            "style_preset": "creative",
            "style_params": {"a": 1, "b": {"x": 1, "y": 2}},
            "generation_params": {"temperature": 1, "max_tokens": 500},
            "few_shot_example_ids": [selected],
        },
    )
    stored = contents_of(ada)
    if "few_shot_example_ids" in equal:
        equal = {
            "few_shot_example_ids": [
                selected if each == "selected" else each for each in equal["few_shot_example_ids"]
            ]
        }

    after = ada.patch(path, equal)

    assert (after.status, after.json, after.etag) == (200, before.json, before.etag)
    assert contents_of(ada) == stored


# Generation parameters

TOKENS = ("max_completion_tokens", "max_tokens")


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ({"temperature": 1}, {"temperature": 1.0}),
        ({"temperature": "0.5"}, {"temperature": 0.5}),
        ({"temperature": 0}, {"temperature": 0.0}),
        ({"temperature": 2}, {"temperature": 2.0}),
        ({"temperature": True}, {"temperature": 1.0}),
        ({"temperature": None}, {"temperature": None}),
        ({"top_p": 1}, {"top_p": 1.0}),
        ({"top_p": "1e-1"}, {"top_p": 0.1}),
        ({"response_length_preset": "long"}, {"response_length_preset": "long"}),
        ({"response_length_preset": None}, {"response_length_preset": None}),
        ({"max_tokens": 5}, {"max_tokens": 5, "max_completion_tokens": 5}),
        ({"max_tokens": "5"}, {"max_tokens": 5, "max_completion_tokens": 5}),
        ({"max_tokens": 5.0}, {"max_tokens": 5, "max_completion_tokens": 5}),
        ({"max_completion_tokens": 6}, {"max_tokens": 6, "max_completion_tokens": 6}),
        ({"max_tokens": 5, "max_completion_tokens": 6}, {"max_tokens": 6, "max_completion_tokens": 6}),
        ({"max_tokens": 5, "max_completion_tokens": None}, {"max_tokens": 5, "max_completion_tokens": 5}),
        ({"max_tokens": None, "max_completion_tokens": 6}, {"max_tokens": 6, "max_completion_tokens": 6}),
        ({"max_tokens": None}, {"max_tokens": 10240, "max_completion_tokens": 10240}),
        ({"max_completion_tokens": None}, {"max_tokens": 10240, "max_completion_tokens": 10240}),
        (
            {"max_tokens": None, "max_completion_tokens": None},
            {"max_tokens": None, "max_completion_tokens": None},
        ),
        ({"top_k": 40, "stop": ["\n"]}, {"top_k": 40, "stop": ["\n"]}),
        ({"model_config": 1, "sent": 2, "__class__": 3}, {"model_config": 1, "sent": 2, "__class__": 3}),
    ],
)
def test_generation_parameters_follow_one_set_of_rules(ada: Learner, sent: Json, kept: Json) -> None:
    session = ada.open_session()
    model = ada.models_of(session)[0]

    by_settings = ada.patch(settings_path(session), {"generation_params": sent})
    by_model = ada.patch(
        f"/models/{ada.models_of(ada.open_session())[0]['session_model_id']}", {"generation_params": sent}
    )

    assert by_settings.status == by_model.status == 200
    wanted = exactly({**DEFAULT_PARAMS, **kept})
    assert exactly(by_settings.json["generation_params"]) == wanted
    assert exactly(by_model.json["generation_params"]) == wanted
    followed = {name: value for name, value in kept.items() if value is not None}
    merged = ada.models_of(session)[0]
    assert merged["session_model_id"] == model["session_model_id"]
    assert exactly(merged["generation_params"]) == exactly({**DEFAULT_PARAMS, **followed})


def test_both_token_fields_null_are_stored_in_the_settings_only(ada: Learner) -> None:
    session = ada.open_session()

    changed = ada.patch(settings_path(session), {"generation_params": dict.fromkeys(TOKENS)}).json

    assert {name: changed["generation_params"][name] for name in TOKENS} == dict.fromkeys(TOKENS)
    assert {ada.models_of(session)[0]["generation_params"][name] for name in TOKENS} == {10240}


def test_what_is_merged_into_a_model_leaves_its_other_parameters(ada: Learner) -> None:
    session = ada.open_session()
    first, second = ada.models_of(session)
    ada.patch(f"/models/{first['session_model_id']}", {"generation_params": {"temperature": 0.1, "top_k": 3}})

    ada.patch(settings_path(session), {"generation_params": {"temperature": 0.4, "top_p": None}})

    assert [model["generation_params"] for model in ada.models_of(session)] == [
        {**DEFAULT_PARAMS, "temperature": 0.4, "top_k": 3},
        {**DEFAULT_PARAMS, "temperature": 0.4},
    ]
    assert second["generation_params"] == DEFAULT_PARAMS


INT = "Input should be a valid integer"


@pytest.mark.parametrize(
    ("body", "problems"),
    [
        ({"style_preset": "wild"}, [("enum", ["style_preset"])]),
        ({"style_preset": ""}, [("enum", ["style_preset"])]),
        ({"style_preset": 5}, [("enum", ["style_preset"])]),
        ({"style_params": []}, [("dict_type", ["style_params"])]),
        ({"style_params": "x"}, [("dict_type", ["style_params"])]),
        ({"style_params": {"a\0": 1}}, [("string_nul", ["style_params"])]),
        ({"style_params": {"a": ["\ud800"]}}, [("string_unicode", ["style_params"])]),
        ({"style_params": {"a": "x" * 2**16}}, [("too_long", ["style_params"])]),
        ({"generation_params": []}, [("model_attributes_type", ["generation_params"])]),
        ({"generation_params": "x"}, [("model_attributes_type", ["generation_params"])]),
        ({"generation_params": 5}, [("model_attributes_type", ["generation_params"])]),
        (
            {"generation_params": {"temperature": 2.1}},
            [("less_than_equal", ["generation_params", "temperature"])],
        ),
        (
            {"generation_params": {"temperature": -0.1}},
            [("greater_than_equal", ["generation_params", "temperature"])],
        ),
        (
            {"generation_params": {"temperature": "NaN"}},
            [("finite_number", ["generation_params", "temperature"])],
        ),
        (
            {"generation_params": {"temperature": 10**400}},
            [("finite_number", ["generation_params", "temperature"])],
        ),
        (
            {"generation_params": {"temperature": "warm"}},
            [("float_parsing", ["generation_params", "temperature"])],
        ),
        ({"generation_params": {"temperature": []}}, [("float_type", ["generation_params", "temperature"])]),
        ({"generation_params": {"top_p": 1.01}}, [("less_than_equal", ["generation_params", "top_p"])]),
        (
            {"generation_params": {"max_tokens": 0}},
            [("greater_than_equal", ["generation_params", "max_tokens"])],
        ),
        (
            {"generation_params": {"max_completion_tokens": 1.5}},
            [("int_from_float", ["generation_params", "max_completion_tokens"])],
        ),
        (
            {"generation_params": {"response_length_preset": "tiny"}},
            [("enum", ["generation_params", "response_length_preset"])],
        ),
        ({"generation_params": {"top_k": "a\0"}}, [("string_nul", ["generation_params"])]),
        ({"generation_params": {"x": "y" * 2**16}}, [("too_long", ["generation_params"])]),
        ({"few_shot_example_ids": 5}, [("list_type", ["few_shot_example_ids"])]),
        ({"few_shot_example_ids": ["x"]}, [("int_parsing", ["few_shot_example_ids", 0])]),
        ({"few_shot_example_ids": [1, None]}, [("int_type", ["few_shot_example_ids", 1])]),
        ({"few_shot_example_ids": [2**53]}, [("less_than_equal", ["few_shot_example_ids", 0])]),
        ({"few_shot_example_ids": [*range(1, 52)]}, [("too_long", ["few_shot_example_ids"])]),
        (
            {
                "few_shot_example_ids": 5,
                "generation_params": {"top_p": 5, "temperature": 5},
                "style_params": 5,
                "style_preset": 5,
            },
            [
                ("enum", ["style_preset"]),
                ("dict_type", ["style_params"]),
                ("less_than_equal", ["generation_params", "temperature"]),
                ("less_than_equal", ["generation_params", "top_p"]),
                ("list_type", ["few_shot_example_ids"]),
            ],
        ),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else "",
)
def test_a_value_that_does_not_fit_is_named_and_nothing_is_written(
    ada: Learner, body: Json, problems: list[tuple[str, list[str | int]]]
) -> None:
    session = ada.open_session()
    before = ada.get(settings_path(session))

    answer = ada.patch(settings_path(session), {"style_preset": "creative", **body})

    assert answer.status == 422
    assert [(each["type"], each["loc"]) for each in answer.detail] == [
        (kind, ["body", *loc]) for kind, loc in problems
    ]
    assert all(each["msg"] and each.keys() == {"type", "loc", "msg"} for each in answer.detail)
    after = ada.get(settings_path(session))
    assert (after.json, after.etag) == (before.json, before.etag)


def nested(depth: int) -> Json:
    value: Json = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


def test_objects_are_at_most_32_deep(ada: Learner) -> None:
    path = settings_path(ada.open_session())

    for name in ("style_params", "generation_params"):
        kept = ada.patch(path, {name: nested(32)})
        refused = ada.patch(path, {name: nested(33)})
        assert kept.json[name]["a"] == nested(31)
        assert (refused.status, refused.detail[0]["loc"]) == (422, ["body", name])


def test_objects_are_at_most_64_kb_also_after_merging(ada: Learner) -> None:
    session = ada.open_session()
    path = settings_path(session)
    for name in ("style_params", "generation_params"):
        half = {"first": "é" * (15 * 1024)}
        assert ada.patch(path, {name: half}).status == 200
        before = ada.get(path)

        refused = ada.patch(path, {name: {"second": "x" * (40 * 1024)}, "style_preset": "creative"})

        assert (refused.status, refused.detail[0]["loc"]) == (422, ["body", name])
        assert (ada.get(path).json, ada.get(path).etag) == (before.json, before.etag)
        assert ada.patch(path, {name: {"first": "", "second": "x" * (40 * 1024)}}).status == 200


def test_a_model_that_would_grow_too_large_refuses_the_whole_change(ada: Learner) -> None:
    session = ada.open_session()
    model = ada.models_of(session)[1]["session_model_id"]
    ada.patch(f"/models/{model}", {"generation_params": {"own": "x" * (40 * 1024)}})
    before, models = ada.get(settings_path(session)), ada.models_of(session)

    refused = ada.patch(settings_path(session), {"generation_params": {"other": "x" * (40 * 1024)}})

    assert (refused.status, refused.detail[0]["loc"]) == (422, ["body", "generation_params"])
    assert ada.get(settings_path(session)).json == before.json
    assert ada.models_of(session) == models


def test_many_large_models_and_settings_stay_readable(ada: Learner, announce: Announce) -> None:
    class_id = new_user_id()
    announce(class_id, *(f"model-{n}" for n in range(22)))
    session = ada.open_session(class_id=class_id)
    noise = "".join(Random(1).choices(string.ascii_letters + string.digits + "!#$%&()*+,-./:;<=>?", k=63_000))

    answers = [
        ada.patch(settings_path(session), {"style_params": {"noise": noise}}),
        ada.patch(settings_path(session), {"generation_params": {"noise": noise}}),
    ]

    assert [answer.status for answer in answers] == [200, 200]
    read = ada.get(f"/sessions/{session['session_id']}")
    assert (read.status, read.json["settings"]) == (200, answers[1].json)
    models = ada.models_of(session)
    assert [model["generation_params"]["noise"] for model in models] == [noise] * 22
    added = ada.add_response(session)
    assert ada.get(f"/sessions/{session['session_id']}").json["responses"] == [added]


def test_more_parameters_than_one_session_holds_are_refused(ada: Learner, announce: Announce) -> None:
    class_id = new_user_id()
    announce(class_id, *(f"model-{n}" for n in range(60)))
    session = ada.open_session(class_id=class_id)
    models = ada.models_of(session)

    refused = ada.patch(settings_path(session), {"generation_params": {"noise": "x" * 60_000}})

    assert (refused.status, refused.detail) == (409, "session_full")
    assert ada.models_of(session) == models
    assert ada.get(settings_path(session)).json == session["settings"]


def test_a_run_with_more_parameters_than_one_session_holds_opens_none(
    ada: Learner, announce: Announce
) -> None:
    class_id = new_user_id()
    announce(class_id, *(f"model-{n}" for n in range(60)))
    given = {"generation_params": {"noise": "x" * 60_000}, "model_names": ["model-1"]}

    refused = ada.post(f"/sessions/run?class_id={class_id}", {"prompt_text": "Why?", **given})

    assert (refused.status, refused.detail) == (409, "session_full")
    assert ada.get("/sessions").json["items"] == []


# The selection


def select(who: Learner, session: Json, *examples: Json | int) -> Answer:
    ids = [each if isinstance(each, int) else each["example_id"] for each in examples]
    return who.patch(settings_path(session), {"few_shot_example_ids": ids})


def selected(settings: Json) -> list[tuple[int, int]]:
    return [(link["example_id"], link["sort_order"]) for link in settings["few_shot_links"]]


def test_a_selection_links_the_examples_in_its_order(ada: Learner) -> None:
    session = ada.open_session()
    one, two, three = (ada.add_example(title=title) for title in ("one", "two", "three"))

    settings = select(ada, session, three, one, two).json

    assert settings["few_shot_links"] == [
        {
            "id": link["id"],
            "setting_id": settings["setting_id"],
            "example_id": example["example_id"],
            "sort_order": order,
            "created_at": settings["updated_at"],
            "example": example,
        }
        for order, (example, link) in enumerate(
            zip([three, one, two], settings["few_shot_links"], strict=True)
        )
    ]
    ids = [link["id"] for link in settings["few_shot_links"]]
    assert ids == sorted(set(ids))
    assert settings["updated_at"] > session["settings"]["updated_at"]
    assert ada.get(settings_path(session)).json == settings
    assert ada.get(f"/sessions/{session['session_id']}").json["settings"] == settings


def test_a_selection_is_replaced_cleared_or_left(ada: Learner) -> None:
    session = ada.open_session()
    one, two, three = (ada.add_example()["example_id"] for _ in range(3))

    def ids(change: Json) -> list[tuple[int, int]]:
        return selected(made(ada.patch(settings_path(session), change), 200))

    assert ids({"few_shot_example_ids": [one, two]}) == [(one, 0), (two, 1)]
    assert ids({"few_shot_example_ids": [three, one]}) == [(three, 0), (one, 1)]
    assert ids({"style_preset": "creative"}) == [(three, 0), (one, 1)]
    mixed: list[object] = [two, two, 0, -1, str(one), two]
    assert ids({"few_shot_example_ids": mixed}) == [(two, 0), (one, 1)]
    assert ids({"few_shot_example_ids": None}) == []
    assert ids({"few_shot_example_ids": [one]}) == [(one, 0)]
    assert ids({"few_shot_example_ids": []}) == []


@pytest.mark.usefixtures("under_load")
def test_fifty_examples_can_be_selected(ada: Learner) -> None:
    session = ada.open_session()
    examples = [ada.add_example()["example_id"] for _ in range(50)]

    settings = select(ada, session, *examples, *examples, 0).json

    assert selected(settings) == [(each, order) for order, each in enumerate(examples)]


@pytest.mark.usefixtures("under_load")
def test_fifty_examples_as_long_as_they_may_be_can_be_selected(ada: Learner) -> None:
    session = ada.open_session()
    examples = [ada.add_example(input_text="🐍" * 4096, output_text="🐍" * 4096) for _ in range(50)]

    settings = select(ada, session, *examples)

    assert settings.status == 200
    assert [link["example"] for link in settings.json["few_shot_links"]] == examples
    assert ada.get(f"/sessions/{session['session_id']}").json["settings"] == settings.json


@pytest.mark.usefixtures("under_load")
def test_a_selection_that_no_answer_could_carry_is_refused(ada: Learner) -> None:
    session = ada.open_session()
    full: Json = {"input_text": "é" * (16 * 1024), "output_text": "", "meta": {"a": "🐍" * (15 * 1024)}}
    examples = [ada.add_example(**full) for _ in range(50)]

    refused = select(ada, session, *examples)

    assert (refused.status, refused.detail[0]["loc"]) == (422, ["body", "few_shot_example_ids"])
    assert ada.get(settings_path(session)).json == session["settings"]
    assert select(ada, session, *examples[:10]).status == 200


def test_an_example_that_stays_keeps_its_link(ada: Learner) -> None:
    session = ada.open_session()
    one, two = ada.add_example(), ada.add_example()
    before = select(ada, session, one, two).json["few_shot_links"]

    after = select(ada, session, two, one).json["few_shot_links"]

    assert after == [before[1] | {"sort_order": 0}, before[0] | {"sort_order": 1}]


def test_examples_that_may_not_be_selected_refuse_the_whole_change(ada: Learner, ben: Learner) -> None:
    session = ada.open_session()
    mine, idle, gone = ada.add_example(), ada.add_example(is_active=False), ada.add_example()
    ada.delete(f"/few-shot-examples/{gone['example_id']}")
    foreign = ben.add_example()
    select(ada, session, mine)
    before = ada.get(settings_path(session))
    models = ada.models_of(session)

    unknown = [each["example_id"] for each in (idle, gone, foreign)] + [1, 2**53 - 1, session["session_id"]]
    for wanted in unknown:
        answer = ada.patch(
            settings_path(session),
            {
                "style_preset": "creative",
                "style_params": {"a": 1},
                "generation_params": {"temperature": 0.1},
                "few_shot_example_ids": [mine["example_id"], wanted],
            },
        )
        assert (answer.status, answer.json) == (403, {"detail": "invalid_few_shot_example_ids"})

    after = ada.get(settings_path(session))
    assert (after.json, after.etag) == (before.json, before.etag)
    assert ada.models_of(session) == models


def test_a_deactivated_example_stays_linked_and_may_be_sent_again(ada: Learner) -> None:
    session = ada.open_session()
    one, two = ada.add_example(), ada.add_example()
    before = select(ada, session, one, two)
    idle = ada.patch(f"/few-shot-examples/{one['example_id']}", {"is_active": False}).json

    shown = ada.get(settings_path(session))
    again = select(ada, session, two, one)

    assert shown.json["few_shot_links"][0]["example"] == idle
    assert shown.json["updated_at"] == before.json["updated_at"]
    assert shown.etag == before.etag
    assert selected(again.json) == [(two["example_id"], 0), (one["example_id"], 1)]
    assert selected(select(ada, session, two).json) == [(two["example_id"], 0)]
    assert select(ada, session, two, one).status == 403


def test_an_example_that_changes_is_shown_changed_and_moves_no_settings(ada: Learner) -> None:
    session = ada.open_session()
    example = ada.add_example()
    before = select(ada, session, example)

    changed = ada.patch(f"/few-shot-examples/{example['example_id']}", {"input_text": "3+3"}).json

    after = ada.get(settings_path(session))
    assert after.json["few_shot_links"][0]["example"] == changed
    assert after.json["updated_at"] == before.json["updated_at"]
    assert after.etag == before.etag


def test_a_deleted_example_disappears_from_every_selection_at_once(ada: Learner) -> None:
    sessions = [ada.open_session(), ada.open_session()]
    one, two, three = (ada.add_example() for _ in range(3))
    before = [select(ada, session, one, two, three).json for session in sessions]

    ada.delete(f"/few-shot-examples/{two['example_id']}")

    for session, settings in zip(sessions, before, strict=True):
        links = [settings["few_shot_links"][0], settings["few_shot_links"][2]]
        after = ada.get(settings_path(session)).json
        assert after == settings | {"few_shot_links": links}
        assert ada.get(f"/sessions/{session['session_id']}").json["settings"] == after
    expanded = ada.get("/sessions?expand=settings").json["items"]
    assert all(len(item["settings"]["few_shot_links"]) == 2 for item in expanded)


def test_the_same_selection_after_a_deletion_is_no_change(ada: Learner) -> None:
    session = ada.open_session()
    one, two = ada.add_example(), ada.add_example()
    before = select(ada, session, one, two)
    ada.delete(f"/few-shot-examples/{two['example_id']}")

    again = select(ada, session, one)

    assert again.json == before.json | {"few_shot_links": before.json["few_shot_links"][:1]}
    assert again.etag == before.etag
    assert select(ada, session, one, two).status == 403


# The agent as it was


def snapshot(who: Learner, session: Json) -> Json:
    taken: Json = who.get(settings_path(session)).json["agent_snapshot"]
    return taken


def test_an_agent_is_kept_as_it_was_when_it_was_set(ada: Learner, announce_agent: Announce) -> None:
    agent = announce_agent(ada.user_id, updated_at="2026-05-01T10:00:00.000001Z", generation_params=ODD)

    session = ada.open_session(agent_id=agent)
    announce_agent(ada.user_id, agent_id=agent, name="Plato")
    ada.patch(f"/sessions/{session['session_id']}", {"agent_id": agent, "title": "again"})

    taken = {
        "agent_id": agent,
        "name": "Socrates",
        "system_prompt": "Answer with a question.",
        "generation_params": ODD,
        "updated_at": "2026-05-01T10:00:00.000001Z",
    }
    assert exactly(session["settings"]["agent_snapshot"]) == exactly(taken)
    assert exactly(snapshot(ada, session)) == exactly(taken)
    assert snapshot(ada, ada.open_session(agent_id=agent))["name"] == "Plato"


def test_setting_another_agent_takes_its_snapshot_and_null_empties_it(
    ada: Learner, announce_agent: Announce
) -> None:
    opened = ada.post("/sessions", {"class_id": 1})
    session = opened.json
    path = f"/sessions/{session['session_id']}"
    agent = announce_agent(ada.user_id)
    before = ada.get(settings_path(session))

    changed = ada.patch(path, {"agent_id": agent}).json

    assert changed["settings"]["agent_snapshot"]["name"] == "Socrates"
    assert changed["settings"]["updated_at"] == changed["updated_at"] > session["updated_at"]
    assert ada.get(settings_path(session)).json == changed["settings"]
    assert ada.get(settings_path(session)).etag != before.etag
    cleared = ada.patch(path, {"agent_id": None}).json
    assert (cleared["agent_id"], cleared["settings"]["agent_snapshot"]) == (None, {})
    assert cleared["settings"]["updated_at"] > changed["settings"]["updated_at"]


def test_an_agent_that_was_never_announced_has_an_empty_snapshot(ada: Learner) -> None:
    session = ada.open_session(agent_id=new_user_id())
    settings = session["settings"]

    changed = ada.patch(f"/sessions/{session['session_id']}", {"agent_id": new_user_id()}).json

    assert settings["agent_snapshot"] == {}
    assert changed["settings"] == settings


def test_an_agent_is_usable_by_its_owner_and_in_the_classes_it_is_shared_with(
    ada: Learner, ben: Learner, announce_agent: Announce
) -> None:
    own = announce_agent(ada.user_id)
    shared = announce_agent(ada.user_id, shared_class_ids=[71, 72])
    idle = announce_agent(ada.user_id, shared_class_ids=[71], is_active=False)
    here = {"class_id": 71}

    def status(who: Learner, class_id: int, agent_id: int) -> int:
        session = who.open_session(class_id=class_id, title="kept")
        opened = who.post("/sessions", {"class_id": class_id, "agent_id": agent_id})
        changed = who.patch(f"/sessions/{session['session_id']}", {"agent_id": agent_id, "title": "lost"})
        assert (opened.status == 404) == (changed.status == 404)
        if changed.status == 404:
            assert opened.detail == changed.detail == "agent not found or not accessible"
            assert who.get(f"/sessions/{session['session_id']}").json == session
        return changed.status

    assert [status(ada, 70, own), status(ada, 70, shared), status(ben, 71, shared)] == [200, 200, 200]
    assert [status(ben, 71, own), status(ben, 70, shared)] == [404, 404]
    assert [status(ada, 71, idle), status(ben, 71, idle)] == [404, 404]
    moved = ben.open_session(class_id=70)["session_id"]
    assert ben.patch(f"/sessions/{moved}", {"agent_id": shared, **here}).status == 200
    assert ben.patch(f"/sessions/{moved}", {"class_id": 70}).status == 200


def test_an_agent_set_before_stays_when_it_may_not_be_set_any_more(
    ada: Learner, ben: Learner, announce_agent: Announce, hand_in: Announce
) -> None:
    agent = announce_agent(ben.user_id, shared_class_ids=[71])
    session = ada.open_session(class_id=71, agent_id=agent)
    path = f"/sessions/{session['session_id']}"
    taken = session["settings"]["agent_snapshot"]

    announce_agent(ben.user_id, agent_id=agent, is_active=False)
    same = ada.patch(path, {"agent_id": agent, "title": "same agent"})
    assert (same.status, same.json["settings"]["agent_snapshot"]) == (200, taken)

    hand_in("AgentDeleted", {"agent_id": agent})
    assert snapshot(ada, session) == taken
    assert ada.open_session(class_id=71, agent_id=agent)["settings"]["agent_snapshot"] == {}
    ada.patch(path, {"agent_id": None})
    assert ada.patch(path, {"agent_id": agent}).json["settings"]["agent_snapshot"] == {}


# At the same time, and If-Match


@pytest.mark.usefixtures("stack")
@pytest.mark.parametrize("has_models", [True, False])
@pytest.mark.parametrize(
    ("first", "step"),
    [
        ("settings", "settings.versioned_examples"),
        ("model", "session_models.sync_with_class"),
        ("class", "sessions.sync_with_class"),
    ],
)
def test_a_model_added_while_the_settings_change_has_their_parameters(
    ada: Learner,
    announce: Announce,
    first: str,
    step: str,
    has_models: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class_id = new_user_id()
    announce(class_id, "alpha")
    session = ada.open_session(class_id=class_id)
    if not has_models:
        ada.delete(f"/models/{ada.models_of(session)[0]['session_model_id']}")
    announce(class_id, "alpha", "beta")
    path = f"/sessions/{session['session_id']}"

    def merge() -> Answer:
        return ada.patch(f"{path}/settings", {"generation_params": {"top_k": 7}})

    def add() -> Answer:
        return ada.post(f"{path}/models", {"model_name": "beta"})

    def name_the_class() -> Answer:
        return ada.patch(path, {"class_id": class_id})

    slow, fast = {
        "settings": (merge, add),
        "model": (add, merge),
        "class": (name_the_class, merge),
    }[first]
    module, _, name = step.partition(".")
    original = getattr(importlib.import_module(f"practice.store.{module}"), name)
    meanwhile: list[Answer] = []

    def interrupted(*args: Any) -> Any:
        result = original(*args)
        if not meanwhile:
            meanwhile.append(fast())
        return result

    monkeypatch.setattr(f"practice.store.{step}", interrupted)
    assert slow().status < 300
    assert meanwhile[0].status < 300

    models = ada.models_of(session)
    assert {model["model_name"] for model in models} >= {"beta"}
    assert [model["generation_params"] for model in models] == [{**DEFAULT_PARAMS, "top_k": 7}] * len(models)


def test_the_slower_learner_gets_the_current_version(ada: Learner) -> None:
    path = settings_path(ada.open_session())
    first = ada.get(path).etag
    current = ada.patch(path, {"style_preset": "creative"}).etag

    late = ada.patch(path, {"style_preset": "accurate"}, headers={"if-match": first})

    assert (late.status, late.json, late.etag) == (412, {"detail": "precondition_failed"}, current)
    assert ada.get(path).json["style_preset"] == "creative"
    before_403 = ada.patch(path, {"few_shot_example_ids": [1]}, headers={"if-match": first})
    assert before_403.status == 412
    ada.patch(path, {"style_params": {"a": "x" * 40_000}})
    after_422 = ada.patch(path, {"style_params": {"b": "x" * 40_000}}, headers={"if-match": first})
    assert after_422.status == 422
    current = ada.get(path).etag
    for header in ("*", f'"0", {current}'):
        assert ada.patch(path, {}, headers={"if-match": header}).status == 200


def test_a_new_selection_counts_as_a_version(ada: Learner) -> None:
    session = ada.open_session()
    before = ada.get(settings_path(session)).etag

    changed = select(ada, session, ada.add_example())

    assert changed.etag != before
    assert ada.get(settings_path(session)).etag == changed.etag
