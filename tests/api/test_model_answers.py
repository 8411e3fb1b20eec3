"""Turns with the models of today: what goes out to a service, and what becomes of its answer."""

import json
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote

import pytest

from local.stack import Stack
from practice.runtime import aws
from practice.runtime.config import ConfigurationError
from practice.turns import ask, configuration
from practice.turns.providers import bedrock
from tests.support.learners import Learner
from tests.support.log_lines import written
from tests.support.providers import FakeProvider, Played, in_turn, replies

Chat = Callable[..., dict[str, Any]]
OPUS = "us.anthropic.claude-opus-4-7"
SONNET = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"


@pytest.fixture
def fake() -> Iterator[FakeProvider]:
    with FakeProvider() as provider:
        yield provider


@pytest.fixture
def chat(
    ada: Learner,
    class_of: Callable[..., int],
    fake: FakeProvider,
    stack: Stack,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Chat]:
    """Configures a model `m` and runs turns of one session: the last one's result, or its entry of `errors`."""

    def turns(entry: dict[str, Any], *prompts: str, **fields: Any) -> dict[str, Any]:
        entry = {"provider": "openai", "id": "m", **entry}
        if entry["provider"] == "openai":
            entry.setdefault("base_url", f"{fake.url}/v1")
        monkeypatch.setenv("MODELS", json.dumps({"m": entry}))
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", fake.url)
        configuration.clear_cache()
        bedrock.clear_cache()
        class_id = class_of("m")
        first, *others = prompts or ("Why?",)
        answer = ada.post(f"/sessions/run?class_id={class_id}", {"prompt_text": first, **fields})
        for prompt in others:
            answer = ada.post(f"/sessions/{answer.json['session_id']}/chat", {"prompt_text": prompt})
        assert answer.status in (201, 502), answer.body
        outcomes: list[dict[str, Any]] = answer.json.get("results", []) + answer.json["errors"]
        [outcome] = outcomes
        return {"session_id": answer.json["session_id"], **outcome}

    yield turns
    monkeypatch.undo()
    configuration.clear_cache()
    bedrock.clear_cache()


def converse(*content: dict[str, Any], stop: str = "end_turn") -> Played:
    return Played(
        {
            "output": {"message": {"role": "assistant", "content": list(content)}},
            "stopReason": stop,
            "usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7},
            "metrics": {"latencyMs": 5},
        }
    )


def error(status: int, **words: Any) -> Callable[[Any], Played]:
    body = {
        "error": {"message": "key sk-1 is wrong, says ada", "type": "t", "param": None, "code": None, **words}
    }
    return lambda _: Played(body, status)


def message(
    finish: str | None = "stop", usage: dict[str, Any] | None = None, **fields: Any
) -> Callable[[Any], Played]:
    choice = {"index": 0, "message": {"role": "assistant", **fields}, "finish_reason": finish}
    return lambda _: Played({"model": "m-1", "choices": [choice], "usage": usage or {}})


# What goes out


def test_a_model_that_takes_no_sampling_is_sent_none(chat: Chat, fake: FakeProvider) -> None:
    fake.plays[OPUS] = lambda _: converse({"text": "Because."})

    result = chat({"provider": "bedrock", "id": OPUS})

    [request] = fake.requests
    assert "inferenceConfig" not in request
    assert (result["response_text"], result["generation_params"]) == ("Because.", {})


def test_of_two_that_exclude_each_other_the_chosen_one_goes(chat: Chat, fake: FakeProvider) -> None:
    fake.plays[quote(SONNET, safe="")] = lambda _: converse({"text": "Because."})

    result = chat({"provider": "bedrock", "id": SONNET}, generation_params={"top_p": 0.3})

    assert [each["inferenceConfig"] for each in fake.requests] == [{"topP": 0.3}]
    assert result["generation_params"] == {"top_p": 0.3}


def test_a_stop_list_that_is_omitted_is_not_sent(chat: Chat, fake: FakeProvider) -> None:
    result = chat({"id": "o4-mini", "omits": ["stop"]}, generation_params={"stop": ["END"]})

    assert "stop" not in fake.requests[0]
    assert result["generation_params"] == {}


