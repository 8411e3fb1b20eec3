"""What a model is asked, and with which parameters: read from what is composed."""

import itertools
from typing import Any

import pytest

from practice.schemas.example import Example
from practice.schemas.generation import DEFAULTS
from practice.schemas.response import Response
from practice.schemas.session_model import StoredModel
from practice.schemas.settings import StoredSettings
from practice.schemas.turn import TurnSettings
from practice.turns import model_table
from practice.turns.configuration import ModelConfiguration
from practice.turns.parameters import CAPS, Chosen, within_limits
from practice.turns.parameters import chosen as chosen_of
from practice.turns.prompts import Pair, Prompt, compose
from practice.turns.providers import as_sent
from practice.turns.thinking import without_thinking

NOW = "2026-01-07T05:31:56.120501Z"


def settings(**fields: Any) -> StoredSettings:
    given = {"generation_params": dict(DEFAULTS), **fields}
    return StoredSettings(setting_id=2, session_id=1, created_at=NOW, updated_at=NOW, **given)


def example(number: int, **fields: Any) -> Example:
    given = {"input_text": f"in {number}", "output_text": f"out {number}", "is_active": True, **fields}
    return Example(example_id=number, user_id=1, created_at=NOW, updated_at=NOW, title=None, meta={}, **given)


def response(number: int, prompt: str = "", text: str = "") -> Response:
    return Response(
        response_id=number,
        session_model_id=3,
        session_id=1,
        model_name="alpha",
        prompt_text=prompt or f"prompt {number}",
        response_text=text or f"answer {number}",
        created_at=NOW,
        token_usage=None,
        latency_ms=None,
    )


def composed(
    *,
    examples: list[Example] | None = None,
    history: list[Response] | None = None,
    budget: int = 1000,
    excerpts: list[str] | None = None,
    **fields: Any,
) -> Prompt:
    made = TurnSettings.of(settings(**fields), [])
    return compose(
        made, examples or [], history or [], "Why?", history_tokens=budget, excerpts=excerpts or []
    )


# The system text


def test_without_style_there_is_no_system_text() -> None:
    assert composed().system == ""
    assert composed(style_preset="custom").system == ""
    assert composed().messages() == [("user", "Why?")]


def test_presets_differ_in_text() -> None:
    texts = {composed(style_preset=preset).system for preset in ("accurate", "balanced", "creative")}

    assert len(texts) == 3
    assert all(len(text) > 80 for text in texts)


def test_style_params_that_are_known_become_sentences() -> None:
    style = {
        "system_prompt": "Stay on topic. {braces} stay.",
        "persona": "a poet.",
        "audience": "children",
        "tone": "warm",
        "format": "a list",
        "language": "French",
        "hints": ["one", "two", 3],
        "colour": "green",
    }

    assert composed(style_params=style).system == (
        "Stay on topic. {braces} stay.\n\nTake the role of a poet.\n\nWrite for children.\n\nTone: warm.\n\n"
        "Format of the answer: a list.\n\nAnswer in French.\n\nHints:\n- one\n- two"
    )


@pytest.mark.parametrize("odd", [None, 7, True, [], {"a": 1}, "  "])
def test_style_params_of_another_kind_say_nothing(odd: object) -> None:
    keys = ("system_prompt", "persona", "audience", "tone", "format", "language", "hints")

    assert composed(style_params=dict.fromkeys(keys, odd)).system == ""


def test_preset_style_agent_and_excerpts_come_in_this_order() -> None:
    system = composed(
        style_preset="accurate",
        style_params={"tone": "warm"},
        agent_snapshot={"system_prompt": "You are Socrates."},
        excerpts=["Chlorophyll is green.", "Leaves fall."],
    ).system

    places = [
        system.index(part)
        for part in ("Be exact", "Tone: warm", "Socrates", "[1] Chlorophyll is green.", "[2] Leaves fall.")
    ]
    assert places == sorted(places)


def test_an_agent_without_a_text_adds_nothing() -> None:
    assert composed(agent_snapshot={"system_prompt": None}).system == ""
    assert composed(agent_snapshot={}).system == ""


# Examples and history


def test_active_examples_are_pairs_in_their_order() -> None:
    made = composed(examples=[example(2), example(3, is_active=False), example(1)])

    assert made.examples == [Pair("in 2", "out 2"), Pair("in 1", "out 1")]
    assert [role for role, _ in made.messages()] == ["user", "assistant"] * 2 + ["user"]


