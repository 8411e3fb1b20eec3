"""A learner asks several models at once, and keeps every answer."""

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from math import inf
from typing import Any

import pytest

from local.stack import Stack
from practice import table
from practice.errors import StoreUnavailable
from practice.runtime import queues
from practice.runtime.deadline import Deadline
from practice.schemas.turn import QueuedTurn, TurnError
from practice.store import followers, turns
from practice.store.turn_state import Followers
from practice.table.keys import Key
from practice.turns import configuration, run, worker
from tests.support.hooks import hooked
from tests.support.learners import BASE_URL, Answer, Learner, Send, made, walk
from tests.support.processes import SECONDS, Killed, mortal, time_is_up_after, wait_until
from tests.support.providers import FakeProvider, Played, completion, in_turn, replies

Announce = Callable[..., Any]


@pytest.fixture
def finished(request: pytest.FixtureRequest) -> Callable[[Learner, str], dict[str, Any]]:
    """The turn at this location, when its worker is through with it: brought to it here, waited for elsewhere."""

    def wait(who: Learner, location: str) -> dict[str, Any]:
        if not BASE_URL:
            request.getfixturevalue("deliver_turns")()
        for _ in range(600):
            turn = made(who.get(location), 200)
            if turn["status"] not in ("queued", "running"):
                return turn
            time.sleep(0.05)
        raise AssertionError("the turn is still under way")

    return wait


def select_examples(who: Learner, session: dict[str, Any], count: int) -> None:
    """Of 30 KB each, which an echo repeats."""
    noise = random.Random(count)
    texts = ["".join(noise.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=30_000)) for _ in range(count)]
    ids = [who.add_example(input_text=text, output_text="yes")["example_id"] for text in texts]
    made(who.patch(f"/sessions/{session['session_id']}/settings", {"few_shot_example_ids": ids}), 200)


def chat(who: Learner, session: dict[str, Any], prompt: str = "Why?", **options: Any) -> Answer:
    body = {"prompt_text": prompt, **options.pop("body", {})}
    return who.post(f"/sessions/{session['session_id']}/chat", body, **options)


def turns_of(who: Learner, session: dict[str, Any], query: str = "") -> dict[str, Any]:
    return made(who.get(f"/sessions/{session['session_id']}/turns{query}"), 200)


def without_siblings(turn: dict[str, Any]) -> dict[str, Any]:
    """As lists have it."""
    return {name: value for name, value in turn.items() if not name.startswith("siblings")}


def responses_of(who: Learner, session: dict[str, Any]) -> list[dict[str, Any]]:
    page = made(who.get(f"/sessions/{session['session_id']}/responses?size=200"), 200)
    items: list[dict[str, Any]] = page["items"]
    return items


# One turn


def test_every_model_of_the_session_answers_the_primary_first(ada: Learner, class_of: Any) -> None:
    session = ada.open_session(class_id=class_of("beta", "alpha", primary="gamma"))

    answer = chat(ada, session, "What is a prompt?")

    assert answer.status == 201
    turn = answer.json
    assert list(turn) == ["session_id", "session_title", "prompt_text", "results", "errors"]
    assert (turn["session_id"], turn["prompt_text"], turn["errors"]) == (
        session["session_id"],
        "What is a prompt?",
        [],
    )
    results = turn["results"]
    assert [each["model_name"] for each in results] == ["gamma", "beta", "alpha"]
    assert [each["is_primary"] for each in results] == [True, False, False]
    assert [each["response_id"] for each in results] == sorted(each["response_id"] for each in results)
    assert len({each["created_at"] for each in results}) == 1
    for each in results:
        assert "What is a prompt?" in each["response_text"]
        assert each["token_usage"]["provider"] == "echo"


def test_the_answers_are_kept_as_responses(ada: Learner, class_of: Any) -> None:
    session = ada.open_session(class_id=class_of("alpha", "beta"))

    results = chat(ada, session).json["results"]

    wanted = [
        {k: v for k, v in each.items() if k not in ("is_primary", "generation_params")} for each in results
    ]
    kept = [{k: v for k, v in each.items() if k != "session_id"} for each in responses_of(ada, session)]
    assert [sorted(each.items(), key=str) for each in kept] == [
        sorted(each.items(), key=str) for each in wanted
    ]
    read = ada.get(f"/responses/{results[1]['response_id']}").json
    assert read["response_text"] == results[1]["response_text"]
    assert ada.get(f"/sessions/{session['session_id']}").json["responses"] == responses_of(ada, session)


def test_only_the_models_that_are_named_answer_and_unknown_names_are_ignored(
    ada: Learner, class_of: Any
) -> None:
    session = ada.open_session(class_id=class_of("alpha", "beta", "gamma"))

    answer = chat(ada, session, body={"model_names": ["gamma", "unknown", "beta", "gamma"]})

    assert [each["model_name"] for each in answer.json["results"]] == ["beta", "gamma"]


def test_models_are_asked_at_the_same_time(ada: Learner, class_of: Any, provider: FakeProvider) -> None:
    """Each waits until all three have been asked."""
    all_there = threading.Barrier(3, timeout=SECONDS)

    def together(request: dict[str, Any]) -> Played:
        all_there.wait()
        return Played(completion("together"))

    provider.plays = dict.fromkeys(("alpha", "beta", "gamma"), together)

    answer = chat(ada, ada.open_session(class_id=class_of("alpha", "beta", "gamma")))

    assert [each["response_text"] for each in answer.json["results"]] == ["together"] * 3


def test_twenty_models_answer_one_prompt(ada: Learner, class_of: Any) -> None:
    names = [f"model-{n}" for n in range(20)]

    answer = chat(ada, ada.open_session(class_id=class_of(*names)))

    assert [each["model_name"] for each in answer.json["results"]] == names


def test_results_come_in_model_order_whatever_finished_first(
    ada: Learner, class_of: Any, provider: FakeProvider
) -> None:
    beta_is_done = threading.Event()

    def last(request: dict[str, Any]) -> Played:
        assert beta_is_done.wait(SECONDS)
        return Played(completion("alpha, late"))

    def first(request: dict[str, Any]) -> Played:
        beta_is_done.set()
        return Played(completion("beta"))

    provider.plays = {"alpha": last, "beta": first}

    results = chat(ada, ada.open_session(class_id=class_of("alpha", "beta"))).json["results"]

    assert [each["response_text"] for each in results] == ["alpha, late", "beta"]


def test_a_model_is_shown_its_own_earlier_turns(ada: Learner, class_of: Any, provider: FakeProvider) -> None:
    session = ada.open_session(class_id=class_of("alpha", "beta"))
    provider.plays = {"alpha": replies("alpha one"), "beta": replies("beta one")}
    chat(ada, session, "First?")

    chat(ada, session, "Second?")

    [asked] = [each for each in provider.requests[2:] if each["model"] == "alpha"]
    assert [(each["role"], each["content"]) for each in asked["messages"]] == [
        ("user", "First?"),
        ("assistant", "alpha one"),
        ("user", "Second?"),
    ]