def test_without_a_choice_no_cap_goes_out(chat: Chat, fake: FakeProvider) -> None:
    result = chat({"id": "gpt-4"})

    assert fake.requests[0].keys() == {"model", "messages", "stream", "stream_options"}
    assert result["generation_params"] == {}


def test_a_cap_is_kept_within_the_window(chat: Chat, fake: FakeProvider) -> None:
    result = chat({"id": "gpt-4"}, "x" * 3000, generation_params={"max_tokens": 8192})

    assert fake.requests[0]["max_tokens"] == result["generation_params"]["max_tokens"]
    assert 7000 < fake.requests[0]["max_tokens"] < 8192 - 1000


def test_a_cap_that_the_interface_demands_is_what_the_model_allows(chat: Chat, fake: FakeProvider) -> None:
    result = chat({"cap_required": True, "max_output_tokens": 4096})

    assert fake.requests[0]["max_tokens"] == 4096
    assert result["generation_params"] == {"max_tokens": 4096}


def test_the_defaults_of_the_deployment_are_a_choice(chat: Chat, fake: FakeProvider) -> None:
    result = chat({"defaults": {"temperature": 0.2, "max_tokens": 50}})

    assert (fake.requests[0]["temperature"], fake.requests[0]["max_tokens"]) == (0.2, 50)
    assert result["generation_params"] == {"temperature": 0.2, "max_tokens": 50}


def test_what_an_operator_adds_goes_out_beside_our_own_fields(chat: Chat, fake: FakeProvider) -> None:
    extra = {
        "chat_template_kwargs": {"enable_thinking": False},
        "temperature": 1.5,
        "model": "x",
        "stream": False,
    }

    result = chat({"extra": extra}, generation_params={"temperature": 0.4})

    [request] = fake.requests
    assert request["chat_template_kwargs"] == {"enable_thinking": False}
    assert (request["temperature"], request["model"], request["stream"]) == (0.4, "m", True)
    assert result["generation_params"] == {"temperature": 0.4}


def test_by_neither_of_its_names_a_cap_is_added_to_a_chosen_one(chat: Chat, fake: FakeProvider) -> None:
    extra = {"max_tokens": 9, "max_completion_tokens": 9}

    chat({"extra": extra}, generation_params={"max_tokens": 50})
    chat({"extra": {"max_completion_tokens": 9}})

    sent = [{name: each[name] for name in extra if name in each} for each in fake.requests]
    assert sent == [{"max_tokens": 50}, {"max_completion_tokens": 9}]


def test_bedrock_takes_it_as_additional_fields(chat: Chat, fake: FakeProvider) -> None:
    fake.plays[OPUS] = lambda _: converse({"text": "Because."})

    chat(
        {"provider": "bedrock", "id": OPUS, "extra": {"output_config": {"effort": "low"}, "max_tokens": 9}},
        generation_params={"max_tokens": 100},
    )

    [request] = fake.requests
    assert request["additionalModelRequestFields"] == {"output_config": {"effort": "low"}}
    assert request["inferenceConfig"] == {"maxTokens": 100}


def test_without_a_system_role_its_text_opens_the_first_message(chat: Chat, fake: FakeProvider) -> None:
    chat({"omits": ["system"]}, "One?", "Two?", style_params={"system_prompt": "Be brief."})

    assert [(each["role"], each["content"]) for each in fake.requests[1]["messages"]] == [
        ("user", "Be brief.\n\nOne?"),
        ("assistant", "m says so"),
        ("user", "Two?"),
    ]


