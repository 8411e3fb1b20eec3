"""The providers against stand-ins: one of our own, and one that strangers wrote (@copilotkit/aimock)."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local.stack import Stack
from practice.runtime.config import ConfigurationError
from practice.runtime.deadline import Deadline
from practice.schemas.turn import ErrorCode
from practice.turns import ask, configuration, knowledge
from practice.turns.draft import Draft
from practice.turns.prompts import Pair, Prompt
from practice.turns.providers import ProviderError, bedrock
from tests.support import deliveries
from tests.support.aimock import aimock, answer, chaos, free_port
from tests.support.learners import Learner
from tests.support.providers import FakeProvider, Part, Played, completion, in_turn, replies

PROMPT = Prompt("Be brief.", [Pair("2+2", "4")], [Pair("Hello", "Hi")], "Why?")
PARAMS = {"temperature": 0.4, "top_p": 0.9, "max_tokens": 99}
HAIKU = "anthropic.claude-3-haiku-20240307-v1:0"


@pytest.fixture
def fake() -> Iterator[FakeProvider]:
    with FakeProvider() as provider:
        yield provider


class Deployment:
    """The configuration of one test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def serves(self, url: str, models: dict[str, dict[str, Any]]) -> None:
        for model in models.values():
            if model["provider"] == "openai":
                model.setdefault("base_url", f"{url}/v1")
        self._monkeypatch.setenv("MODELS", json.dumps(models))
        for service in ("BEDROCK_RUNTIME", "BEDROCK_AGENT_RUNTIME"):
            self._monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", url)
        forget()

    def has(self, **variables: str) -> None:
        for name, value in variables.items():
            self._monkeypatch.setenv(name, value)
        forget()


def forget() -> None:
    configuration.clear_cache()
    bedrock.clear_cache()
    knowledge.clear_cache()


