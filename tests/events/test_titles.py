"""A session without a title gets one from its first exchange, and the learner's own always wins."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from local.stack import Stack
from practice.events import titles
from practice.runtime.config import config
from practice.schemas.turn import ErrorCode
from practice.store import titles as store
from practice.turns import alone, configuration
from practice.turns.providers import STREAMING, ProviderError
from tests.support import deliveries
from tests.support.deliveries import Deliveries
from tests.support.learners import Learner
from tests.support.providers import FakeProvider, Played, in_turn, replies

Ask = Callable[..., str]


@pytest.fixture
def delivered(stack: Stack) -> Deliveries:
    return deliveries.of(stack)


@pytest.fixture
def model_writes(monkeypatch: pytest.MonkeyPatch) -> Callable[[Ask | str], list[str]]:
    """What the model answers; collects what it was shown."""

    def answer(with_what: Ask | str) -> list[str]:
        shown: list[str] = []

        def ask(_: Any, model_name: str, system: str, text: str, **options: Any) -> str:
            shown.append(text)
            return with_what if isinstance(with_what, str) else with_what()

        monkeypatch.setattr(alone.AskedAlone, "ask", ask)
        return shown

    return answer


def title_of(ada: Learner, session: dict[str, Any]) -> str | None:
    title: str | None = ada.get(f"/sessions/{session['session_id']}").json["title"]
    return title


def test_the_first_answer_gives_an_untitled_session_a_title(
    ada: Learner, delivered: Deliveries, model_writes: Callable[[str], list[str]]
) -> None:
    shown = model_writes('"Why the sky is blue, explained to a child"\nBecause...')
    session = ada.open_session()
    ada.add_response(session, prompt_text="Why is the sky blue?", response_text="Air scatters blue most.")

    delivered.run()

    after = ada.get(f"/sessions/{session['session_id']}").json
    assert after["title"] == "Why the sky is blue, explained"
    assert after["updated_at"] > session["updated_at"]
    assert "Why is the sky blue?" in shown[0]
    assert "Air scatters blue most." in shown[0]


def test_a_turn_gives_one_too(ada: Learner, delivered: Deliveries) -> None:
    session = ada.open_session()
    answer = ada.post(f"/sessions/{session['session_id']}/chat", {"prompt_text": "Why is the sky blue?"})
    assert answer.status == 201

    delivered.run()

    assert title_of(ada, session) == "Why is the sky blue?"


def test_the_echo_of_a_long_prompt_makes_a_title_of_its_first_words(
    ada: Learner, delivered: Deliveries
) -> None:
    session = ada.open_session()
    prompt = "How do I refuse a customer's request politely?\nIn two sentences."
    assert ada.post(f"/sessions/{session['session_id']}/chat", {"prompt_text": prompt}).status == 201

    delivered.run()

    assert title_of(ada, session) == "How do I refuse a customer's"


def test_a_title_moves_the_session_to_no_other_place(
    ada: Learner, delivered: Deliveries, model_writes: Callable[[str], list[str]]
) -> None:
    model_writes("Sky")
    first, second = ada.open_session(), ada.open_session()
    ada.add_response(first)
    ada.patch(f"/sessions/{second['session_id']}", {"notes": "later"})

    delivered.run()

    listed = ada.get("/sessions?sort=activity").json["items"]
    assert [(each["session_id"], each["title"]) for each in listed] == [
        (second["session_id"], None),
        (first["session_id"], "Sky"),
    ]


def test_a_title_of_the_learners_is_never_overwritten(
    ada: Learner, delivered: Deliveries, model_writes: Callable[[str], list[str]]
) -> None:
    shown = model_writes("The model's")
    session = ada.open_session(title="Mine")
    ada.add_response(session)

    delivered.run()

    assert title_of(ada, session) == "Mine"
    assert shown == []


def test_nor_one_that_she_sets_while_the_model_thinks(
    ada: Learner, delivered: Deliveries, model_writes: Callable[[Ask], list[str]]
) -> None:
    session = ada.open_session()

    def meanwhile() -> str:
        ada.patch(f"/sessions/{session['session_id']}", {"title": "Mine"})
        return "The model's"

    model_writes(meanwhile)
    ada.add_response(session)
    delivered.run()

    assert title_of(ada, session) == "Mine"


def test_nor_one_that_she_sets_between_the_last_look_and_the_write(
    ada: Learner, delivered: Deliveries, model_writes: Callable[[Ask | str], list[str]]
) -> None:
    from practice import table

    model_writes("The model's")
    session = ada.open_session()
    ada.add_response(session)
    delivered.of_the_stream()

    def set_first(**_: Any) -> None:
        table.dynamodb().meta.events.unregister("before-call.dynamodb.UpdateItem", set_first)
        ada.patch(f"/sessions/{session['session_id']}", {"title": "Mine"})

    table.dynamodb().meta.events.register("before-call.dynamodb.UpdateItem", set_first)
    delivered.run()

    assert title_of(ada, session) == "Mine"


def test_when_the_model_fails_once_it_is_asked_again(
    ada: Learner, delivered: Deliveries, model_writes: Callable[[Ask | str], list[str]]
) -> None:
    answers = iter(["", "Second attempt"])
    session = ada.open_session()
    shown = model_writes(lambda: next(answers))
    ada.add_response(session)

    delivered.run()

    assert title_of(ada, session) == "Second attempt"
    assert len(shown) == 2


def test_after_two_failures_the_first_words_serve_and_no_turn_pays_again(
    ada: Learner, delivered: Deliveries, model_writes: Callable[[Ask | str], list[str]]
) -> None:
    def fail() -> str:
        raise ProviderError("no capacity", ErrorCode.THROTTLED)

    session = ada.open_session()
    shown = model_writes(fail)
    ada.add_response(session, prompt_text="Why is the sky blue in the morning?")
    delivered.run()

    assert title_of(ada, session) == "Why is the sky blue in the"
    assert delivered.waiting("TitlesQueue") == []
    assert len(shown) == 2

    ada.add_response(session)
    delivered.run()
    assert len(shown) == 2


def test_of_a_response_without_a_prompt_its_own_first_words_serve(
    ada: Learner, delivered: Deliveries, model_writes: Callable[[Ask | str], list[str]]
) -> None:
    session = ada.open_session()
    shown = model_writes("")
    ada.add_response(session, prompt_text=" ", response_text="<think>hm</think>Air scatters blue most.")
    delivered.run()
    ada.add_response(session)
    delivered.run()

    assert title_of(ada, session) == "Air scatters blue most."
    assert len(shown) == 2, "a second payment"


def test_a_title_is_made_by_the_configured_model_alone(
    ada: Learner, delivered: Deliveries, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def ask(_self: Any, model_name: str, *_: Any, **__: Any) -> str:
        asked.append(model_name)
        return "Sky"

    monkeypatch.setattr(alone.AskedAlone, "ask", ask)
    session = ada.open_session()
    ada.add_response(session)
    delivered.run()
    monkeypatch.setenv("TITLE_MODEL", "scribe")
    configuration.clear_cache()
    other = ada.open_session()
    ada.add_response(other)
    delivered.run()

    assert asked == [config().default_models[0], "scribe"]
    monkeypatch.undo()
    configuration.clear_cache()


def test_without_a_configured_model_the_first_words_serve(
    ada: Learner, delivered: Deliveries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(titles, "_model", lambda: "")
    session = ada.open_session()
    ada.add_response(session, prompt_text="Why?")

    delivered.run()

    assert title_of(ada, session) == "Why?"


@pytest.mark.parametrize(
    ("played", "title"),
    [
        ({"content": "<think>\nOkay\n</think>\n\nParis."}, "Paris."),
        ({"content": "Paris", "reasoning_content": "Okay"}, "Paris"),
        ({"content": "<think>\nOkay"}, "Capital of France?"),
    ],
)
def test_thinking_is_no_title(
    ada: Learner,
    delivered: Deliveries,
    monkeypatch: pytest.MonkeyPatch,
    played: dict[str, Any],
    title: str,
) -> None:
    with FakeProvider() as fake:
        monkeypatch.setenv("TITLE_MODEL", "scribe")
        served = {"provider": "openai", "id": "gpt-5-mini", "base_url": f"{fake.url}/v1"}
        monkeypatch.setenv("MODELS", json.dumps({"scribe": served}))
        configuration.clear_cache()
        fake.plays["gpt-5-mini"] = lambda _: Played(
            {"choices": [{"message": played, "finish_reason": "stop"}]}
        )
        session = ada.open_session()
        ada.add_response(
            session, prompt_text="Capital of France?", response_text="<think>hm</think>It is Paris."
        )

        delivered.run()

        assert title_of(ada, session) == title
        request = fake.requests[0]
        assert "hm" not in request["messages"][-1]["content"]
        assert request["max_completion_tokens"] == 25_000 + titles.TOKENS, "room to think"
        assert request.keys() - STREAMING.keys() == {"model", "messages", "max_completion_tokens"}
    monkeypatch.undo()
    configuration.clear_cache()


def test_a_cap_that_a_model_refuses_costs_no_title(
    ada: Learner, delivered: Deliveries, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = {"error": {"message": "no", "param": "max_tokens", "code": "unsupported_parameter"}}
    with FakeProvider() as fake:
        monkeypatch.setenv("TITLE_MODEL", "scribe")
        monkeypatch.setenv(
            "MODELS", json.dumps({"scribe": {"provider": "openai", "base_url": f"{fake.url}/v1"}})
        )
        configuration.clear_cache()
        fake.plays["scribe"] = in_turn(lambda _: Played(refused, 400), replies("Sky"))
        session = ada.open_session()
        ada.add_response(session)

        delivered.run()

        assert title_of(ada, session) == "Sky"
        assert [each.get("max_tokens") for each in fake.requests] == [titles.TOKENS, None]
    monkeypatch.undo()
    configuration.clear_cache()


def test_an_empty_title_counts_as_none(
    ada: Learner, delivered: Deliveries, model_writes: Callable[[str], list[str]]
) -> None:
    model_writes("Sky")
    session = ada.open_session(title="")
    ada.add_response(session)

    delivered.run()

    assert title_of(ada, session) == "Sky"


def test_a_session_that_has_gone_meanwhile_stays_gone(
    ada: Learner, delivered: Deliveries, model_writes: Callable[[Ask], list[str]]
) -> None:
    session = ada.open_session()

    def meanwhile() -> str:
        ada.delete(f"/sessions/{session['session_id']}")
        return "Too late"

    model_writes(meanwhile)
    ada.add_response(session)
    delivered.run()

    assert ada.get(f"/sessions/{session['session_id']}").status == 404
    assert store.write(ada.user_id, session["session_id"], "Much too late") is False


@pytest.mark.parametrize(
    ("written", "title"),
    [
        ("Photosynthesis", "Photosynthesis"),
        ("\n\n  Light   and\tshade \nMore", "Light and shade"),
        ("**“Newton’s laws”**", "Newton’s laws"),
        ("An explanation of photosynthesis", "An explanation of"),
        ("Donaudampfschifffahrtsgesellschaftskapitän", "Donaudampfschifffahrtsgesellsc"),
        (
            "日本語の長いタイトルはどこで切られるのでしょうかという質問です",
            "日本語の長いタイトルはどこで切られるのでしょうかという質問で",
        ),
        ('   \n "" ', ""),
    ],
)
def test_what_a_model_writes_becomes_one_short_line(written: str, title: str) -> None:
    assert titles.one_line(written) == title
    assert len(titles.one_line(written)) <= 30


def test_an_unreadable_message_goes_to_the_dead_letter_queue(stack: Stack, delivered: Deliveries) -> None:
    record = {"messageId": "1", "body": json.dumps({"user_id": 1}), "attributes": {}}

    assert stack.invoker.invoke("write_titles", {"Records": [record]}) == {"batchItemFailures": []}

    letter = delivered.dead_letters_in("TitlesDeadLetters")[0]
    assert letter["attributes"]["reason"]["StringValue"] == "missing at session_id"