def test_an_example_with_an_empty_side_is_left_out() -> None:
    """Providers refuse messages without text."""
    assert composed(examples=[example(1, output_text=" "), example(2, input_text="")]).examples == []


def test_history_comes_in_the_order_of_time_after_the_examples() -> None:
    made = composed(examples=[example(1)], history=[response(9), response(8)])

    assert [text for _, text in made.messages()] == [
        "in 1",
        "out 1",
        "prompt 8",
        "answer 8",
        "prompt 9",
        "answer 9",
        "Why?",
    ]


def test_the_newest_turns_that_fit_the_budget_are_shown() -> None:
    """Each turn here measures 100 bytes and 100 bytes: 26 tokens each."""
    turns = [response(n, "p" * 100, "a" * 100) for n in range(10, 0, -1)]

    assert [
        len(composed(history=turns, budget=budget).history) for budget in (0, 51, 52, 103, 104, 519, 520)
    ] == [
        0,
        0,
        1,
        1,
        2,
        9,
        10,
    ]


def test_no_gap_is_left_in_the_history() -> None:
    turns = [response(3), response(2, text="x" * 10_000), response(1)]

    assert composed(history=turns, budget=100).history == [Pair("prompt 3", "answer 3")]


# Parameters: later wins


def choice(
    *,
    defaults: dict[str, Any] | None = None,
    preset: str | None = None,
    agent: Any = None,
    chosen: dict[str, Any] | None = None,
    of_model: dict[str, Any] | None = None,
    **limits: Any,
) -> tuple[ModelConfiguration, Chosen]:
    configured = ModelConfiguration(provider="echo", id="m", defaults=defaults or {}, **limits)
    own = {**DEFAULTS, **(chosen or {})}
    made = settings(
        style_preset=preset,
        agent_snapshot={"generation_params": agent} if agent is not None else {},
        generation_params=own,
        chosen=sorted(chosen or {}),
    )
    model = StoredModel(
        session_model_id=3,
        model_name="m",
        generation_params={**own, **(of_model or {})},
        chosen=sorted({**(chosen or {}), **(of_model or {})}),
    )
    return configured, chosen_of(configured, made, model)


def params(prompt_bytes: int = 0, **given: Any) -> dict[str, Any]:
    """What goes out."""
    configured, made = choice(**given)
    return as_sent(configured, within_limits(configured, made.params, prompt_bytes))


def test_parameters_that_were_not_chosen_are_not_sent() -> None:
    assert params() == {}
    bare = StoredModel(session_model_id=3, model_name="m", generation_params={})
    assert chosen_of(None, settings(), bare) == ({}, {})


RANKS: list[tuple[str, Any]] = [
    ("defaults", {"temperature": 0.11}),
    ("preset", "accurate"),
    ("agent", {"temperature": 0.33}),
    ("chosen", {"temperature": 0.44}),
    ("of_model", {"temperature": 0.55}),
]
WORTH = {"defaults": 0.11, "preset": 0.2, "agent": 0.33, "chosen": 0.44, "of_model": 0.55}


@pytest.mark.parametrize(
    "given",
    [subset for size in range(1, 6) for subset in itertools.combinations(RANKS, size)],
    ids=lambda given: "+".join(name for name, _ in given),
)
def test_later_wins(given: tuple[tuple[str, Any], ...]) -> None:
    assert params(**dict(given))["temperature"] == WORTH[given[-1][0]]


def test_presets_differ_in_temperature() -> None:
    found = [params(preset=preset)["temperature"] for preset in ("accurate", "balanced", "creative")]

    assert found == sorted(set(found))
    assert params(preset="custom") == {}


def test_null_changes_nothing() -> None:
    assert params(agent={"temperature": 0.3}, chosen={"temperature": None})["temperature"] == 0.3


@pytest.mark.parametrize(
    "odd",
    [
        {"temperature": "hot"},
        {"temperature": 9},
        {"max_tokens": 0},
        {"max_tokens": [1]},
        {"top_p": {}},
        [],
        "x",
        7,
    ],
)
def test_parameters_of_an_agent_that_do_not_fit_are_left_out(odd: Any) -> None:
    assert params(agent=odd) == {}


def test_other_parameters_are_handed_on() -> None:
    assert params(agent={"seed": 1, "stop": "a"}, chosen={"seed": 2})["seed"] == 2