@pytest.fixture
def deployment(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    yield Deployment(monkeypatch)
    monkeypatch.undo()
    forget()


KINDS = ["openai", "bedrock"]


def model(kind: str, **fields: Any) -> dict[str, dict[str, Any]]:
    return {"claude": {"provider": kind, "id": HAIKU, **fields}}


def answered(seconds: float = 60, **params: Any) -> Any:
    return ask.ask("claude", PROMPT, {**PARAMS, **params}, Deadline.after(seconds)).completion


def failed(seconds: float = 60) -> ProviderError:
    with pytest.raises(ProviderError) as raised:
        answered(seconds)
    return raised.value


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses between tries, which take no time and still count. Nothing else does: a busy machine changes no outcome."""
    paused: list[float] = []
    remaining = Deadline.remaining
    first: dict[int, float] = {}
    monkeypatch.setattr(time, "sleep", paused.append)
    monkeypatch.setattr(
        Deadline,
        "remaining",
        lambda each: max(0.0, first.setdefault(id(each), remaining(each)) - sum(paused)),
    )
    return paused


def converse(*texts: str, **usage: int) -> dict[str, Any]:
    return {
        "output": {"message": {"role": "assistant", "content": [{"text": text} for text in texts]}},
        "stopReason": "end_turn",
        "usage": usage or {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7},
        "metrics": {"latencyMs": 5},
    }


# What is sent


def test_an_openai_compatible_service_is_sent_a_chat_completion(
    fake: FakeProvider, deployment: Deployment
) -> None:
    deployment.serves(fake.url, model("openai"))

    made = answered(stop=["END"], seed=5)

    assert (made.text, made.prompt_tokens, made.completion_tokens, made.total_tokens) == (
        f"{HAIKU} says so",
        3,
        4,
        7,
    )
    assert made.runtime_model == "fake-1"
    assert fake.requests == [
        {
            "model": HAIKU,
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "2+2"},
                {"role": "assistant", "content": "4"},
                {"role": "user", "content": "Hello"},
                {"role": "assistant", "content": "Hi"},
                {"role": "user", "content": "Why?"},
            ],
            "stop": ["END"],
            "seed": 5,
            "temperature": 0.4,
            "top_p": 0.9,
            "max_tokens": 99,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ]
    assert fake.authorizations == [None]


def test_bedrock_is_sent_a_conversation(fake: FakeProvider, deployment: Deployment) -> None:
    deployment.serves(fake.url, model("bedrock"))
    fake.plays[HAIKU.replace(":", "%3A")] = lambda _: Played(converse("Be", "cause."))

    made = answered(stop="END")

    assert (made.text, made.total_tokens, made.runtime_model) == ("Because.", 7, HAIKU)
    [request] = fake.requests
    assert request["system"] == [{"text": "Be brief."}]
    assert [(each["role"], each["content"]) for each in request["messages"]] == [
        ("user", [{"text": "2+2"}]),
        ("assistant", [{"text": "4"}]),
        ("user", [{"text": "Hello"}]),
        ("assistant", [{"text": "Hi"}]),
        ("user", [{"text": "Why?"}]),
    ]
    assert request["inferenceConfig"] == {
        "maxTokens": 99,
        "temperature": 0.4,
        "topP": 0.9,
        "stopSequences": ["END"],
    }
    assert str(fake.authorizations[0]).startswith("AWS4-HMAC-SHA256 ")


def test_the_key_comes_from_the_provider_secret(fake: FakeProvider, deployment: Deployment) -> None:
    deployment.has(PROVIDER_KEYS='{"acme": "sk-1"}')
    deployment.serves(fake.url, model("openai", key="acme"))

    answered()

    assert fake.authorizations == ["Bearer sk-1"]


@pytest.mark.parametrize(
    "fields", [{"key": "missing"}, {"key": "acme", "base_url": "http://models.example.com/v1"}], ids=str
)
def test_without_its_key_or_with_a_key_in_the_clear_no_provider_is_asked(
    fake: FakeProvider, deployment: Deployment, fields: dict[str, str]
) -> None:
    deployment.has(PROVIDER_KEYS='{"acme": "sk-1"}')
    deployment.serves(fake.url, model("openai", **fields))

    assert failed().code == ErrorCode.MODEL_NOT_ENABLED
    assert fake.requests == []


def test_content_in_parts_is_joined(fake: FakeProvider, deployment: Deployment) -> None:
    deployment.serves(fake.url, model("openai"))
    fake.plays[HAIKU] = replies(
        [{"type": "text", "text": "Be"}, {"type": "image"}, {"type": "text", "text": "cause."}]
    )

    assert answered().text == "Because."


def test_counts_that_are_no_counts_are_left_out(fake: FakeProvider, deployment: Deployment) -> None:
    deployment.serves(fake.url, model("openai"))
    odd = {"prompt_tokens": -1, "completion_tokens": "many", "total_tokens": True}
    fake.plays[HAIKU] = lambda _: Played(completion("Because.") | {"usage": odd, "model": ["x"]})

    made = answered()

    assert (made.prompt_tokens, made.completion_tokens, made.total_tokens) == (None, None, None)
    assert made.runtime_model is None


@pytest.mark.parametrize(
    "models",
    [
        "{",
        "[]",
        '{"a": 1}',
        '{"a": {}}',
        '{"a": {"provider": "unknown"}}',
        '{"a": {"provider": "openai"}}',
        '{"a": {"provider": "echo", "colour": "green"}}',
        '{"a": {"provider": "echo", "defaults": {"temperature": "hot"}}}',
    ],
)
def test_a_configuration_that_cannot_be_used_reports_it(deployment: Deployment, models: str) -> None:
    deployment.has(MODELS=models)

    with pytest.raises(ConfigurationError, match="MODELS cannot be used"):
        configuration.configuration()


def test_models_may_stand_in_a_file(deployment: Deployment, tmp_path: Path) -> None:
    file = tmp_path / "models.json"
    file.write_text(
        '{"a": {"provider": "bedrock", "id": "b", "max_output_tokens": 5}, "*": {"provider": "echo"}}'
    )
    deployment.has(MODELS_FILE=str(file))

    named, other = configuration.model_named("a"), configuration.model_named("claude-3-haiku-20240307")

    assert named is not None
    assert (named.provider, named.id, named.max_output_tokens) == ("bedrock", "b", 5)
    assert other is not None
    assert (other.provider, other.id, other.max_output_tokens) == ("echo", "claude-3-haiku-20240307", 4096)


# What goes wrong

BEDROCK_PATH = HAIKU.replace(":", "%3A")


def refusal(code: str, status: int) -> Any:
    return lambda _: Played({"message": "key sk-1 is wrong"}, status, {"x-amzn-errortype": code})


@pytest.mark.parametrize(
    ("play", "code"),
    [
        (refusal("AccessDeniedException", 403), ErrorCode.MODEL_NOT_ENABLED),
        (refusal("ResourceNotFoundException", 404), ErrorCode.MODEL_NOT_ENABLED),
        (refusal("ValidationException", 400), ErrorCode.PROVIDER_ERROR),
        (refusal("ModelTimeoutException", 408), ErrorCode.TIMEOUT),
        (refusal("ModelErrorException", 424), ErrorCode.PROVIDER_ERROR),
        (refusal("InternalServerException", 500), ErrorCode.PROVIDER_ERROR),
        (lambda _: Played(b"<html>"), ErrorCode.PROVIDER_ERROR),
        (lambda _: Played(b""), ErrorCode.PROVIDER_ERROR),
        (lambda _: Played({}), ErrorCode.PROVIDER_ERROR),
        (lambda _: Played({"output": {"message": {"content": "text"}}}), ErrorCode.PROVIDER_ERROR),
        (lambda _: Played(converse()), ErrorCode.PROVIDER_ERROR),
        (lambda _: Played(converse("x" * 5_000_000)), ErrorCode.ANSWER_TOO_LONG),
        (lambda _: Played(b'{"output": {"message"', cut=True), ErrorCode.PROVIDER_ERROR),
    ],
)
def test_what_bedrock_refuses_has_a_code_and_no_text_of_the_provider(
    fake: FakeProvider, deployment: Deployment, play: Any, code: ErrorCode
) -> None:
    deployment.serves(fake.url, model("bedrock"))
    fake.plays[BEDROCK_PATH] = play

    error = failed()

    assert error.code == code
    assert "sk-1" not in error.detail
    assert len(fake.requests) == 1, "a slow model is not paid twice"


@pytest.mark.parametrize("code", ["ThrottlingException", "ModelNotReadyException"])
def test_bedrock_without_capacity_is_asked_again(
    fake: FakeProvider, deployment: Deployment, code: str
) -> None:
    deployment.serves(fake.url, model("bedrock"))
    fake.plays[BEDROCK_PATH] = in_turn(refusal(code, 429), lambda _: Played(converse("at last")))

    assert answered().text == "at last"


@pytest.mark.parametrize("kind", KINDS)
def test_throttling_lasts_no_longer_than_there_is_time(
    fake: FakeProvider, deployment: Deployment, pauses: list[float], kind: str
) -> None:
    deployment.serves(fake.url, model(kind))
    throttled = refusal("ThrottlingException", 429)
    fake.plays = {HAIKU: throttled, BEDROCK_PATH: throttled}

    assert failed().code == ErrorCode.THROTTLED
    assert 0 < sum(pauses) < 60


@pytest.mark.parametrize("kind", KINDS)
def test_a_provider_that_is_not_reachable_is_an_error(deployment: Deployment, kind: str) -> None:
    deployment.serves(f"http://127.0.0.1:{free_port()}", model(kind))

    assert failed().code == ErrorCode.PROVIDER_ERROR


@pytest.mark.parametrize("kind", KINDS)
def test_no_provider_is_asked_when_the_time_is_up(
    fake: FakeProvider, deployment: Deployment, kind: str
) -> None:
    deployment.serves(fake.url, model(kind))

    assert failed(0).code == ErrorCode.TIMEOUT
    assert fake.requests == []


def test_a_provider_that_sends_a_byte_now_and_then_does_not_outlast_the_deadline(
    fake: FakeProvider, deployment: Deployment
) -> None:
    deployment.serves(fake.url, model("openai"))
    parts: list[Part] = [b" ", 0.05] * 30
    parts.append(json.dumps(completion("a second late")).encode())
    fake.plays[HAIKU] = lambda _: Played(b"", parts=parts)

    assert failed(0.5).code == ErrorCode.TIMEOUT


# Knowledge


def retrieved(*found: dict[str, Any]) -> Any:
    return lambda _: Played({"retrievalResults": list(found)})


def excerpt(text: str, score: float, knowledge_id: int) -> dict[str, Any]:
    return {
        "content": {"text": text, "type": "TEXT"},
        "location": {"type": "S3", "s3Location": {"uri": f"s3://knowledge/{knowledge_id}"}},
        "score": score,
        "metadata": {"knowledge_id": knowledge_id},
    }


def test_excerpts_are_retrieved_by_the_sessions_knowledge(fake: FakeProvider, deployment: Deployment) -> None:
    deployment.serves(fake.url, {})
    deployment.has(KNOWLEDGE_BASE_ID="KB12345678")
    fake.plays["KB12345678"] = retrieved(excerpt("Green." * 1000, 0.9, 7), excerpt("Noise.", 0.1, 8))

    made = knowledge.retrieve("Why?" * 1000, [7, 8])

    [request] = fake.requests
    assert request["retrievalQuery"] == {"text": ("Why?" * 1000)[:1000]}
    search = request["retrievalConfiguration"]["vectorSearchConfiguration"]
    assert search["filter"] == {"in": {"key": "knowledge_id", "value": [7, 8]}}
    assert made.excerpts == [("Green." * 1000)[:2000]]
    assert made.sources == [{"uri": "s3://knowledge/7", "score": 0.9, "knowledge_id": 7}]
    assert made.usage_entry() == {
        "used": True,
        "retrieved_count": 1,
        "top_k": 5,
        "threshold": 0.4,
        "knowledge_ids": [7, 8],
    }


@pytest.mark.parametrize(
    "play",
    [
        lambda _: Played({"message": "boom"}, 500),
        lambda _: Played(b"<html>"),
        lambda _: Played({}),
        retrieved({"content": {}}),
    ],
)
def test_when_retrieval_fails_the_turn_goes_on_and_reports_it(
    fake: FakeProvider, deployment: Deployment, play: Any
) -> None:
    deployment.serves(fake.url, {})
    deployment.has(KNOWLEDGE_BASE_ID="KB12345678")
    fake.plays["KB12345678"] = play

    made = knowledge.retrieve("Why?", [7])

    assert (made.used, made.excerpts, made.sources, made.knowledge_ids) == (False, [], [], [7])


@pytest.mark.parametrize(("base", "ids"), [("", [7]), ("KB12345678", [])])
def test_without_a_knowledge_base_or_ids_nothing_is_retrieved(
    fake: FakeProvider, deployment: Deployment, base: str, ids: list[int]
) -> None:
    deployment.serves(fake.url, {})
    deployment.has(KNOWLEDGE_BASE_ID=base)

    assert knowledge.retrieve("Why?", ids).used is False
    assert fake.requests == []


# In the functions


@pytest.fixture(params=[True, False], ids=["streamed", "whole"])
def lesson(
    ada: Learner,
    fake: FakeProvider,
    deployment: Deployment,
    announce: Callable[..., Any],
    request: pytest.FixtureRequest,
) -> dict[str, Any]:
    """What a learner asks two providers, one of them with a key, with knowledge."""
    streams = {"streams": request.param}
    gpt = {"provider": "openai", "id": "gpt", "key": "acme", **streams}
    deployment.serves(fake.url, {**model("bedrock", **streams), "gpt": gpt})
    deployment.has(PROVIDER_KEYS='{"acme": "sk-1"}', KNOWLEDGE_BASE_ID="KB12345678")
    fake.plays[BEDROCK_PATH] = lambda _: Played(converse("Because."))
    fake.plays["KB12345678"] = retrieved(excerpt("Green.", 0.9, 7))
    announce(ada.user_id, "claude", "gpt")
    return {"class_id": ada.user_id, "knowledge_ids": [7]}


def asked(fake: FakeProvider) -> set[str]:
    models = {request["model"] for request in fake.requests}
    fake.requests.clear()
    return models


def test_every_function_that_asks_models_reaches_every_provider(
    ada: Learner, fake: FakeProvider, lesson: dict[str, Any], stack: Stack
) -> None:
    everything = {BEDROCK_PATH, "gpt", "KB12345678"}

    run = ada.post(
        f"/sessions/run?class_id={lesson['class_id']}", {"prompt_text": "Why?", "knowledge_ids": [7]}
    )
    assert (run.status, asked(fake)) == (201, everything), run.body
    session = ada.open_session(**lesson)
    chat = f"/sessions/{session['session_id']}/chat"
    assert (ada.post(chat, {"prompt_text": "Why?"}).status, asked(fake)) == (201, everything)
    deliveries.of(stack)
    fake.requests.clear()
    assert ada.post(chat, {"prompt_text": "Why?"}, headers={"prefer": "respond-async"}).status == 202
    deliveries.of(stack)
    assert asked(fake) == everything


@pytest.mark.parametrize("writer", ["claude", "gpt"])
def test_a_title_is_written_by_any_provider(
    ada: Learner,
    fake: FakeProvider,
    lesson: dict[str, Any],
    stack: Stack,
    deployment: Deployment,
    writer: str,
) -> None:
    deployment.has(TITLE_MODEL=writer)
    delivered = deliveries.of(stack)
    ada.add_response(ada.open_session(**lesson))

    delivered.run()

    assert asked(fake) == {BEDROCK_PATH if writer == "claude" else "gpt"}


# The stand-in that strangers wrote


@pytest.fixture(scope="module")
def aimock_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    why = answer("Why?", content="Because of Rayleigh scattering.", reasoning="The sky?")
    cut = answer("Cut?", content="Because of Rayleigh scattering.") | {"truncateAfterChunks": 3}
    with aimock(tmp_path_factory.mktemp("aimock"), why, cut) as url:
        yield url


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_aimock_answers(aimock_url: str, deployment: Deployment, kind: str, streams: bool) -> None:
    chaos(aimock_url)
    deployment.serves(aimock_url, model(kind, streams=streams))

    made = answered()

    assert (made.text, made.has_thinking) == ("Because of Rayleigh scattering.", True)
    assert (made.first_token_ms is not None) is streams


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_of_aimock_that_breaks_is_an_error(
    aimock_url: str, deployment: Deployment, kind: str
) -> None:
    chaos(aimock_url)
    deployment.serves(aimock_url, model(kind))
    draft = Draft()

    with pytest.raises(ProviderError) as raised:
        ask.write(draft, "claude", Prompt("", [], [], "Cut?"), {}, Deadline.after(60))

    assert raised.value.code == ErrorCode.PROVIDER_ERROR
    draft.end()
    assert "Because of Rayleigh scattering.".startswith(draft.completion().text)
    assert not draft.is_whole


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("rates", "code"),
    [
        ({"dropRate": 1}, ErrorCode.PROVIDER_ERROR),
        ({"malformedRate": 1}, ErrorCode.PROVIDER_ERROR),
        ({"disconnectRate": 1}, ErrorCode.PROVIDER_ERROR),
        ({"rateLimitRate": 1}, ErrorCode.THROTTLED),
    ],
    ids=["500", "malformed", "cut", "429"],
)
@pytest.mark.usefixtures("pauses")
def test_faults_of_aimock_are_errors(
    aimock_url: str, deployment: Deployment, kind: str, rates: dict[str, float], code: ErrorCode
) -> None:
    chaos(aimock_url, **rates)
    deployment.serves(aimock_url, model(kind))

    assert failed().code == code


def test_a_slow_first_byte_of_aimock_is_a_timeout(aimock_url: str, deployment: Deployment) -> None:
    chaos(aimock_url, latencyMs=3000)
    deployment.serves(aimock_url, model("openai"))

    assert failed(0.5).code == ErrorCode.TIMEOUT