def test_the_history_can_be_switched_off(
    ada: Learner, class_of: Any, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HISTORY_TOKENS", "0")
    configuration.clear_cache()
    session = ada.open_session(class_id=class_of("alpha"))
    chat(ada, session, "First?")

    chat(ada, session, "Second?")

    assert [each["content"] for each in provider.requests[1]["messages"]] == ["Second?"]


def test_style_agent_and_active_examples_reach_the_model(
    ada: Learner, class_of: Any, announce_agent: Any
) -> None:
    agent = announce_agent(ada.user_id, system_prompt="You are Socrates.")
    first, second, off = (
        ada.add_example(input_text=f"in {n}", output_text=f"out {n}")["example_id"] for n in (1, 2, 3)
    )
    session = ada.open_session(class_id=class_of("alpha"), agent_id=agent)
    settings = {
        "style_preset": "accurate",
        "style_params": {"language": "French"},
        "few_shot_example_ids": [second, off, first],
    }
    made(ada.patch(f"/sessions/{session['session_id']}/settings", settings), 200)
    made(ada.patch(f"/few-shot-examples/{off}", {"is_active": False}), 200)

    [result] = chat(ada, session).json["results"]

    shown = result["response_text"]
    assert "Be exact." in shown
    assert "Answer in French." in shown
    assert "You are Socrates." in shown
    assert shown.index("in 2") < shown.index("in 1")
    assert "in 3" not in shown
    assert result["generation_params"]["temperature"] == 0.2


# A run


def test_a_run_opens_a_session_with_everything_that_was_sent(
    ada: Learner, class_of: Any, announce_agent: Any
) -> None:
    class_id = class_of("alpha", "beta")
    agent = announce_agent(ada.user_id, system_prompt="You are Socrates.")
    example = ada.add_example()["example_id"]
    body = {
        "prompt_text": "Why?",
        "model_names": ["beta"],
        "agent_id": agent,
        "project_id": 5,
        "knowledge_ids": [3, 3, 1],
        "style_preset": "creative",
        "style_params": {"persona": "a poet"},
        "generation_params": {"temperature": 0.1, "max_tokens": 99},
        "few_shot_example_ids": [example],
    }

    answer = ada.post(f"/sessions/run?class_id={class_id}", body)

    assert answer.status == 201
    assert [each["model_name"] for each in answer.json["results"]] == ["beta"]
    session = ada.get(f"/sessions/{answer.json['session_id']}").json
    assert (session["class_id"], session["project_id"], session["knowledge_ids"]) == (class_id, 5, [3, 1])
    assert (session["agent_id"], session["title"]) == (agent, None)
    settings = session["settings"]
    assert (settings["style_preset"], settings["style_params"]) == ("creative", {"persona": "a poet"})
    assert settings["agent_snapshot"]["system_prompt"] == "You are Socrates."
    assert settings["generation_params"] == {
        "temperature": 0.1,
        "top_p": 0.9,
        "response_length_preset": None,
        "max_completion_tokens": 99,
        "max_tokens": 99,
    }
    assert [link["example_id"] for link in settings["few_shot_links"]] == [example]
    assert {link["created_at"] for link in settings["few_shot_links"]} == {session["created_at"]}
    assert settings["updated_at"] == settings["created_at"] == session["created_at"]
    for model in ada.models_of(session):
        assert model["generation_params"] == settings["generation_params"]
    assert len(session["responses"]) == 1
    assert "a poet" in session["responses"][0]["response_text"]


def test_a_run_without_options_has_the_defaults_of_a_session(ada: Learner, class_of: Any) -> None:
    answer = ada.post(f"/sessions/run?class_id={class_of('alpha')}", {"prompt_text": "Why?"})

    opened = ada.open_session()
    run = ada.get(f"/sessions/{answer.json['session_id']}").json
    assert run["settings"]["generation_params"] == opened["settings"]["generation_params"]
    assert answer.headers["location"].startswith(f"/user/practice/sessions/{run['session_id']}/turns/")


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        ({"model_names": ["unknown"]}, 400, "requested model_names not configured for this class"),
        ({"few_shot_example_ids": [2**50]}, 403, "invalid_few_shot_example_ids"),
    ],
)
def test_a_refused_run_opens_no_session(
    ada: Learner, class_of: Any, body: dict[str, Any], status: int, detail: str
) -> None:
    answer = ada.post(f"/sessions/run?class_id={class_of('alpha')}", {"prompt_text": "Why?", **body})

    assert (answer.status, answer.detail) == (status, detail)
    assert ada.get("/sessions").json["total"] == 0


def test_a_run_with_another_learners_agent_is_refused(
    ada: Learner, ben: Learner, class_of: Any, announce_agent: Any
) -> None:
    agent = announce_agent(ben.user_id)

    answer = ada.post(
        f"/sessions/run?class_id={class_of('alpha')}", {"prompt_text": "Why?", "agent_id": agent}
    )

    assert (answer.status, answer.detail) == (404, "agent not found or not accessible")


def test_an_example_deleted_meanwhile_is_not_linked(ada: Learner, class_of: Any, stack: Stack) -> None:
    class_id = class_of("alpha")
    example = ada.add_example()["example_id"]
    first = iter([True])

    def delete_it(**_: Any) -> None:
        if next(first, False):
            assert ada.delete(f"/few-shot-examples/{example}").status == 204

    body = {"prompt_text": "Why?", "few_shot_example_ids": [example]}
    with hooked("before-call.dynamodb.TransactWriteItems", delete_it):
        answer = ada.post(f"/sessions/run?class_id={class_id}", body)

    assert (answer.status, answer.detail) == (403, "invalid_few_shot_example_ids")
    assert ada.get("/sessions").json["total"] == 0


@pytest.mark.parametrize("status", ["planned", "ended"])
def test_a_class_that_is_not_active_runs_nothing(
    ada: Learner, class_of: Any, announce: Announce, status: str
) -> None:
    class_id = class_of("alpha")
    session = ada.open_session(class_id=class_id)
    announce(class_id, "alpha", status=status)

    answers = [chat(ada, session), ada.post(f"/sessions/run?class_id={class_id}", {"prompt_text": "Why?"})]

    assert [(each.status, each.detail) for each in answers] == [(400, "class_not_active")] * 2
    assert responses_of(ada, session) == []


# What is refused


@pytest.mark.parametrize(
    ("body", "type_", "loc"),
    [
        ({}, "missing", ["body", "prompt_text"]),
        ({"prompt_text": None}, "string_type", ["body", "prompt_text"]),
        ({"prompt_text": ""}, "string_blank", ["body", "prompt_text"]),
        ({"prompt_text": " \n\t"}, "string_blank", ["body", "prompt_text"]),
        ({"prompt_text": "a\0b"}, "string_nul", ["body", "prompt_text"]),
        ({"prompt_text": "x" * 102_401}, "string_too_long", ["body", "prompt_text"]),
        ({"prompt_text": "x" * 2_000_000}, "string_too_long", ["body", "prompt_text"]),
        ({"prompt_text": "Why?", "temperature": 1}, "extra_forbidden", ["body", "temperature"]),
        ({"prompt_text": "Why?", "model_names": "alpha"}, "list_type", ["body", "model_names"]),
    ],
)
def test_a_turn_that_does_not_fit_is_refused(
    ada: Learner, body: dict[str, Any], type_: str, loc: list[str]
) -> None:
    session = ada.open_session()

    answers = [
        ada.post(f"/sessions/{session['session_id']}/chat", body),
        ada.post("/sessions/run?class_id=1", body),
    ]

    for answer in answers:
        assert answer.status == 422
        assert [(each["type"], each["loc"]) for each in answer.detail] == [(type_, loc)]
    assert responses_of(ada, session) == []
    assert ada.get("/sessions").json["total"] == 1


@pytest.mark.parametrize(
    "query", ["", "?class_id=", "?class_id=0", "?class_id=abc", "?class_id=9007199254740992"]
)
def test_a_run_names_its_class(ada: Learner, query: str) -> None:
    answer = ada.post(f"/sessions/run{query}", {"prompt_text": "Why?"})

    assert answer.status == 422
    assert answer.detail[0]["loc"] == ["query", "class_id"]


def test_another_learners_session_answers_like_one_that_does_not_exist(ada: Learner, ben: Learner) -> None:
    session = ada.open_session()
    turn_id = int(chat(ada, session).headers["location"].rpartition("/")[2])
    mine = f"/sessions/{session['session_id']}"

    for path in (f"{mine}/chat", "/sessions/32768/chat"):
        assert (ben.post(path, {"prompt_text": "Why?"}).status) == 404
    for path in (
        f"{mine}/turns",
        f"{mine}/turns/{turn_id}",
        "/sessions/32768/turns",
        "/sessions/32768/turns/32769",
    ):
        answer = ben.get(path)
        assert (answer.status, answer.detail) == (404, "session not found")
    assert ben.delete(f"{mine}/turns/{turn_id}").status == 404
    assert len(turns_of(ada, session)["items"]) == 1


def test_a_session_without_a_class_asks_no_model(ada: Learner) -> None:
    session = ada.open_session()
    made(ada.patch(f"/sessions/{session['session_id']}", {"class_id": None}), 200)

    answer = chat(ada, session)

    assert (answer.status, answer.detail) == (400, "session_has_no_class_id")


def test_unknown_models_alone_are_refused(ada: Learner) -> None:
    answer = chat(ada, ada.open_session(), body={"model_names": ["unknown", "nothing"]})

    assert (answer.status, answer.detail) == (400, "requested model_names not found in this session")


TWENTY_ONE = [f"model-{n}" for n in range(21)]
too_many = pytest.mark.parametrize(
    "names",
    [{}, {"model_names": []}, {"model_names": [*TWENTY_ONE, "unknown"]}],
    ids=["no names", "an empty list", "their names"],
)


@too_many
def test_a_chat_with_more_than_twenty_models_is_refused_and_changes_nothing(
    ada: Learner, class_of: Any, announce: Announce, names: dict[str, Any]
) -> None:
    class_id = class_of("model-0")
    session = ada.open_session(class_id=class_id)
    before = ada.models_of(session)
    announce(class_id, *TWENTY_ONE)

    answer = chat(ada, session, body=names)

    assert (answer.status, answer.detail) == (400, "too_many_models")
    assert ada.models_of(session) == before
    assert turns_of(ada, session)["items"] == []


@too_many
def test_a_run_with_more_than_twenty_models_is_refused_and_opens_no_session(
    ada: Learner, class_of: Any, names: dict[str, Any]
) -> None:
    answer = ada.post(f"/sessions/run?class_id={class_of(*TWENTY_ONE)}", {"prompt_text": "Why?", **names})

    assert (answer.status, answer.detail) == (400, "too_many_models")
    assert ada.get("/sessions").json["total"] == 0