@pytest.mark.parametrize(
    ("provider", "entry", "chosen", "is_in_the_message"),
    [
        ("openai", {"thinking_omits": ["system"]}, {}, True),
        ("openai", {"thinking_omits": ["system"]}, {"reasoning_effort": "none"}, False),
        ("openai", {"one_of": ["system", "stop"]}, {"stop": ["END"]}, True),
        ("openai", {"one_of": ["system", "max_completion_tokens"]}, {"max_tokens": 50}, True),
        ("openai", {"one_of": ["system", "stop"]}, {"temperature": 0.3}, False),
        ("bedrock", {"thinking_omits": ["system"]}, {}, True),
        ("bedrock", {"one_of": ["system", "stop"]}, {"stop": ["END"]}, True),
        ("bedrock", {"one_of": ["system", "stop"]}, {"temperature": 0.3}, False),
    ],
)
def test_the_system_role_is_left_out_like_a_parameter(
    chat: Chat,
    fake: FakeProvider,
    provider: str,
    entry: dict[str, Any],
    chosen: dict[str, Any],
    is_in_the_message: bool,
) -> None:
    """What was chosen goes: the role is no choice, and its text is not lost without it."""
    if provider == "bedrock":
        fake.plays["m"] = lambda _: converse({"text": "Because."})

    result = chat(
        {"provider": provider, **entry},
        "One?",
        style_params={"system_prompt": "Be brief."},
        generation_params=chosen,
    )

    assert ("Be brief.\\n\\nOne?" in json.dumps(fake.requests[0]["messages"])) is is_in_the_message
    assert result["generation_params"] == chosen


REFUSED_CAP = error(400, param="max_tokens", code="unsupported_parameter", type="invalid_request_error")


def test_without_a_refused_parameter_that_was_not_chosen_the_model_is_asked_once_more(
    chat: Chat, fake: FakeProvider
) -> None:
    fake.plays["m"] = in_turn(REFUSED_CAP, replies("Because."))

    result = chat({"cap_required": True, "max_output_tokens": 4096})

    assert ["max_tokens" in each for each in fake.requests] == [True, False]
    assert (result["response_text"], result["generation_params"]) == ("Because.", {})


def test_nothing_is_sent_a_third_time(chat: Chat, fake: FakeProvider) -> None:
    fake.plays["m"] = REFUSED_CAP

    failed = chat({"cap_required": True, "max_output_tokens": 4096})

    assert len(fake.requests) == 2
    assert (failed["code"], failed["reason"]["param"]) == ("provider_error", "max_tokens")


def test_nor_when_another_parameter_is_refused_then(chat: Chat, fake: FakeProvider) -> None:
    """That the service does not stream is remembered, so that the next turn is answered."""
    refusals = [error(400, param=name) for name in ("stream_options", "stream")]
    fake.plays["m"] = in_turn(*refusals, replies("Because."))

    result = chat({}, "One?", "Two?")

    sent = [[name for name in ("stream", "stream_options") if name in each] for each in fake.requests]
    assert sent == [["stream", "stream_options"], ["stream"], []]
    assert result["response_text"] == "Because."


def test_a_chosen_parameter_that_is_refused_is_the_turns_error(chat: Chat, fake: FakeProvider) -> None:
    fake.plays["m"] = error(400, param="temperature", code="unsupported_value", type="invalid_request_error")

    failed = chat({}, generation_params={"temperature": 0.3})

    assert len(fake.requests) == 1
    assert (failed["code"], failed["reason"]) == (
        "provider_error",
        {"status": 400, "code": "unsupported_value", "param": "temperature", "type": "invalid_request_error"},
    )


# What comes back


@pytest.mark.parametrize(
    ("play", "text", "finish", "reasoning_tokens"),
    [
        (message(content="Paris."), "Paris.", "stop", None),
        (message(content="Par", finish="length"), "Par", "length", None),
        (message(content="I must not.", finish="content_filter"), "I must not.", "content_filter", None),
        (message(content=None, refusal="I must not."), "I must not.", "content_filter", None),
        (message(content="Paris.", finish="tool_calls", tool_calls=[{}]), "Paris.", "other", None),
        (message(content="Paris.", finish=None), "Paris.", "other", None),
        (message(content="<think>\nOkay\n</think>\n\nParis."), "Paris.", "stop", None),
        (message(content="Paris.", reasoning_content="Okay"), "Paris.", "stop", None),
        (
            message(content=[{"type": "thinking", "thinking": []}, {"type": "text", "text": "Paris."}]),
            "Paris.",
            "stop",
            None,
        ),
        (
            message(content="Paris.", usage={"completion_tokens_details": {"reasoning_tokens": 64}}),
            "Paris.",
            "stop",
            64,
        ),
    ],
)
def test_an_answer_is_the_visible_text_and_says_how_it_ended(
    chat: Chat, fake: FakeProvider, play: Any, text: str, finish: str, reasoning_tokens: int | None
) -> None:
    fake.plays["m"] = play

    result = chat({})

    ours = result["token_usage"]["_gf"]
    assert (result["response_text"], ours["finish_reason"]) == (text, finish)
    assert ours.get("reasoning_tokens") == reasoning_tokens