@pytest.mark.parametrize(
    "odd",
    [
        {"novel": "x"},
        {"stop": ["x" * 60_000]},
        {"stop": []},
        {"stop": [""]},
        {"stop": {"a": 1}},
        {"seed": "two"},
        {"seed": True},
        {"presence_penalty": 3},
        {"reasoning_effort": ["high"]},
    ],
    ids=str,
)
def test_what_is_no_parameter_is_not(odd: dict[str, Any]) -> None:
    assert params(chosen={"seed": 2, **odd}) == ({"seed": 2} if "seed" not in odd else {})


@pytest.mark.parametrize("preset", ["short", "normal", "long"])
def test_a_length_preset_sets_the_cap_when_none_was_chosen(preset: str) -> None:
    made = params(chosen={"response_length_preset": preset}, defaults={"max_tokens": 3000})

    assert made == {"max_tokens": CAPS[preset]}
    assert CAPS == {"short": 256, "normal": 512, "long": 2048}


@pytest.mark.parametrize("where", ["agent", "chosen", "of_model"])
def test_a_cap_that_was_chosen_counts_more_than_a_length_preset(where: str) -> None:
    cap = {"max_completion_tokens": 77, "max_tokens": 77}
    given: dict[str, Any] = {"of_model": {"response_length_preset": "short"}}
    given[where] = {**given.get(where, {}), **cap}

    assert params(**given)["max_tokens"] == 77


@pytest.mark.parametrize("preset", [None, "custom"])
def test_without_a_preset_that_names_a_length_the_deployments_cap_counts(preset: str | None) -> None:
    assert params(chosen={"response_length_preset": preset}) == {}
    assert params(chosen={"response_length_preset": preset}, defaults={"max_tokens": 300}) == {
        "max_tokens": 300
    }


def test_one_name_of_the_cap_is_enough_and_the_newer_one_wins() -> None:
    assert params(agent={"max_completion_tokens": 5}) == {"max_tokens": 5}
    assert params(agent={"max_tokens": 5}, cap_name="max_completion_tokens") == {"max_completion_tokens": 5}
    assert params(agent={"max_tokens": 5, "max_completion_tokens": 6}) == {"max_tokens": 6}


def test_caps_clamp_to_what_the_model_can() -> None:
    cap = {"max_tokens": 9000, "max_completion_tokens": 9000}

    assert params(chosen=cap, max_output_tokens=4096) == {"max_tokens": 4096}
    assert params(max_output_tokens=4096) == {}
    assert params(of_model={"temperature": 1.8}, max_temperature=1.0)["temperature"] == 1.0


# What is known of public models


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("claude-3-haiku-20240307", 4096),
        ("anthropic.claude-3-haiku-20240307-v1:0", 4096),
        ("us.anthropic.claude-3-5-haiku-20241022-v1:0", 8192),
        ("anthropic/claude-sonnet-4-5", 64_000),
        ("GPT-4o-mini", 16_384),
        ("gpt-4o-2024-08-06", 16_384),
        ("gpt-4", 8192),
        ("gpt-4.1-nano", 32_768),
        ("o3-mini", 100_000),
        ("octo1", None),
        ("llama3.2", None),
        ("", None),
    ],
)
def test_the_limits_of_public_models_are_known_with_any_provider(name: str, tokens: int | None) -> None:
    assert model_table.known(name).get("max_output_tokens") == tokens


def test_a_cap_leaves_the_prompt_its_part_of_the_window() -> None:
    cap = {"max_tokens": 8192, "max_completion_tokens": 8192}

    assert params(3000, chosen=cap, context_window=8192) == {"max_tokens": 8192 - 1000 - 1}
    assert params(60_000, chosen=cap, context_window=8192) == {}, "the service knows what is left"


def test_an_interface_that_demands_a_cap_gets_what_the_model_allows() -> None:
    assert params(cap_required=True, max_output_tokens=4096) == {"max_tokens": 4096}
    assert params(3000, cap_required=True, max_output_tokens=8192, context_window=8192) == {
        "max_tokens": 7191
    }
    assert params(60_000, cap_required=True, context_window=8192) == {"max_tokens": 1}
    assert params(cap_required=True) == {}, "nothing is known"


def test_of_parameters_that_exclude_each_other_the_one_chosen_last_goes() -> None:
    one_of = ["temperature", "top_p"]

    assert params(chosen={"top_p": 0.3}, one_of=one_of) == {"top_p": 0.3}
    assert params(preset="accurate", chosen={"top_p": 0.3}, one_of=one_of) == {"top_p": 0.3}
    assert params(defaults={"temperature": 0.1}, chosen={"top_p": 0.3}, one_of=one_of) == {"top_p": 0.3}
    assert params(chosen={"temperature": 0.5, "top_p": 0.3}, one_of=one_of) == {"temperature": 0.5}
    assert params(preset="accurate", one_of=one_of) == {"temperature": 0.2}