def test_twenty_models_of_a_larger_class_may_be_named(ada: Learner, class_of: Any) -> None:
    class_id = class_of(*TWENTY_ONE)
    body = {"prompt_text": "Why?", "model_names": [*TWENTY_ONE[1:], "unknown"]}

    ran = ada.post(f"/sessions/run?class_id={class_id}", body)
    chatted = chat(ada, {"session_id": ran.json["session_id"]}, body=body)

    for answer in (ran, chatted):
        assert [each["model_name"] for each in answer.json["results"]] == TWENTY_ONE[1:]


def test_chat_brings_the_models_in_line_with_the_class(
    ada: Learner, class_of: Any, announce: Announce
) -> None:
    class_id = class_of("alpha", "beta")
    session = ada.open_session(class_id=class_id)
    chat(ada, session)
    announce(class_id, "beta", "gamma")

    results = chat(ada, session).json["results"]

    assert [each["model_name"] for each in results] == ["beta", "gamma"]
    assert [each["is_primary"] for each in results] == [True, False]
    assert [each["model_name"] for each in ada.models_of(session)] == ["beta", "alpha", "gamma"]


def test_a_model_that_was_deleted_is_not_asked(ada: Learner, class_of: Any) -> None:
    session = ada.open_session(class_id=class_of("alpha", "beta"))
    made_models = ada.models_of(session)
    ada.delete(f"/models/{made_models[0]['session_model_id']}")
    assert [each["model_name"] for each in chat(ada, session).json["results"]] == ["beta"]
    ada.delete(f"/models/{made_models[1]['session_model_id']}")

    answer = chat(ada, session)

    assert (answer.status, answer.detail) == (400, "class_has_no_models")


# One model that fails costs the others nothing


def text_of(size: int) -> str:
    return "x" * size


CUT = Played(completion("never whole"), cut=True)