THOUGHT = {"reasoningContent": {"reasoningText": {"text": "Okay"}}}


@pytest.mark.parametrize(
    ("played", "text", "finish"),
    [
        (converse(THOUGHT, {"text": "Paris."}), "Paris.", "stop"),
        (converse({"text": "Paris."}, stop="stop_sequence"), "Paris.", "stop"),
        (converse({"text": "Par"}, stop="max_tokens"), "Par", "length"),
        (converse({"text": "No."}, stop="guardrail_intervened"), "No.", "content_filter"),
        (converse({"text": "Hm."}, stop="malformed_model_output"), "Hm.", "other"),
    ],
)
def test_so_is_one_of_bedrock(chat: Chat, fake: FakeProvider, played: Played, text: str, finish: str) -> None:
    fake.plays[OPUS] = lambda _: played

    result = chat({"provider": "bedrock", "id": OPUS})

    assert result["response_text"] == text
    assert result["token_usage"]["_gf"]["finish_reason"] == finish


@pytest.mark.parametrize(
    "play",
    [
        message(content="", reasoning_content="Okay", finish="length"),
        message(content=None, reasoning="Okay"),
        message(content="<think>\nOkay", finish="length"),
        message(content="", finish="length", usage={"completion_tokens_details": {"reasoning_tokens": 99}}),
        message(content="", finish="length"),
        message(reasoning_content="Okay"),
    ],
)
def test_nothing_but_thinking_has_a_code_of_its_own(chat: Chat, fake: FakeProvider, play: Any) -> None:
    fake.plays["m"] = play

    assert chat({})["code"] == "only_reasoning"


def test_nothing_but_thinking_of_bedrock_has_it_too(chat: Chat, fake: FakeProvider) -> None:
    fake.plays[OPUS] = lambda _: converse(THOUGHT, stop="max_tokens")

    assert chat({"provider": "bedrock", "id": OPUS})["code"] == "only_reasoning"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            {"choices": [{"message": {"content": "half"}, "finish_reason": "error"}]},
            {"status": 200, "code": "error"},
        ),
        (
            {"error": {"message": "upstream sk-1", "code": 502, "type": "upstream_error"}},
            {"status": 200, "code": "502", "type": "upstream_error"},
        ),
        (
            {"choices": [{"message": {"content": "half"}, "error": {"code": 524}, "finish_reason": "stop"}]},
            {"status": 200, "code": "524"},
        ),
    ],
)
def test_a_200_that_reports_an_error_is_no_answer(
    chat: Chat, fake: FakeProvider, body: dict[str, Any], reason: dict[str, Any]
) -> None:
    fake.plays["m"] = lambda _: Played(body)

    failed = chat({})

    assert (failed["code"], failed["reason"]) == ("provider_error", reason)
    assert "response_text" not in failed


@pytest.mark.parametrize(
    "play", [message(tool_calls=[{"function": {}}], finish="tool_calls"), message(), message(content=None)]
)
def test_an_answer_without_a_text_is_none(chat: Chat, fake: FakeProvider, play: Any) -> None:
    fake.plays["m"] = play

    assert chat({})["code"] == "provider_error"


def test_thinking_and_refusals_are_not_shown_again(chat: Chat, fake: FakeProvider) -> None:
    fake.plays["m"] = in_turn(
        replies("<think>hm</think>Paris."),
        message(content="I must not.", finish="content_filter"),
        replies("Rome."),
    )

    chat({}, "France?", "Poison?", "Italy?")

    assert [(each["role"], each["content"]) for each in fake.requests[-1]["messages"]] == [
        ("user", "France?"),
        ("assistant", "Paris."),
        ("user", "Italy?"),
    ]