EVERYTHING: dict[str, Any] = {
    "temperature": 0.5,
    "top_p": 0.9,
    "stop": ["END"],
    "seed": 5,
    "presence_penalty": 0.1,
    "frequency_penalty": 0.2,
    "reasoning_effort": "low",
    "max_tokens": 64,
    "max_completion_tokens": 64,
}


@pytest.mark.parametrize("name", sorted(EVERYTHING))
def test_every_parameter_can_be_omitted(name: str) -> None:
    sent = params(chosen=EVERYTHING)
    gone = "max_tokens" if name == "max_completion_tokens" else name

    assert len(sent) == 8
    assert params(chosen=EVERYTHING, omits=[name]) == {key: sent[key] for key in sent.keys() - {gone}}


def test_what_a_model_refuses_while_it_thinks_goes_out_when_it_does_not() -> None:
    omits: dict[str, Any] = {"thinking_omits": ["temperature"]}

    assert params(chosen={"temperature": 0.5, "reasoning_effort": "low"}, **omits) == {
        "reasoning_effort": "low"
    }
    assert params(chosen={"temperature": 0.5}, **omits) == {}
    assert params(chosen={"temperature": 0.5, "reasoning_effort": "none"}, **omits) == {
        "temperature": 0.5,
        "reasoning_effort": "none",
    }


def test_a_length_preset_leaves_a_model_that_thinks_its_room() -> None:
    short = {"response_length_preset": "short"}

    assert params(chosen=short, thinking_tokens=1000) == {"max_tokens": 1256}
    assert params(chosen=short, thinking_tokens=1000, max_output_tokens=1100) == {"max_tokens": 1100}
    assert params(chosen={**short, "reasoning_effort": "none"}, thinking_tokens=1000)["max_tokens"] == 256


def test_it_is_known_who_chose() -> None:
    _, made = choice(
        defaults={"top_p": 0.1, "seed": 1},
        preset="accurate",
        agent={"stop": "END"},
        chosen={"response_length_preset": "short"},
        of_model={"temperature": 0.7},
    )

    assert made.chosen_by == {
        "seed": "deployment",
        "top_p": "preset",
        "stop": "agent",
        "max_tokens": "settings",
        "temperature": "session_model",
    }
    assert made.chosen_by.keys() == made.params.keys()


# Thinking


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("<think>\nOkay\n</think>\n\nParis.", "Paris."),
        ("  <THINK>a</THINK><thinking>b</thinking> Paris.", "Paris."),
        ("<think>cut in the middle", ""),
        ("Paris.", "Paris."),
        (
            "The tag <think> opens a block, </think> closes it.",
            "The tag <think> opens a block, </think> closes it.",
        ),
        ("", ""),
    ],
)
def test_a_block_of_thinking_at_the_beginning_is_none_of_the_answer(written: str, shown: str) -> None:
    assert without_thinking(written) == (shown, shown != written)


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("Okay, the capital.\n</think>\n\nParis.", "Paris."),
        ("One.\n<think>\nhm\n</think>\nTwo.", "One.\nTwo."),
        ("Use `<think>` and `</think>`.", "Use `<think>` and `</think>`."),
    ],
)
def test_a_model_that_thinks_may_do_so_elsewhere(written: str, shown: str) -> None:
    assert without_thinking(written, thinks=True)[0] == shown


def test_history_shows_no_thinking_and_no_refusal_of_a_guardrail() -> None:
    thought = response(1, text="<think>hm</think>Paris.")
    filtered = response(2).model_copy(update={"token_usage": {"_gf": {"finish_reason": "content_filter"}}})
    only_thought = response(3, text="<think>hm")

    assert composed(history=[only_thought, filtered, thought]).history == [Pair("prompt 1", "Paris.")]


def test_without_a_system_role_its_text_opens_the_first_message() -> None:
    prompt = Prompt("Be brief.", [Pair("2+2", "4")], [], "Why?")

    assert prompt.conversation(takes_system=True) == ("Be brief.", prompt.messages())
    assert prompt.conversation(takes_system=False) == (
        "",
        [("user", "Be brief.\n\n2+2"), ("assistant", "4"), ("user", "Why?")],
    )
    bare = Prompt("", [], [], "Why?")
    assert bare.conversation(takes_system=False) == ("", [("user", "Why?")])