@pytest.mark.parametrize(
    ("play", "code"),
    [
        (lambda _: Played({"error": "sk-secret is wrong"}, 401), "model_not_enabled"),
        (lambda _: Played({"error": "boom"}, 500), "provider_error"),
        (lambda _: Played(b"<html>", 200), "provider_error"),
        (lambda _: Played(b"[" * 200_000, 200), "provider_error"),
        (lambda _: Played(b"", 200), "provider_error"),
        (lambda _: Played([], 200), "provider_error"),
        (lambda _: Played({"choices": []}, 200), "provider_error"),
        (lambda _: Played({"choices": [{"message": {"content": 7}}]}, 200), "provider_error"),
        (lambda _: Played(b"\xff\xfe\x00", 200, {"content-type": "audio/wav"}), "provider_error"),
        (lambda _: Played({}, 302, {"location": "http://169.254.169.254/"}), "provider_error"),
        (lambda _: CUT, "provider_error"),
        (replies(""), "provider_error"),
        (replies("  \n"), "provider_error"),
        (replies(None), "provider_error"),
        (replies(text_of(1024 * 1024 + 1)), "answer_too_long"),
        (replies(text_of(5_000_000)), "answer_too_long"),
        (replies(text_of(9_000_000)), "answer_too_long"),
        (lambda _: Played(b"", parts=[inf, b"late"]), "timeout"),
        (lambda _: Played(b"", parts=[b" ", inf, b"late"]), "timeout"),
        (lambda _: Played({}, 429, {"retry-after": "60"}), "throttled"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_one_model_that_fails_is_an_entry_of_errors(
    ada: Learner, class_of: Any, provider: FakeProvider, play: Any, code: str
) -> None:
    provider.plays["broken"] = play
    session = ada.open_session(class_id=class_of("alpha", "broken", "beta"))
    models = {each["model_name"]: each["session_model_id"] for each in ada.models_of(session)}

    with time_is_up_after(2) if code == "timeout" else nullcontext():
        answer = chat(ada, session)

    assert answer.status == 201
    assert [each["model_name"] for each in answer.json["results"]] == ["alpha", "beta"]
    [error] = answer.json["errors"]
    assert list(error) == ["session_model_id", "model_name", "code", "detail", "reason"]
    assert (error["session_model_id"], error["model_name"], error["code"]) == (
        models["broken"],
        "broken",
        code,
    )
    assert "secret" not in error["detail"]
    assert [each["model_name"] for each in responses_of(ada, session)] == ["alpha", "beta"]
    [turn] = turns_of(ada, session)["items"]
    assert (turn["status"], turn["errors"]) == ("done", answer.json["errors"])


def test_what_cannot_be_kept_of_an_answer_is_replaced(
    ada: Learner, class_of: Any, provider: FakeProvider
) -> None:
    provider.plays["alpha"] = lambda _: Played(
        b'{"choices":[{"message":{"content":"a\\u0000b\\ud800c\\u0007d\\ud83d\\ude00"}}]}'
    )
    session = ada.open_session(class_id=class_of("alpha"))

    [result] = chat(ada, session).json["results"]

    assert result["response_text"] == "a\ufffdb\ufffdc\ufffdd\U0001f600"
    assert result["token_usage"]["prompt_tokens"] is None
    assert responses_of(ada, session)[0]["response_text"] == result["response_text"]


def test_an_answer_of_exactly_one_megabyte_is_kept_whole(
    ada: Learner, class_of: Any, provider: FakeProvider
) -> None:
    text = "".join(random.Random(7).choices('abcdefghij \n"\\é', k=900_000))
    text += "x" * (1024 * 1024 - len(text.encode()))
    provider.plays["alpha"] = replies(text)
    session = ada.open_session(class_id=class_of("alpha"))

    answer = chat(ada, session)

    assert answer.json["results"][0]["response_text"] == text
    assert responses_of(ada, session)[0]["response_text"] == text


def test_when_no_model_answers_the_session_stays_and_the_turn_has_failed(
    ada: Learner, class_of: Any, provider: FakeProvider, items_of: Any
) -> None:
    provider.plays = dict.fromkeys(("alpha", "beta"), lambda _: Played({}, 500))

    answer = ada.post(f"/sessions/run?class_id={class_of('alpha', 'beta')}", {"prompt_text": "Why?"})

    assert answer.status == 502
    assert list(answer.json) == ["detail", "session_id", "errors"]
    assert answer.detail == "no_model_answered"
    assert [each["code"] for each in answer.json["errors"]] == ["provider_error"] * 2
    session = ada.get(f"/sessions/{answer.json['session_id']}").json
    assert session["responses"] == []
    [turn] = turns_of(ada, session)["items"]
    assert (turn["status"], turn["results"], turn["errors"]) == ("failed", [], answer.json["errors"])
    assert not [sk for _, sk in items_of(ada) if "RESPONSE" in sk]


def test_an_answer_too_long_is_not_kept(ada: Learner, class_of: Any) -> None:
    session = ada.open_session(class_id=class_of("alpha"))
    select_examples(ada, session, 36)
    example_ids = [
        link["example_id"]
        for link in ada.get(f"/sessions/{session['session_id']}/settings").json["few_shot_links"]
    ]

    answers = [
        chat(ada, session),
        ada.post(
            f"/sessions/run?class_id={session['class_id']}",
            {"prompt_text": "Why?", "few_shot_example_ids": example_ids},
        ),
    ]

    for answer in answers:
        assert answer.status == 502
        assert [each["code"] for each in answer.json["errors"]] == ["answer_too_long"]
    assert responses_of(ada, session) == []


def test_a_throttled_model_is_asked_again_within_the_time(
    ada: Learner, class_of: Any, provider: FakeProvider
) -> None:
    provider.plays["alpha"] = in_turn(
        lambda _: Played({}, 429, {"retry-after": "0.01"}), lambda _: Played({}, 429), replies("at last")
    )

    [result] = chat(ada, ada.open_session(class_id=class_of("alpha"))).json["results"]

    assert result["response_text"] == "at last"
    assert provider.asked() == {"alpha": 3}


def test_a_model_without_a_provider_is_not_enabled_where_echo_does_not_play_it(
    ada: Learner, class_of: Any, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNCLAIMED_MODELS", "refuse")
    monkeypatch.setenv("MODELS", '{"alpha": {"provider": "echo"}}')
    configuration.clear_cache()
    try:
        answer = chat(ada, ada.open_session(class_id=class_of("alpha", "beta")))
    finally:
        monkeypatch.undo()
        configuration.clear_cache()

    assert [each["model_name"] for each in answer.json["results"]] == ["alpha"]
    assert [(each["model_name"], each["code"]) for each in answer.json["errors"]] == [
        ("beta", "model_not_enabled")
    ]


def test_an_answer_that_comes_too_late_leaves_no_trace(
    ada: Learner, class_of: Any, provider: FakeProvider, items_of: Any
) -> None:
    """The provider answers after the turn was settled; the thread that waited finds no place for it."""
    settled, answered = threading.Event(), threading.Event()

    def late(request: dict[str, Any]) -> Played:
        settled.wait(SECONDS)
        answered.set()
        return Played(completion("too late"))

    provider.plays["slow"] = late
    session = ada.open_session(class_id=class_of("alpha", "slow"))

    with time_is_up_after(1):
        answer = chat(ada, session)
    settled.set()
    assert answered.wait(SECONDS)
    wait_for_models()

    assert [each["code"] for each in answer.json["errors"]] == ["timeout"]
    assert [each["model_name"] for each in responses_of(ada, session)] == ["alpha"]
    assert len([sk for _, sk in items_of(ada) if "RESPONSE" in sk]) == 1


def wait_for_models() -> None:
    """Until no thread of a turn is left behind."""
    for thread in threading.enumerate():
        if thread.name.startswith("ask "):
            thread.join(SECONDS)


def deleting(who: Learner, items_of: Any) -> Callable[[dict[str, Any]], Played]:
    """A model that answers when all sessions are deleted, and the sweep has passed."""

    def play(_: dict[str, Any]) -> Played:
        for session in who.get("/sessions").json["items"]:
            assert who.delete(f"/sessions/{session['session_id']}").status == 204
        for pk, sk in items_of(who):
            if "SESSION#" in sk:
                table.write(table.delete(Key(pk, sk)))
        return Played(completion("an orphan"))

    return play


def test_a_session_deleted_meanwhile_does_not_come_back(
    ada: Learner, class_of: Any, provider: FakeProvider, items_of: Any
) -> None:
    session = ada.open_session(class_id=class_of("alpha"))

    provider.plays["alpha"] = deleting(ada, items_of)

    answer = chat(ada, session)

    assert (answer.status, answer.detail) == (404, "session not found")
    assert not [sk for _, sk in items_of(ada) if "SESSION#" in sk]


def test_fifty_turns_at_once_on_one_session_lose_nothing(ada: Learner, class_of: Any) -> None:
    session = ada.open_session(class_id=class_of("alpha", "beta", "gamma"))
    answers: list[Answer] = []

    def ask(n: int) -> None:
        answers.append(chat(ada, session, f"Question {n}"))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [each.status for each in answers] == [201] * 50
    kept = responses_of(ada, session)
    assert len(kept) == 150
    assert [each["response_id"] for each in kept] == sorted(each["response_id"] for each in kept)
    assert [each["created_at"] for each in kept] == sorted(each["created_at"] for each in kept)
    assert sum(model["is_primary"] for model in ada.models_of(session)) == 1
    listed = turns_of(ada, session, "?size=200")["items"]
    assert sorted(each["prompt_text"] for each in listed) == sorted(f"Question {n}" for n in range(50))
    for turn in listed:
        assert [each["model_name"] for each in turn["results"]] == ["alpha", "beta", "gamma"]
        assert {each["prompt_text"] for each in turn["results"]} == {turn["prompt_text"]}


# Side by side


def test_a_turn_of_which_nothing_is_left_is_on_no_page(ada: Learner) -> None:
    session = ada.open_session()
    path = f"/sessions/{session['session_id']}"
    answered = made(ada.post(f"{path}/chat", {"prompt_text": "Why?"}), 201)
    added = [ada.add_response(session)["response_id"] for _ in range(3)]
    for result in answered["results"]:
        assert ada.delete(f"/responses/{result['response_id']}").status == 204

    pages = walk(ada, f"{path}/turns?size=2")

    assert [turn["turn_id"] for page in reversed(pages) for turn in page["items"]] == added
    assert ada.get(f"{path}/turns/{answered['results'][0]['response_id']}").status == 404


def test_turns_are_listed_in_order_with_answers_parameters_and_what_made_them(
    ada: Learner, class_of: Any
) -> None:
    session = ada.open_session(class_id=class_of("alpha", "beta"))
    first = chat(ada, session, "First?")
    by_hand = ada.add_response(session, prompt_text="By hand?", response_text="Yes.")
    made(
        ada.patch(
            f"/sessions/{session['session_id']}/settings",
            {"style_preset": "creative", "generation_params": {"max_tokens": 50}},
        ),
        200,
    )
    last = chat(ada, session, "Last?", body={"model_names": ["beta"]})

    page = turns_of(ada, session)

    assert page["next_cursor"] is None
    one, two, three = page["items"]
    assert list(one) == [
        "turn_id",
        "session_id",
        "after_turn_id",
        "status",
        "prompt_text",
        "created_at",
        "asked",
        "results",
        "errors",
        "settings",
    ]
    assert [each["prompt_text"] for each in page["items"]] == ["First?", "By hand?", "Last?"]
    assert (one["results"], three["results"]) == (first.json["results"], last.json["results"])
    assert [each["response_text"] for each in two["results"]] == ["Yes."]
    assert (two["turn_id"], two["settings"]) == (by_hand["response_id"], None)
    assert (one["settings"]["style_preset"], three["settings"]["style_preset"]) == (None, "creative")
    assert three["settings"]["version"] > one["settings"]["version"]
    assert three["results"][0]["generation_params"]["max_tokens"] == 50
    assert {each["status"] for each in page["items"]} == {"done"}
    for turn in page["items"]:
        assert (
            without_siblings(ada.get(f"/sessions/{session['session_id']}/turns/{turn['turn_id']}").json)
            == turn
        )


@pytest.mark.parametrize("size", [1, 2, 3])
def test_pages_of_turns_go_back_in_time_without_gaps(ada: Learner, class_of: Any, size: int) -> None:
    session = ada.open_session(class_id=class_of("alpha", "beta"))
    for n in range(3):
        chat(ada, session, f"Question {n}")
        ada.add_response(session, prompt_text=f"By hand {n}", response_text="Yes.")

    seen: list[str] = []
    page = turns_of(ada, session, f"?size={size}")
    seen = [each["prompt_text"] for each in page["items"]]
    while page["next_cursor"]:
        page = turns_of(ada, session, f"?size={size}&cursor={page['next_cursor']}")
        assert len(page["items"]) <= size
        seen = [each["prompt_text"] for each in page["items"]] + seen

    assert seen == [f"{kind} {n}" for n in range(3) for kind in ("Question", "By hand")]


def test_a_turn_goes_with_its_last_answer(ada: Learner, class_of: Any) -> None:
    session = ada.open_session(class_id=class_of("alpha", "beta"))
    answer = chat(ada, session)
    one, two = (each["response_id"] for each in answer.json["results"])
    path = f"/sessions/{session['session_id']}/turns/{one}"

    ada.delete(f"/responses/{one}")
    assert [each["response_id"] for each in ada.get(path).json["results"]] == [two]
    ada.delete(f"/responses/{two}")

    assert (ada.get(path).status, ada.get(path).detail) == (404, "turn not found")
    assert turns_of(ada, session)["items"] == []


def test_an_answer_goes_from_its_turn_with_its_model(ada: Learner, class_of: Any) -> None:
    session = ada.open_session(class_id=class_of("alpha", "beta"))
    chat(ada, session)

    ada.delete(f"/models/{ada.models_of(session)[0]['session_model_id']}")

    [turn] = turns_of(ada, session)["items"]
    assert [each["model_name"] for each in turn["results"]] == ["beta"]


@pytest.mark.parametrize("offset", [1, 2, 30_000])
def test_a_turn_is_found_by_the_id_of_its_first_answer_alone(
    ada: Learner, class_of: Any, offset: int
) -> None:
    session = ada.open_session(class_id=class_of("alpha", "beta"))
    turn_id = chat(ada, session).json["results"][0]["response_id"]

    answer = ada.get(f"/sessions/{session['session_id']}/turns/{turn_id + offset}")

    assert (answer.status, answer.detail) == (404, "turn not found")


def test_a_turn_too_big_for_one_answer_is_accepted_and_read_in_parts(
    ada: Learner, class_of: Any, provider: FakeProvider
) -> None:
    names = [f"model-{n}" for n in range(4)]
    # Quotes take four bytes each on their way out.
    provider.plays = {name: replies(f"{name} " + '"' * 1_000_000) for name in names}
    session = ada.open_session(class_id=class_of(*names))

    answer = chat(ada, session)

    assert answer.status == 202
    assert list(answer.json) == ["session_id", "session_title", "turn_id", "status"]
    assert answer.json["status"] == "done"
    found: list[str] = []
    reply = ada.get(answer.headers["location"])
    found = [each["model_name"] for each in reply.json["results"]]
    while "x-next-cursor" in reply.headers:
        reply = ada.get(f"{answer.headers['location']}?cursor={reply.headers['x-next-cursor']}")
        found = [each["model_name"] for each in reply.json["results"]] + found
    assert found == names

    listed: list[tuple[int, str]] = []
    page = turns_of(ada, session)
    while True:
        listed = [
            (turn["turn_id"], each["model_name"]) for turn in page["items"] for each in turn["results"]
        ] + listed
        if not page["next_cursor"]:
            break
        page = turns_of(ada, session, f"?cursor={page['next_cursor']}")
    assert listed == [(answer.json["turn_id"], name) for name in names]


def test_a_cursor_of_another_session_is_refused(ada: Learner, class_of: Any) -> None:
    session = ada.open_session(class_id=class_of("alpha"))
    for _ in range(2):
        chat(ada, session)
    cursor = turns_of(ada, session, "?size=1")["next_cursor"]
    other = ada.open_session()

    answers = [
        ada.get(f"/sessions/{other['session_id']}/turns?cursor={cursor}"),
        ada.get(f"/sessions/{session['session_id']}/turns?cursor={cursor}x"),
        ada.get(f"/sessions/{session['session_id']}/responses?cursor={cursor}"),
    ]

    assert [each.status for each in answers] == [422] * 3


def test_a_turn_costs_a_bounded_number_of_requests(
    ada: Learner, class_of: Any, requests_to_table: Any
) -> None:
    session = ada.open_session(class_id=class_of("alpha", "beta", "gamma"))

    with requests_to_table() as requests:
        chat(ada, session)
    operations = [operation for operation, _ in requests]
    assert sorted(operations) == sorted(
        ["Query", "BatchGetItem", "UpdateItem", *["TransactWriteItems"] * 2, *["UpdateItem"] * 3]
    )

    with requests_to_table() as requests:
        turns_of(ada, session)
    assert [operation for operation, _ in requests] == ["BatchGetItem", "Query", "Query"]


# Later


ASYNC = {"prefer": "respond-async"}


def test_a_learner_who_does_not_wait_finds_the_turn_at_its_location(
    ada: Learner, class_of: Any, finished: Any
) -> None:
    session = ada.open_session(class_id=class_of("alpha", "beta"))

    accepted = chat(ada, session, "Why?", headers={"prefer": "wait=1, respond-async"})
    turn = finished(ada, accepted.headers["location"])

    assert (accepted.status, accepted.json["status"]) == (202, "queued")
    assert accepted.headers["location"].endswith(f"/turns/{accepted.json['turn_id']}")
    assert (turn["turn_id"], turn["status"], turn["errors"]) == (accepted.json["turn_id"], "done", [])
    assert [each["model_name"] for each in turn["results"]] == ["alpha", "beta"]
    assert len(responses_of(ada, session)) == 2


def test_a_turn_that_waits_is_shown_as_queued(ada: Learner, class_of: Any, stack: Stack) -> None:
    accepted = chat(ada, ada.open_session(class_id=class_of("alpha")), headers=ASYNC)

    turn = ada.get(accepted.headers["location"]).json

    assert (turn["status"], turn["results"], turn["errors"]) == ("queued", [], [])
    assert turn["settings"]["style_preset"] is None


def test_a_run_can_be_left_to_the_worker_too(ada: Learner, class_of: Any, finished: Any) -> None:
    accepted = ada.post(f"/sessions/run?class_id={class_of('alpha')}", {"prompt_text": "Why?"}, headers=ASYNC)

    assert accepted.status == 202
    assert finished(ada, accepted.headers["location"])["status"] == "done"


def test_a_worker_keeps_long_answers_and_reports_those_too_long(
    ada: Learner, class_of: Any, finished: Any
) -> None:
    session = ada.open_session(class_id=class_of("alpha", "beta"))
    select_examples(ada, session, 20)
    long = finished(ada, chat(ada, session, headers=ASYNC).headers["location"])
    select_examples(ada, session, 36)
    too_long = finished(ada, chat(ada, session, headers=ASYNC).headers["location"])

    assert [len(each["response_text"]) > 600_000 for each in long["results"]] == [True, True]
    assert (too_long["status"], too_long["results"]) == ("failed", [])
    assert [each["code"] for each in too_long["errors"]] == ["answer_too_long"] * 2
    assert len(responses_of(ada, session)) == 2


def test_a_turn_cancelled_at_any_moment_has_what_was_written_until_then(
    ada: Learner, class_of: Any, finished: Any
) -> None:
    session = ada.open_session(class_id=class_of("alpha"))
    locations = [chat(ada, session, headers=ASYNC).headers["location"] for _ in range(12)]

    answers = [ada.delete(location).status for location in reversed(locations)][::-1]

    assert set(answers) <= {204, 409}
    for status, location in zip(answers, locations, strict=True):
        turn = finished(ada, location)
        assert turn["status"] == ("cancelled" if status == 204 else "done")
        assert len(turn["results"]) + len(turn["errors"]) <= 1
        assert status == 204 or turn["results"]


def test_a_message_of_another_form_goes_to_the_dead_letter_queue(send: Send) -> None:
    record = {
        "messageId": "19dd0b57-b21e-4ac1-bd88-01bbb068cb78",
        "receiptHandle": "x",
        "body": '{"user_id": 7}',
        "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1767763916120"},
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:eu-central-1:123456789012:TurnQueue",
    }

    handed = send("POST", "/_local/events", {"host": "localhost"}, json.dumps({"Records": [record]}).encode())
    if handed.status == 404:
        pytest.skip("only the local stack hands events in")

    [outcome] = handed.json["outcomes"]
    assert outcome == {"function": "work_turn", "answer": {"batchItemFailures": []}}
    state = send("GET", "/_local/state", {"host": "localhost"}, None).json
    letters = [each for each in state["dead_letters"] if each["queue"].endswith("TurnDeadLetters")]
    assert json.loads(letters[0]["body"]) == {"user_id": 7}


def test_a_worker_shows_results_as_they_arrive(
    ada: Learner, class_of: Any, provider: FakeProvider, deliver_turns: Any
) -> None:
    seen: list[dict[str, Any]] = []
    session = ada.open_session(class_id=class_of("alpha", "beta"))
    accepted = chat(ada, session, headers=ASYNC)

    def look(request: dict[str, Any]) -> Played:
        for _ in range(6000):
            seen.append(ada.get(accepted.headers["location"]).json)
            if seen[-1]["results"]:
                break
            time.sleep(0.01)
        return Played(completion("last"))

    provider.plays["beta"] = look
    deliver_turns()

    assert seen[-1]["status"] == "running"
    assert [each["model_name"] for each in seen[-1]["results"]] == ["alpha"]
    assert ada.get(accepted.headers["location"]).json["status"] == "done"


def test_a_turn_that_waits_can_be_cancelled(
    ada: Learner, class_of: Any, provider: FakeProvider, deliver_turns: Any, items_of: Any
) -> None:
    session = ada.open_session(class_id=class_of("alpha"))
    accepted = chat(ada, session, headers=ASYNC)

    statuses = [ada.delete(accepted.headers["location"]).status for _ in range(2)]
    deliver_turns()

    assert statuses == [204, 204]
    turn = ada.get(accepted.headers["location"]).json
    assert (turn["status"], turn["results"], turn["errors"]) == ("cancelled", [], [])
    assert provider.asked() == {}
    assert not [sk for _, sk in items_of(ada) if "RESPONSE" in sk]


def test_a_turn_that_has_ended_cannot_be_cancelled(
    ada: Learner, class_of: Any, provider: FakeProvider
) -> None:
    provider.plays["beta"] = lambda _: Played({}, 500)
    session = ada.open_session(class_id=class_of("alpha"))
    by_hand = ada.add_response(session)["response_id"]
    chat(ada, session)
    failed = ada.open_session(class_id=class_of("beta"))
    chat(ada, failed)
    turn_ids = [turn["turn_id"] for turn in turns_of(ada, session)["items"]]
    assert turn_ids[0] == by_hand

    answers = [ada.delete(f"/sessions/{session['session_id']}/turns/{turn_id}") for turn_id in turn_ids]
    answers.append(
        ada.delete(f"/sessions/{failed['session_id']}/turns/{turns_of(ada, failed)['items'][0]['turn_id']}")
    )

    assert [(each.status, each.detail) for each in answers] == [(409, "turn_finished")] * 3
    assert [turn["status"] for turn in turns_of(ada, session)["items"]] == ["done", "done"]
    assert turns_of(ada, failed)["items"][0]["status"] == "failed"


# Cancelled while it runs


class Underway:
    """A chat in a thread of its own, whose model `slow` is silent until the end of the test."""

    def __init__(self, who: Learner, session: dict[str, Any], provider: FakeProvider) -> None:
        self._who, self._session = who, session
        self._asked, self._released = threading.Event(), threading.Event()
        self._answers: list[Any] = []
        self._thread: threading.Thread | None = None
        provider.plays["slow"] = self._play

    def _play(self, request: dict[str, Any]) -> Played:
        self._asked.set()
        self._released.wait(30)
        return Played(completion("too late"))

    def begin(self, act: Callable[[], Any]) -> str:
        """The path of the turn, once `slow` was asked and every other model has an answer or an error."""
        self._thread = threading.Thread(target=lambda: self._answers.append(act()))
        self._thread.start()
        assert self._asked.wait(30)
        for _ in range(3000):
            [turn] = turns_of(self._who, self._session)["items"]
            if len(turn["results"]) + len(turn["errors"]) == len(turn["asked"]) - 1:
                assert turn["status"] == "running"
                return f"/sessions/{self._session['session_id']}/turns/{turn['turn_id']}"
            time.sleep(0.01)
        raise AssertionError("the other models have not finished")

    def answer(self) -> Any:
        assert self._thread
        self._thread.join(30)
        [answer] = self._answers
        return answer

    def end(self) -> Any:
        """What the client got, with `slow` still silent."""
        answer = self.answer()
        assert not self._released.is_set()
        return answer

    def release(self) -> None:
        self._released.set()
        wait_for_models()


@pytest.fixture
def underway(
    ada: Learner, class_of: Any, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., tuple[dict[str, Any], Underway]]]:
    """A session with these models beside `slow`, and a turn of it that is to begin. Its runner polls all the time."""
    monkeypatch.setattr(run, "POLL_SECONDS", 0.01)
    made_here: list[Underway] = []

    def make(*models: str) -> tuple[dict[str, Any], Underway]:
        session = ada.open_session(class_id=class_of(*models, "slow"))
        made_here.append(Underway(ada, session, provider))
        return session, made_here[-1]

    yield make
    for each in made_here:
        each.release()


def test_the_models_of_a_turn_are_shown_from_its_beginning_on(
    ada: Learner, class_of: Any, deliver_turns: Any
) -> None:
    session = ada.open_session(class_id=class_of("alpha", "beta"))
    by_hand = ada.add_response(session)
    location = chat(ada, session, headers=ASYNC).headers["location"]

    queued = ada.get(location).json
    listed = turns_of(ada, session)["items"]
    deliver_turns()
    done = ada.get(location).json

    names = ("session_model_id", "model_name", "response_id", "is_primary")
    assert [[each[name] for name in names] for each in queued["asked"]] == [
        [each[name] for name in names] for each in done["results"]
    ]
    assert [list(each) for each in queued["asked"]] == [list(names)] * 2
    assert [each["asked"] for each in listed] == [
        [{**{name: by_hand[name] for name in names[:-1]}, "is_primary": True}],
        queued["asked"],
    ]
    assert done["asked"] == queued["asked"]


def test_the_error_of_a_model_is_shown_while_the_others_run(
    ada: Learner, provider: FakeProvider, underway: Any
) -> None:
    provider.plays["broken"] = lambda _: Played({}, 500)
    session, turn = underway("broken")
    path = turn.begin(lambda: chat(ada, session))

    shown = ada.get(path).json
    [listed] = turns_of(ada, session)["items"]
    turn.release()
    answer = turn.answer()
    settled = ada.get(path).json

    assert (shown["status"], shown["results"]) == ("running", [])
    assert [(each["model_name"], each["code"]) for each in shown["errors"]] == [("broken", "provider_error")]
    assert listed == without_siblings(shown)
    assert settled["errors"] == shown["errors"] == answer.json["errors"]


def test_a_running_turn_that_is_cancelled_keeps_its_answers(
    ada: Learner, ben: Learner, underway: Any, items_of: Any
) -> None:
    session, turn = underway("alpha")
    path = turn.begin(lambda: chat(ada, session))

    missing = ben.delete(path).status
    first = ada.delete(path).status
    answer = turn.end()
    again = ada.delete(path).status
    shown = ada.get(path).json
    turn.release()

    assert (missing, first, again) == (404, 204, 204)
    assert answer.status == 201
    assert [each["model_name"] for each in answer.json["results"]] == ["alpha"]
    assert [(each["model_name"], each["code"]) for each in answer.json["errors"]] == [("slow", "cancelled")]
    assert (shown["status"], shown["results"], shown["errors"]) == (
        "cancelled",
        answer.json["results"],
        answer.json["errors"],
    )
    assert ada.get(path).json == shown
    assert turns_of(ada, session)["items"] == [without_siblings(shown)]
    assert len([sk for _, sk in items_of(ada) if "RESPONSE" in sk]) == 1


def test_when_no_model_has_answered_a_cancelled_turn_answers_502(ada: Learner, underway: Any) -> None:
    session, turn = underway()
    path = turn.begin(lambda: chat(ada, session))

    ada.delete(path)
    answer = turn.end()

    assert (answer.status, answer.detail) == (502, "no_model_answered")
    assert [each["code"] for each in answer.json["errors"]] == ["cancelled"]
    assert ada.get(path).json["status"] == "cancelled"


def test_a_worker_stops_for_a_cancelled_turn(
    ada: Learner, provider: FakeProvider, underway: Any, deliver_turns: Any
) -> None:
    session, turn = underway("alpha")
    location = chat(ada, session, headers=ASYNC).headers["location"]
    path = turn.begin(deliver_turns)

    assert ada.delete(path).status == 204
    turn.end()
    deliver_turns()

    shown = ada.get(location).json
    assert (shown["status"], [each["code"] for each in shown["errors"]]) == ("cancelled", ["cancelled"])
    assert [each["model_name"] for each in shown["results"]] == ["alpha"]
    assert provider.asked() == {"alpha": 1, "slow": 1}


def test_a_failure_that_was_shown_stays_when_the_turn_is_cancelled(
    ada: Learner, provider: FakeProvider, underway: Any
) -> None:
    provider.plays["broken"] = lambda _: Played({}, 500)
    session, turn = underway("broken")
    path = turn.begin(lambda: chat(ada, session))

    ada.delete(path)
    answer = turn.end()

    assert [each["code"] for each in answer.json["errors"]] == ["provider_error", "cancelled"]


def test_a_turn_cancelled_when_its_last_answer_comes_is_cancelled_with_all_answers(
    ada: Learner, class_of: Any, provider: FakeProvider
) -> None:
    """Its runner had no time to see it before it settled the turn."""
    session = ada.open_session(class_id=class_of("alpha"))
    statuses = []

    def cancel_first(request: dict[str, Any]) -> Played:
        [turn] = turns_of(ada, session)["items"]
        statuses.append(ada.delete(f"/sessions/{session['session_id']}/turns/{turn['turn_id']}").status)
        return Played(completion("just in time"))

    provider.plays["alpha"] = cancel_first

    answer = chat(ada, session)

    assert (statuses, answer.status, answer.json["errors"]) == ([204], 201, [])
    [turn] = turns_of(ada, session)["items"]
    assert (turn["status"], turn["results"]) == ("cancelled", answer.json["results"])


def test_a_turn_of_a_deleted_session_stops(ada: Learner, underway: Any, items_of: Any) -> None:
    session, turn = underway()
    turn.begin(lambda: chat(ada, session))

    assert ada.delete(f"/sessions/{session['session_id']}").status == 204
    for pk, sk in [each for each in items_of(ada) if "SESSION#" in each[1]]:
        table.write(table.delete(Key(pk, sk)))  # the sweep
    answer = turn.end()

    assert (answer.status, answer.detail) == (404, "session not found")


def test_a_turn_whose_function_died_is_cancelled_at_once(
    ada: Learner, class_of: Any, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch, items_of: Any
) -> None:
    session = ada.open_session(class_id=class_of("alpha", "beta"))
    die_at(9, lambda: chat(ada, session, headers=KEY))
    later = time.time() + 60
    monkeypatch.setattr(time, "time", lambda: later)
    [left] = turns_of(ada, session)["items"]
    path = f"/sessions/{session['session_id']}/turns/{left['turn_id']}"
    asked = provider.asked()

    statuses = [ada.delete(path).status for _ in range(2)]
    turn = ada.get(path).json
    retried = chat(ada, session, headers=KEY)

    assert (left["status"], statuses, turn["status"]) == ("failed", [204, 204], "cancelled")
    assert turn["results"] == left["results"]
    assert [each["code"] for each in turn["errors"]] == ["cancelled"] * (2 - len(turn["results"]))
    assert retried.status == (201 if turn["results"] else 502)
    assert retried.json["errors"] == turn["errors"]
    assert provider.asked() == asked
    assert len([sk for _, sk in items_of(ada) if "RESPONSE" in sk]) == len(turn["results"])


def test_the_next_worker_of_a_cancelled_turn_asks_nobody(
    ada: Learner, class_of: Any, provider: FakeProvider, deliver_turns: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one died before it saw that the turn was cancelled."""
    session = ada.open_session(class_id=class_of("alpha"))
    location = chat(ada, session, headers=ASYNC).headers["location"]
    assert turns.claim(ada.user_id, turn_id_in(location), worker.WORKER_LEASE)

    assert ada.delete(location).status == 204
    running = ada.get(location).json["status"]
    later = time.time() + 120
    monkeypatch.setattr(time, "time", lambda: later)
    lapsed = ada.get(location).json
    deliver_turns()

    assert (running, lapsed["status"]) == ("running", "cancelled")
    assert [each["code"] for each in lapsed["errors"]] == ["cancelled"]
    assert ada.get(location).json == lapsed
    assert provider.asked() == {}


def test_the_next_worker_asks_only_models_with_neither_an_answer_nor_an_error(
    ada: Learner, class_of: Any, provider: FakeProvider, deliver_turns: Any
) -> None:
    """The first one died after the failure of alpha was shown."""
    session = ada.open_session(class_id=class_of("alpha", "beta"))
    location = chat(ada, session, headers=ASYNC).headers["location"]
    turn_id = turn_id_in(location)
    assert turns.claim(ada.user_id, turn_id, turns.Lease(-1, 60))
    model = ada.get(location).json["asked"][0]
    error = {name: model[name] for name in ("session_model_id", "model_name")}
    error |= {"code": "provider_error", "detail": "it failed"}
    turns.store_error(ada.user_id, turn_id, TurnError.model_validate(error), None)

    deliver_turns()

    turn = ada.get(location).json
    assert provider.asked() == {"beta": 1}
    assert (turn["status"], [each["code"] for each in turn["errors"]]) == ("done", ["provider_error"])
    assert [each["model_name"] for each in turn["results"]] == ["beta"]


def turn_id_in(location: str) -> int:
    return int(location.rpartition("/")[2])


def test_a_running_turn_reads_whether_it_was_cancelled_in_one_request(
    ada: Learner, underway: Any, requests_to_table: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the price list of docs/table.md says. A failure of that request does not end the looking."""
    session, turn = underway()
    quiet, measured = threading.Event(), threading.Event()
    looks: list[Any] = []
    sees = followers.look

    def look(user_id: int, turn_id: int, known: Followers) -> followers.Sighting:
        assert quiet.wait(30)
        if not looks:
            looks.append("failed")
            raise StoreUnavailable("injected")
        with requests_to_table() as requests:
            answer = sees(user_id, turn_id, known)
        looks.append(requests)
        measured.set()
        return answer

    monkeypatch.setattr(followers, "look", look)
    path = turn.begin(lambda: chat(ada, session))
    quiet.set()
    assert measured.wait(30)

    assert ada.delete(path).status == 204
    assert turn.end().status == 502
    assert looks[:2] == ["failed", [("BatchGetItem", 1.0)]]


def test_a_message_delivered_twice_asks_once(
    ada: Learner, class_of: Any, provider: FakeProvider, stack: Stack, deliver_turns: Any
) -> None:
    session = ada.open_session(class_id=class_of("alpha"))
    accepted = chat(ada, session, headers=ASYNC)
    [waiting] = [
        each
        for each in stack.queues.peek("practice-local-TurnQueue", 100)
        if json.loads(each["body"])["turn_id"] == accepted.json["turn_id"]
    ]
    stack.queues.send("practice-local-TurnQueue", waiting["body"])

    deliver_turns()

    assert provider.asked() == {"alpha": 1}
    assert ada.get(accepted.headers["location"]).json["status"] == "done"


@pytest.mark.usefixtures("stack")
def test_a_worker_that_waits_for_another_one_reads_no_answers(
    ada: Learner, class_of: Any, requests_to_table: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "PAUSE_SECONDS", 0.01)
    session = ada.open_session(class_id=class_of("alpha", "beta"))
    turn_id = chat(ada, session, headers=ASYNC).json["turn_id"]
    assert turns.claim(ada.user_id, turn_id, worker.WORKER_LEASE)
    left = iter([900.0, 600.0, 1.0])

    class Ending(Deadline):
        def remaining(self) -> float:
            return next(left)

    with requests_to_table() as requests, pytest.raises(worker.TurnInProgress):
        worker.run_queued_turn(QueuedTurn(user_id=ada.user_id, turn_id=turn_id), Ending.after(900))

    assert [name for name, _ in requests] == ["UpdateItem", "BatchGetItem"] * 3


def test_a_worker_that_is_there_keeps_its_turn_and_one_that_died_loses_it(
    ada: Learner,
    class_of: Any,
    provider: FakeProvider,
    deliver_turns: Any,
    stack: Stack,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first worker dies with the answer of alpha; a second one waits until its lease has run out, and asks beta."""
    monkeypatch.setattr(worker, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(worker, "BEAT_SECONDS", 0.01)
    beats, claims, passed = 0, 0, 0.0
    claim, extend, now = turns.claim, turns.extend_lease, time.time

    def counted_claim(*arguments: Any) -> turns.Claim | None:
        nonlocal claims
        claimed = claim(*arguments)
        claims += 1
        return claimed

    def counted_extension(*arguments: Any) -> None:
        nonlocal beats
        extend(*arguments)
        beats += 1

    def next_beat() -> None:
        before = beats
        wait_until(lambda: beats > before + 1)

    def next_try() -> bool:
        before = claims
        wait_until(lambda: claims > before + 1 or not second.is_alive())
        return second.is_alive()

    monkeypatch.setattr(turns, "claim", counted_claim)
    monkeypatch.setattr(turns, "extend_lease", counted_extension)
    monkeypatch.setattr(time, "time", lambda: now() + passed)
    session = ada.open_session(class_id=class_of("alpha", "beta"))
    accepted = chat(ada, session, headers=ASYNC)
    location = accepted.headers["location"]
    message = {"user_id": ada.user_id, "turn_id": accepted.json["turn_id"]}
    at_beta, die = threading.Event(), threading.Event()

    def hang(request: dict[str, Any]) -> Played:
        at_beta.set()
        die.wait(SECONDS)
        return Played({}, 500)

    provider.plays["beta"] = in_turn(hang, replies("beta, asked again"))
    first = threading.Thread(target=deliver_turns)
    first.start()
    assert at_beta.wait(SECONDS)
    wait_until(lambda: ada.get(location).json["results"])
    stack.queues.send("practice-local-TurnQueue", json.dumps(message))
    second = threading.Thread(target=deliver_turns)
    second.start()
    for _ in range(3):
        passed += worker.WORKER_LEASE.seconds - 10
        next_beat()
        assert next_try(), "the first worker is there, so the second one waits"
    monkeypatch.setattr(turns, "extend_lease", lambda *_: None)  # its heart stops
    assert next_try(), "its lease has not run out"
    passed += worker.WORKER_LEASE.seconds + 1
    second.join(SECONDS)
    turn = ada.get(location).json
    die.set()
    first.join(SECONDS)

    assert provider.asked() == {"alpha": 1, "beta": 2}
    assert [each["response_text"] for each in turn["results"]] == ["alpha says so", "beta, asked again"]
    assert ada.get(location).json == turn


def test_a_queued_turn_of_a_deleted_session_is_dropped(
    ada: Learner, class_of: Any, provider: FakeProvider, deliver_turns: Any
) -> None:
    session = ada.open_session(class_id=class_of("alpha"))
    chat(ada, session, headers=ASYNC)
    ada.delete(f"/sessions/{session['session_id']}")

    deliver_turns()

    assert provider.asked() == {}


def test_a_turn_whose_function_died_is_shown_as_failed(
    ada: Learner, class_of: Any, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = ada.open_session(class_id=class_of("alpha", "beta"))
    die_at(7, lambda: chat(ada, session))
    later = time.time() + 60
    monkeypatch.setattr(time, "time", lambda: later)

    [turn] = turns_of(ada, session)["items"]

    assert turn["status"] == "failed"
    answered = {each["model_name"] for each in turn["results"]}
    assert {each["model_name"] for each in turn["errors"]} == {"alpha", "beta"} - answered
    assert {each["code"] for each in turn["errors"]} <= {"interrupted"}


# The same request again


KEY = {"idempotency-key": "lesson-1"}


def die_at(step: int, act: Callable[[], Any]) -> bool:
    """The process dies before (even) or after (odd) one of its requests to the table; whether it got that far."""
    requests = 0
    lock = threading.Lock()

    def note(**_: Any) -> None:
        nonlocal requests
        with lock:
            requests += 1
            if requests > step:
                process.die()

    events = table.dynamodb().meta.events
    events.register_first("before-call.dynamodb", note)
    events.register_last("after-call.dynamodb", note)
    with mortal() as process, pytest.MonkeyPatch.context() as patched:
        patched.setattr(threading, "excepthook", lambda _: None)
        try:
            act()
        except Killed:
            pass
        finally:
            wait_for_models()
            events.unregister("before-call.dynamodb", note)
            events.unregister("after-call.dynamodb", note)
    return process.is_dead


@pytest.mark.parametrize("kind", ["chat", "run"])
@pytest.mark.parametrize("step", range(24))
def test_after_a_crash_at_any_step_a_retry_asks_only_the_models_still_missing(
    ada: Learner,
    class_of: Any,
    provider: FakeProvider,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    step: int,
) -> None:
    class_id = class_of("alpha", "beta")
    session = ada.open_session(class_id=class_id)
    path = (
        f"/sessions/{session['session_id']}/chat" if kind == "chat" else f"/sessions/run?class_id={class_id}"
    )
    body = {"prompt_text": "Why?"}

    died = die_at(step, lambda: ada.post(path, body, headers=KEY))
    answered = {
        each["model_name"] for one in ada.get("/sessions").json["items"] for each in responses_of(ada, one)
    }
    asked = provider.asked()
    later = time.time() + 60
    monkeypatch.setattr(time, "time", lambda: later)
    retried = ada.post(path, body, headers=KEY)
    again = ada.post(path, body, headers=KEY)

    if step < 16:
        assert died
    assert retried.status == 201, retried.body
    assert (again.status, again.body) == (201, retried.body)
    assert [each["model_name"] for each in retried.json["results"]] == ["alpha", "beta"]
    for name in ("alpha", "beta"):
        assert provider.asked()[name] == asked[name] + (name not in answered), name
    sessions = ada.get("/sessions").json["items"]
    assert len(sessions) == (1 if kind == "chat" else 2)
    asked_in = next(one for one in sessions if one["session_id"] == retried.json["session_id"])
    assert [each["response_id"] for each in responses_of(ada, asked_in)] == [
        each["response_id"] for each in retried.json["results"]
    ]
    assert [each["status"] for each in turns_of(ada, asked_in)["items"]] == ["done"]


@pytest.mark.parametrize("kind", ["chat", "run"])
def test_the_key_of_a_turn_whose_session_was_deleted_meanwhile_is_free_at_once(
    ada: Learner, class_of: Any, provider: FakeProvider, items_of: Any, kind: str
) -> None:
    """It answered 409 request_in_flight for the time-out of the function, then 404, and so on for a day."""
    class_id = class_of("alpha")
    session = ada.open_session(class_id=class_id)
    path = (
        f"/sessions/{session['session_id']}/chat" if kind == "chat" else f"/sessions/run?class_id={class_id}"
    )

    provider.plays["alpha"] = deleting(ada, items_of)
    deleted = ada.post(path, {"prompt_text": "Why?"}, headers=KEY)
    provider.plays["alpha"] = replies("So.")
    again = ada.post(path, {"prompt_text": "Why?"}, headers=KEY)

    assert (deleted.status, deleted.detail) == (404, "session not found")
    if kind == "chat":
        assert (again.status, again.detail) == (404, "session not found")
    else:
        assert again.status == 201, again.body
        assert [each["response_text"] for each in again.json["results"]] == ["So."]


def test_a_turn_that_failed_after_it_had_begun_is_resumed_at_once(
    ada: Learner, class_of: Any, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attempt that answered 503 is not in flight."""
    class_id = class_of("alpha")
    path = f"/sessions/run?class_id={class_id}"

    def fail(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("the table does not answer")

    with monkeypatch.context() as patched:
        patched.setattr("practice.turns.routes.prepare_turn", fail)
        failed = ada.post(path, {"prompt_text": "Why?"}, headers=KEY)
    retried = ada.post(path, {"prompt_text": "Why?"}, headers=KEY)

    assert failed.status == 503
    assert retried.status == 201, retried.body
    assert ada.get("/sessions").json["total"] == 1


@pytest.mark.parametrize("step", range(20))
def test_when_the_table_fails_at_any_step_nothing_is_lost_and_a_retry_ends_well(
    ada: Learner, class_of: Any, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """It fails once, before (even) or after (odd) a request was carried out."""
    session = ada.open_session(class_id=class_of("alpha", "beta"))
    steps = iter(range(1000))
    lock = threading.Lock()

    def fail(**_: Any) -> None:
        with lock:
            if next(steps) == step:
                raise StoreUnavailable("injected")

    events = table.dynamodb().meta.events
    events.register_first("before-call.dynamodb", fail)
    events.register_last("after-call.dynamodb", fail)
    try:
        first = chat(ada, session, headers=KEY)
    finally:
        events.unregister("before-call.dynamodb", fail)
        events.unregister("after-call.dynamodb", fail)
    later = time.time() + 60
    monkeypatch.setattr(time, "time", lambda: later)
    answer = chat(ada, session, headers=KEY)

    assert first.status in (201, 503)
    assert answer.status == 201
    if first.status == 201:
        assert answer.body == first.body
    assert {each["code"] for each in answer.json["errors"]} <= {"not_stored"}
    assert len(answer.json["results"]) + len(answer.json["errors"]) == 2
    kept = [each["response_id"] for each in responses_of(ada, session)]
    assert kept == [each["response_id"] for each in answer.json["results"]]
    [turn] = turns_of(ada, session)["items"]
    assert (turn["status"], turn["results"]) == ("done", answer.json["results"])
    assert max(provider.asked().values()) <= 2


def test_the_second_time_no_model_is_asked_and_the_answer_is_the_same(
    ada: Learner, class_of: Any, provider: FakeProvider
) -> None:
    noise = random.Random(3)
    texts = {
        name: "".join(noise.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=1_000_000))
        for name in ("alpha", "beta", "gamma")
    }
    provider.plays = {name: replies(text) for name, text in texts.items()}
    session = ada.open_session(class_id=class_of(*texts))

    first = chat(ada, session, headers=KEY)
    second = chat(ada, session, headers=KEY)

    assert (first.status, second.status) == (201, 201)
    assert [each["response_text"] for each in first.json["results"]] == list(texts.values())
    assert second.body == first.body
    assert second.headers["location"] == first.headers["location"]
    assert provider.asked() == dict.fromkeys(texts, 1)


def test_a_turn_left_to_the_worker_is_queued_once(
    ada: Learner, class_of: Any, provider: FakeProvider, deliver_turns: Any
) -> None:
    session = ada.open_session(class_id=class_of("alpha"))

    first = chat(ada, session, headers=KEY | ASYNC)
    second = chat(ada, session, headers=KEY | ASYNC)
    deliver_turns()
    third = chat(ada, session, headers=KEY | ASYNC)

    assert [each.status for each in (first, second, third)] == [202] * 3
    assert first.body == second.body == third.body
    assert provider.asked() == {"alpha": 1}


@pytest.mark.parametrize("headers", [{}, KEY], ids=["without a key", "with a key"])
def test_a_turn_that_the_queue_does_not_take_is_withdrawn_or_sent_again(
    ada: Learner,
    class_of: Any,
    provider: FakeProvider,
    monkeypatch: pytest.MonkeyPatch,
    deliver_turns: Any,
    headers: dict[str, str],
) -> None:
    session = ada.open_session(class_id=class_of("alpha"))
    with monkeypatch.context() as broken:
        broken.setattr(queues, "send", lambda *_: [0])
        refused = chat(ada, session, headers=headers | ASYNC)
    [left] = turns_of(ada, session)["items"]
    later = time.time() + 60
    monkeypatch.setattr(time, "time", lambda: later)

    retried = chat(ada, session, headers=headers | ASYNC)
    deliver_turns()

    assert (refused.status, retried.status) == (503, 202)
    assert left["status"] == ("queued" if headers else "cancelled")
    assert [each["status"] for each in turns_of(ada, session)["items"]] == [
        *([] if headers else ["cancelled"]),
        "done",
    ]
    assert provider.asked() == {"alpha": 1}


def test_a_turn_cancelled_before_its_request_was_answered_stays_so(
    ada: Learner, class_of: Any, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch, deliver_turns: Any
) -> None:
    """The function died after the turn was queued; the learner cancels it, and then the retry comes."""
    session = ada.open_session(class_id=class_of("alpha"))
    with monkeypatch.context() as broken:
        broken.setattr(queues, "send", lambda *_: [0])
        chat(ada, session, headers=KEY | ASYNC)
    turn_id = turns_of(ada, session)["items"][0]["turn_id"]
    assert ada.delete(f"/sessions/{session['session_id']}/turns/{turn_id}").status == 204
    later = time.time() + 60
    monkeypatch.setattr(time, "time", lambda: later)

    retried = chat(ada, session, headers=KEY | ASYNC)
    deliver_turns()

    assert (retried.status, retried.json["status"]) == (202, "cancelled")
    assert provider.asked() == {}


def test_a_turn_that_no_model_answered_may_be_tried_again_with_its_key(
    ada: Learner, class_of: Any, provider: FakeProvider
) -> None:
    provider.plays["alpha"] = in_turn(lambda _: Played({}, 500), replies("now"))
    session = ada.open_session(class_id=class_of("alpha"))

    first = chat(ada, session, headers=KEY)
    second = chat(ada, session, headers=KEY)

    assert (first.status, second.status) == (502, 201)


def test_another_prompt_with_the_same_key_is_refused(ada: Learner, class_of: Any) -> None:
    session = ada.open_session(class_id=class_of("alpha"))
    chat(ada, session, "Why?", headers=KEY)

    answer = chat(ada, session, "How?", headers=KEY)

    assert (answer.status, answer.detail) == (422, "idempotency_key_reused")


def test_twins_in_flight_ask_each_model_once(ada: Learner, class_of: Any, provider: FakeProvider) -> None:
    session = ada.open_session(class_id=class_of("alpha", "beta"))
    answers: list[Answer] = []
    threads = [
        threading.Thread(target=lambda: answers.append(chat(ada, session, headers=KEY))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {each.status for each in answers} <= {201, 409}
    assert 201 in {each.status for each in answers}
    assert provider.asked() == {"alpha": 1, "beta": 1}