def test_a_model_that_thinks_is_not_shown_thinking_that_came_with_a_response(
    chat: Chat, ada: Learner, fake: FakeProvider
) -> None:
    begun = chat({"id": "Qwen/Qwen3-8B"})
    for text in ("Hm.</think>\n\nParis.", "So:\n<think>\nHm.\n</think>\nParis."):
        response = {"prompt_text": "France?", "response_text": text}
        assert ada.post(f"/models/{begun['session_model_id']}/responses", response).status == 201

    ada.post(f"/sessions/{begun['session_id']}/chat", {"prompt_text": "Italy?"})

    shown = [each["content"] for each in fake.requests[-1]["messages"] if each["role"] == "assistant"]
    assert shown[1:] == ["Paris.", "So:\nParis."]


# When to wait, when not


@pytest.mark.parametrize(
    "busy", [error(429, code="rate_limit_exceeded"), error(503), error(529), lambda _: Played(b"", 503)]
)
def test_a_busy_service_is_waited_for(
    chat: Chat, fake: FakeProvider, monkeypatch: pytest.MonkeyPatch, busy: Any
) -> None:
    monkeypatch.setattr(ask, "FIRST_PAUSE_SECONDS", 0.01)
    fake.plays["m"] = in_turn(busy, busy, replies("At last."))

    assert chat({})["response_text"] == "At last."


@pytest.mark.parametrize(
    ("code", "status"),
    [("ThrottlingException", 429), ("ServiceUnavailableException", 503), ("ModelNotReadyException", 429)],
)
def test_so_is_bedrock(
    chat: Chat, fake: FakeProvider, monkeypatch: pytest.MonkeyPatch, code: str, status: int
) -> None:
    monkeypatch.setattr(ask, "FIRST_PAUSE_SECONDS", 0.01)
    busy = Played({"message": "Too many requests"}, status, {"x-amzn-errortype": code})
    fake.plays[OPUS] = in_turn(lambda _: busy, lambda _: converse({"text": "At last."}))

    assert chat({"provider": "bedrock", "id": OPUS})["response_text"] == "At last."


PER_DAY = {"details": [{"violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}]}


@pytest.mark.parametrize(
    "play",
    [
        error(429, type="insufficient_quota", code="insufficient_quota"),
        error(402, code="invalid_request_error"),
        lambda _: Played([{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", **PER_DAY}}], 429),
    ],
)
def test_without_quota_the_turn_fails_at_once(chat: Chat, fake: FakeProvider, play: Any) -> None:
    fake.plays["m"] = play

    assert chat({})["code"] == "quota_exhausted"
    assert len(fake.requests) == 1


def test_words_about_a_quota_in_a_sentence_are_none(
    chat: Chat, fake: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ask, "FIRST_PAUSE_SECONDS", 0.01)
    about = error(429, message="insufficient_quota is not what this is", code="rate_limit_exceeded")
    fake.plays["m"] = in_turn(about, replies("At last."))

    assert chat({})["response_text"] == "At last."


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_model_that_is_not_there_or_not_allowed_is_not_enabled(
    chat: Chat, fake: FakeProvider, status: int
) -> None:
    fake.plays["m"] = error(status, code="model_not_found", type="invalid_request_error")

    failed = chat({})

    assert (failed["code"], failed["reason"]) == (
        "model_not_enabled",
        {"status": status, "code": "model_not_found", "type": "invalid_request_error"},
    )
    assert len(fake.requests) == 1


@pytest.mark.parametrize(
    ("code", "status", "output"),
    [
        ("AccessDeniedException", 403, "You don't have access to the model with the specified model ID."),
        ("UnrecognizedClientException", 403, "The security token included in the request is invalid."),
        ("ResourceNotFoundException", 404, "Model not found."),
        (
            "ValidationException",
            400,
            "Invocation of model ID x with on-demand throughput isn’t supported. Retry your request with the ID or ARN "
            "of an inference profile that contains this model.",
        ),
        ("ValidationException", 400, "The provided model identifier is invalid."),
    ],
)
def test_nor_is_one_that_bedrock_does_not_offer(
    chat: Chat, fake: FakeProvider, code: str, status: int, output: str
) -> None:
    fake.plays[OPUS] = lambda _: Played({"message": output}, status, {"x-amzn-errortype": code})

    failed = chat({"provider": "bedrock", "id": OPUS})

    assert (failed["code"], failed["reason"]) == ("model_not_enabled", {"status": status, "code": code})


# What is seen of it


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ({"code": "a b"}, {"status": 500, "type": "t"}),
        ({"code": "x" * 65, "type": "ä"}, {"status": 500}),
        ({"code": 1234, "type": None}, {"status": 500, "code": "1234"}),
        ({"code": True, "param": ["x"], "type": {"a": 1}}, {"status": 500}),
    ],
)
def test_a_reason_is_made_of_machine_words_alone(
    chat: Chat, fake: FakeProvider, words: dict[str, Any], reason: dict[str, Any]
) -> None:
    fake.plays["m"] = error(500, **words)

    assert chat({})["reason"] == reason


def test_a_failed_model_has_a_line_of_its_own_with_machine_words(chat: Chat, fake: FakeProvider) -> None:
    fake.plays["m-1"] = error(400, code="bad_thing", param="messages", type="invalid_request_error")

    with written() as read:
        chat({"id": "m-1"}, "My secret question")

    lines = read()
    [line] = [each for each in lines if each["message"] == "a model failed"]
    assert (line["provider"], line["model_id"], line["code"]) == ("openai", "m-1", "provider_error")
    assert line["reason"] == {
        "status": 400,
        "code": "bad_thing",
        "param": "messages",
        "type": "invalid_request_error",
    }
    [declared] = line["_aws"]["CloudWatchMetrics"]
    assert declared["Dimensions"] == [["stage", "code"]]
    assert declared["Metrics"] == [{"Name": "failed_models_by_code", "Unit": "Count"}]
    everything = json.dumps(lines)
    assert not any(text in everything for text in ("sk-1", "says ada", "secret question"))


# What a turn would send


def test_what_a_turn_would_send_is_shown_with_who_chose_it(
    chat: Chat, ada: Learner, fake: FakeProvider
) -> None:
    entry = {"defaults": {"seed": 5}, "max_output_tokens": 4096, "max_temperature": 1.0, "omits": ["stop"]}
    chosen = {"temperature": 1.5, "response_length_preset": "short", "stop": ["END"], "colour": "green"}
    result = chat(entry, style_preset="accurate", generation_params=chosen)
    path = f"/sessions/{result['session_id']}"

    shown = ada.get(f"{path}/effective-parameters")

    assert shown.status == 200
    assert shown.json == {
        "models": [
            {
                "session_model_id": result["session_model_id"],
                "model_name": "m",
                "generation_params": {"temperature": 1.0, "top_p": 0.8, "seed": 5, "max_tokens": 256},
                "chosen_by": {
                    "temperature": "settings",
                    "top_p": "preset",
                    "seed": "deployment",
                    "max_tokens": "settings",
                },
            }
        ]
    }
    assert result["generation_params"] == shown.json["models"][0]["generation_params"]
    ada.patch(f"/models/{result['session_model_id']}", {"generation_params": {"temperature": 0.3}})
    [model] = ada.get(f"{path}/effective-parameters").json["models"]
    assert (model["generation_params"]["temperature"], model["chosen_by"]["temperature"]) == (
        0.3,
        "session_model",
    )


def test_a_cap_for_the_interface_is_shown_as_such(chat: Chat, ada: Learner, fake: FakeProvider) -> None:
    result = chat({"cap_required": True, "max_output_tokens": 4096})

    [model] = ada.get(f"/sessions/{result['session_id']}/effective-parameters").json["models"]

    assert (model["generation_params"], model["chosen_by"]) == (
        {"max_tokens": 4096},
        {"max_tokens": "interface"},
    )


def test_of_a_session_that_is_not_ones_own_nothing_is_shown(ada: Learner, ben: Learner) -> None:
    session = ada.open_session()

    assert ben.get(f"/sessions/{session['session_id']}/effective-parameters").status == 404


# The configuration of a deployment


@pytest.mark.parametrize(
    ("entry", "place"),
    [
        ({"omits": ["temprature"]}, "m: omits.0: "),
        ({"one_of": ["top_k"]}, "m: one_of.0: "),
        ({"colour": "green"}, "m: colour: "),
        ({"defaults": {"temprature": 0.3}}, "m: defaults.temprature: "),
        ({"defaults": {"system": "Be brief."}}, "m: defaults.system: "),
        ({"prices": {"prompt": -1, "completion": 1}}, "m: prices.prompt: "),
        ({"prices": {"prompt": 1}}, "m: prices.completion: "),
        ({"prices": {"prompt": "NaN", "completion": 1}}, "m: prices.prompt: "),
        ({"extra": []}, "m: extra: "),
        ({"context_window": 0}, "m: context_window: "),
    ],
)
def test_a_name_that_means_nothing_is_refused_in_one_line(entry: dict[str, Any], place: str) -> None:
    with pytest.raises(ValueError, match=place) as refused:
        configuration.checked(json.dumps({"m": {"provider": "echo", **entry}}))

    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ("[]", "Input should be a valid dictionary"),
        ('{"m": "echo"}', "m: entry: Input should be a valid dictionary"),
    ],
)
def test_so_is_what_is_no_object(models: str, said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said}$"):
        configuration.checked(models)


def test_prices_are_exact_and_those_of_the_deployment_win(monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"prompt": "0.15", "completion": 0.6}
    models = {
        "a": {"provider": "echo", "id": "gpt-4o", "prices": own},
        "b": {"provider": "echo", "id": "gpt-4o"},
    }
    monkeypatch.setenv("MODELS", json.dumps(models))
    configuration.clear_cache()

    a, b = configuration.model_named("a"), configuration.model_named("b")

    configuration.clear_cache()
    assert a is not None
    assert b is not None
    assert a.prices == configuration.Prices(prompt=Decimal("0.15"), completion=Decimal("0.6"))
    assert b.prices == configuration.Prices(prompt=Decimal("2.5"), completion=Decimal(10))


class Store(BaseHTTPRequestHandler):
    """An SSM parameter and an S3 object."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        assert self.headers["x-amz-target"] == "AmazonSSM.GetParameter"
        self._answer({"Parameter": {"Value": json.dumps({asked["Name"]: {"provider": "echo", "id": "ssm"}})}})

    def do_GET(self) -> None:
        self._answer(
            {self.path: {"provider": "echo", "id": "s3"}, "/models": {"provider": "echo", "id": "s3"}}
        )

    def _answer(self, body: dict[str, Any]) -> None:
        assert "AWS4-HMAC-SHA256" in self.headers["authorization"]
        raw = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: Any) -> None:
        """Silence."""


def test_models_can_come_from_a_parameter_and_an_object(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Store) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        sources = {"MODELS_PARAMETER": "/models", "MODELS_OBJECT": "s3://bucket/models.json"}
        own = {"MODELS": json.dumps({"own": {"provider": "echo"}})}
        for name, value in {
            **sources,
            **own,
            "AWS_ENDPOINT_URL_SSM": url,
            "AWS_ENDPOINT_URL_S3": url,
        }.items():
            monkeypatch.setenv(name, value)
        configuration.clear_cache()
        aws._session.cache_clear()

        found = {name: configuration.model_named(name) for name in ("/models", "/bucket/models.json", "own")}

        assert {name: each and each.id for name, each in found.items()} == {
            "/models": "ssm",
            "/bucket/models.json": "s3",
            "own": "own",
        }
        server.shutdown()
        configuration.clear_cache()
        with pytest.raises(ConfigurationError, match="MODELS_OBJECT cannot be used: s3"):
            configuration.configuration()
    monkeypatch.undo()
    configuration.clear_cache()
    aws._session.cache_clear()
