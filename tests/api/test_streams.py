"""Answers that providers stream: what is read of a stream, what is kept when it is cut, and what followers of a turn see."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from math import inf
from typing import Any, cast
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from local.stack import Stack
from practice.schemas.response import Response
from practice.schemas.turn import AskedModel, FinishReason, TurnError
from practice.store import turns
from practice.store.turn_state import TurnState
from practice.turns import ask, configuration, run, worker
from practice.turns.draft import Draft
from practice.turns.live import Live
from practice.turns.providers import Completion, bedrock, openai
from practice.turns.thinking import ThinkingFilter, without_thinking
from tests.support import deliveries
from tests.support.learners import Learner, made
from tests.support.processes import SECONDS, time_is_up_after
from tests.support.providers import (
    EVENT_STREAM_HEADERS,
    SSE_HEADERS,
    FakeProvider,
    Part,
    Play,
    Played,
    chunk,
    completion,
    event_stream,
    in_turn,
    replies,
    sse,
)

Chat = Callable[..., dict[str, Any]]
HAIKU = "anthropic.claude-3-haiku-20240307-v1:0"
HAIKU_PATH = quote(HAIKU, safe="")
USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


class Watching:
    """Stands before the followers of a turn, and notes what they learn of each model."""

    def __init__(self) -> None:
        self._live: Any = None
        self.events: list[tuple[str, str, str]] = []
        self.first_piece, self.second_piece = threading.Event(), threading.Event()

    def wrote(self, asked: AskedModel, piece: str) -> None:
        assert piece
        self.events.append((asked.model_name, "wrote", piece))
        self._live.wrote(asked, piece)
        if asked.model_name == "m":
            (self.second_piece if self.first_piece.is_set() else self.first_piece).set()

    def restarted(self, asked: AskedModel) -> None:
        self.events.append((asked.model_name, "restarted", ""))
        self._live.restarted(asked)

    def answered(self, asked: AskedModel, response: Response, sent: dict[str, Any]) -> None:
        assert self.text(asked.model_name) == response.response_text
        self.events.append((asked.model_name, "answered", response.response_text))
        self._live.answered(asked, response, sent)

    def failed(self, asked: AskedModel, error: TurnError) -> None:
        self.events.append((asked.model_name, "failed", error.code))
        self._live.failed(asked, error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._live, name)

    def run_turn(self, user_id: int, state: TurnState, *others: Any) -> TurnState:
        background, deadline, self._live = others
        return run.run_turn(user_id, state, background, deadline, cast("Live", self))

    def kinds(self, model: str = "m") -> list[str]:
        """Without repetitions."""
        kinds = [kind for name, kind, _ in self.events if name == model]
        return [kind for index, kind in enumerate(kinds) if kinds[index - 1 : index] != [kind]]

    def text(self, model: str = "m") -> str:
        """Of the last answer."""
        text, before = "", ""
        for kind, piece in [(kind, piece) for name, kind, piece in self.events if name == model]:
            text = "" if kind == "restarted" or before in ("answered", "failed") else text
            text, before = text + (piece if kind == "wrote" else ""), kind
        return text


@pytest.fixture
def fake() -> Iterator[FakeProvider]:
    with FakeProvider() as provider:
        yield provider


@pytest.fixture
def watching(monkeypatch: pytest.MonkeyPatch) -> Watching:
    """Of every turn that begins in this test."""
    follower = Watching()
    monkeypatch.setattr(worker, "run_turn", follower.run_turn)
    return follower


@pytest.fixture
def serve(
    fake: FakeProvider, class_of: Callable[..., int], stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., int]]:
    """Configures these models and announces a class of them."""

    def configure(**entries: dict[str, Any]) -> int:
        for entry in entries.values():
            if entry.setdefault("provider", "openai") == "openai":
                entry["base_url"] = f"{fake.url}/v1"
        monkeypatch.setenv("MODELS", json.dumps(entries))
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", fake.url)
        monkeypatch.setattr(ask, "FIRST_PAUSE_SECONDS", 0.01)
        configuration.clear_cache()
        bedrock.clear_cache()
        return class_of(*entries)

    yield configure
    monkeypatch.undo()
    configuration.clear_cache()
    bedrock.clear_cache()


@pytest.fixture
def chat(ada: Learner, watching: Watching, serve: Callable[..., int]) -> Chat:
    """Runs turns of one session with a model `m`: the last one's result, or its entry of `errors`."""

    def turns(*prompts: str, **entry: Any) -> dict[str, Any]:
        class_id = serve(m=entry)
        answer = ada.post(f"/sessions/run?class_id={class_id}", {"prompt_text": "Why?"})
        for prompt in prompts:
            answer = ada.post(f"/sessions/{answer.json['session_id']}/chat", {"prompt_text": prompt})
        assert answer.status in (201, 502), answer.body
        [outcome] = answer.json.get("results", []) + answer.json["errors"]
        return {"session_id": answer.json["session_id"], **outcome}

    return turns


def stream(*parts: Part, cut: bool = False) -> Play:
    return lambda _: Played(b"", headers=SSE_HEADERS, parts=parts, cut=cut)


def events(*each: object, end: bytes = b"\n\n") -> Play:
    return stream(*sse(*each, end=end))


def raw(text: str) -> str:
    """An event with bytes that are no UTF-8, as `surrogateescape` keeps them."""
    escaped = re.sub(
        "[\ud800-\udc7f\udd00-\udfff]",
        lambda half: f"\\u{ord(half.group()):04x}",
        json.dumps(text, ensure_ascii=False),
    )
    return f'{{"choices":[{{"delta":{{"content":{escaped}}}}}]}}'


PARIS, IS_IT = chunk("Paris"), chunk(" it is.")
STOP = chunk(finish="stop")
COUNTED = {"choices": [], "usage": USAGE}
GOOD = (*sse(PARIS, IS_IT, STOP, COUNTED, "[DONE]"),)


OK = {"status": 200}
UPSTREAM = {"code": "502", "type": "upstream"}


# What is read of a stream


@pytest.mark.parametrize(
    ("play", "tokens"),
    [
        (stream(*GOOD), 7),
        (stream(b"".join(GOOD)), 7),
        (events(PARIS, IS_IT, STOP, "[DONE]"), None),
        (events(PARIS, IS_IT, STOP), None),
        (events(PARIS, IS_IT, STOP | {"usage": USAGE}, "[DONE]"), 7),
        (events(PARIS | {"usage": {"total_tokens": 1}}, IS_IT | {"usage": None}, STOP, COUNTED), 7),
        (events(PARIS, IS_IT, STOP, COUNTED, "[DONE]", chunk(" Not."), {"error": {"code": 1}}), 7),
        (stream(*GOOD, inf), 7),
        (events(PARIS, IS_IT, STOP, COUNTED, "[DONE]", end=b"\r\n\r\n"), 7),
        (events(PARIS, IS_IT, STOP, COUNTED, "[DONE]", end=b"\r\r"), 7),
        (events(PARIS, IS_IT, STOP, COUNTED, "[DONE]", end=b"\n"), 7),
        (stream(b"".join(GOOD).rstrip()), 7),
        (stream(b"\xef\xbb\xbf\n\n", *GOOD), 7),
        (stream(b": keep-alive\n\n", 0.01, GOOD[0], b":\n\n", b"retry: 5\n\n", *GOOD[1:]), 7),
        (stream(*(each.replace(b"data: ", b"id: 1\nevent: message\ndata:") for each in GOOD)), 7),
        (stream(*(each.replace(b', "', b',\ndata: "') for each in GOOD)), 7),
        (lambda _: Played(b"", headers=SSE_HEADERS | {"content-type": "text/plain"}, parts=GOOD), 7),
        (
            events(
                {"choices": [], "prompt_filter_results": []}, PARIS, {"choices": [{}]}, IS_IT, STOP, COUNTED
            ),
            7,
        ),
        (
            events(
                {"choices": None},
                PARIS,
                {"choices": [None]},
                {"choices": [{"delta": None}]},
                IS_IT,
                STOP,
                COUNTED,
            ),
            7,
        ),
        (events(PARIS, {"choices": [{"index": 1, "delta": {"content": "Rome"}}]}, IS_IT, STOP, COUNTED), 7),
        (events(chunk([{"type": "text", "text": "Paris"}]), IS_IT, STOP, COUNTED), 7),
        (events(completion("Paris it is."), "[DONE]"), 7),
        (lambda _: Played(json.dumps(completion("Paris it is.")).encode()), 7),
        (stream(b"\n \n", json.dumps(completion("Paris it is.")).encode()), 7),
        (stream(*sse(PARIS, IS_IT, STOP), cut=True), None),
        (events(PARIS, IS_IT, STOP, COUNTED, {"error": {"code": 500}}), 7),
        (events(PARIS, IS_IT, STOP, "{"), None),
    ],
)
def test_a_whole_stream_is_an_answer(
    chat: Chat, fake: FakeProvider, watching: Watching, play: Play, tokens: int | None
) -> None:
    fake.plays["m"] = play

    result = chat()

    assert result["response_text"] == "Paris it is.", result
    assert result["token_usage"]["_gf"]["finish_reason"] == "stop"
    assert result["token_usage"]["total_tokens"] == tokens
    assert watching.kinds() == ["wrote", "answered"]
    assert fake.asked() == {"m": 1}


@pytest.mark.parametrize(
    ("each", "text", "finish"),
    [
        ((chunk("  Par"), chunk("is \n"), STOP), "  Paris \n", "stop"),
        ((chunk("Par"), chunk(finish="length")), "Par", "length"),
        ((chunk("Par", finish="content_filter"),), "Par", "content_filter"),
        ((chunk("Par"), chunk(tool_calls=[{}], finish="tool_calls")), "Par", "other"),
        ((chunk("Par"), "[DONE]"), "Par", "other"),
        ((chunk(refusal="I must"), chunk(refusal=" not."), STOP), "I must not.", "content_filter"),
        ((chunk("\ud83d"), chunk("\ude00!"), STOP), "\U0001f600!", "stop"),
        ((chunk("a\ud83d"), chunk(""), chunk("b\x00\x07"), chunk("\ud83d"), STOP), "a\ufffdb\ufffd\ufffd\ufffd", "stop"),
        ((raw("\udcf0\udc9f"), raw("\udc98\udc80"), STOP), "\U0001f600", "stop"),
        ((raw("a\udcf0\udc9f"), chunk("b"), raw("\udce2"), STOP), "a\ufffdb\ufffd", "stop"),
        ((chunk("<th"), chunk("ink>Hm</thi"), chunk("nk>\n"), chunk("\nParis"), STOP), "Paris", "stop"),
        ((chunk(" <th"), chunk("e>"), STOP), " <the>", "stop"),
        ((chunk("Paris <thi"), STOP), "Paris <thi", "stop"),
        ((chunk(reasoning_content="Hm"), chunk(None, reasoning="Hm"), chunk("Paris"), STOP), "Paris", "stop"),
        ((chunk([{"type": "thinking", "thinking": []}]), chunk("Paris"), STOP), "Paris", "stop"),
    ],
)  # fmt: skip
def test_the_pieces_are_the_text_that_is_stored(
    chat: Chat, fake: FakeProvider, ada: Learner, watching: Watching, each: Any, text: str, finish: str
) -> None:
    fake.plays["m"] = events(*each)

    result = chat()

    assert (result["response_text"], watching.text()) == (text, text)
    assert result["token_usage"]["_gf"]["finish_reason"] == finish
    stored = made(ada.get(f"/responses/{result['response_id']}"), 200)
    assert stored["response_text"] == text
    assert 0 <= stored["token_usage"]["_gf"]["first_token_ms"] <= stored["latency_ms"]


@pytest.mark.parametrize(
    ("each", "outcome"),
    [
        ((chunk("Hm"), chunk(" hm</thi"), chunk("nk>\n\nParis"), chunk("."), STOP), "Paris."),
        ((chunk("<think>Hm</think>"), chunk("Paris"), STOP), "Paris"),
        ((chunk(reasoning_content="Hm"), chunk("Par"), chunk("is"), chunk(finish="length")), "Paris"),
        ((chunk("Paris"), STOP), "Paris"),
        ((chunk("Hm"), chunk(finish="length")), "only_reasoning"),
    ],
)
def test_no_thinking_is_shown_of_a_model_whose_template_opens_it(
    chat: Chat, fake: FakeProvider, watching: Watching, each: Any, outcome: str
) -> None:
    fake.plays["DeepSeek-R1-Distill-Qwen-7B"] = events(*each)

    made_of_it = chat(id="DeepSeek-R1-Distill-Qwen-7B")

    assert made_of_it.get("response_text", made_of_it.get("code")) == outcome
    assert watching.kinds() == (["failed"] if outcome == "only_reasoning" else ["wrote", "answered"])


@pytest.mark.parametrize(
    ("play", "code", "reason"),
    [
        (stream(*sse(PARIS), cut=True), "provider_error", None),
        (stream(*sse(PARIS)[0:1], b'data: {"choices":[{"del', cut=True), "provider_error", None),
        (events(PARIS, IS_IT), "provider_error", None),
        (events(PARIS, {"error": {"message": "sk-1"} | UPSTREAM}), "provider_error", OK | UPSTREAM),
        (events(PARIS, {"error": "sk-1 is wrong"}), "provider_error", OK),
        (events(PARIS, {"object": "error", "message": "sk-1", "code": 500}), "provider_error", OK | {"code": "500"}),
        (stream(*sse(PARIS), b"event: error\n", *sse({"type": "oops", "a": 1})), "provider_error", OK | {"type": "oops"}),
        (events(PARIS, chunk(finish="error")), "provider_error", OK | {"code": "error"}),
        (events(PARIS, {"choices": [{"index": 0, "error": {"code": 524}}]}), "provider_error", OK | {"code": "524"}),
        (events(PARIS, {"error": {"code": "insufficient_quota"}}), "quota_exhausted", OK | {"code": "insufficient_quota"}),
        (events(PARIS, "<html>"), "provider_error", None),
        (events(PARIS, "[1]"), "provider_error", None),
        (events(chunk(7)), "provider_error", None),
        (events({"choices": ["x"]}), "provider_error", None),
        (events({"choices": 7}), "provider_error", None),
        (stream(b"<html>"), "provider_error", None),
        (stream(), "provider_error", None),
        (events("[DONE]"), "provider_error", {"code": "other"}),
        (events(STOP), "provider_error", None),
        (events(chunk(" \n"), STOP), "provider_error", None),
        (events(chunk(reasoning_content="Hm"), STOP), "only_reasoning", None),
        (events(chunk("<think>Hm"), chunk(finish="length")), "only_reasoning", None),
        (events(*[chunk("x" * 50_000)] * 21, chunk("x" * 50_000), inf), "answer_too_long", None),
        (stream(*[b"x" * 1_000_000] * 9, inf), "answer_too_long", None),
        (stream(*[b"data: " + b"x" * 1_000_000 + b"\n"] * 9, inf), "answer_too_long", None),
        (stream(b"{", *[b" " * 1_000_000] * 9, inf), "answer_too_long", None),
    ],
)  # fmt: skip
def test_what_is_no_whole_stream_is_no_answer(
    chat: Chat, fake: FakeProvider, ada: Learner, watching: Watching, play: Play, code: str, reason: Any
) -> None:
    fake.plays["m"] = play

    failed = chat()

    assert (failed.get("code"), failed.get("reason")) == (code, reason), failed
    assert "sk-1" not in json.dumps(failed)
    assert watching.kinds()[-1] == "failed"
    assert ada.get(f"/sessions/{failed['session_id']}").json["responses"] == []
    assert fake.asked() == {"m": 1}


def test_an_unending_stream_of_thinking_takes_no_memory_and_ends_with_the_time(
    chat: Chat, fake: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "MARGIN_SECONDS", 28.0)
    thinking = sse(chunk("<think>"), *[chunk(reasoning_content="x" * 5000), chunk("y" * 5000)] * 200)
    fake.plays["m"] = stream(*thinking, inf)

    assert chat()["code"] == "timeout"


# Asked again


@pytest.mark.parametrize(
    "busy",
    [
        {"error": {"code": 429, "message": "later"}},
        {"error": {"code": "rate_limit_exceeded", "type": "tokens"}},
        {"error": {"type": "overloaded_error", "message": "Overloaded"}},
        {"error": {"code": 503, "status": "UNAVAILABLE"}},
    ],
)
def test_what_was_shown_before_a_service_got_busy_is_void(
    chat: Chat, fake: FakeProvider, watching: Watching, busy: Any
) -> None:
    fake.plays["m"] = in_turn(events(PARIS, busy), replies("Rome."))

    assert chat()["response_text"] == "Rome."
    assert watching.kinds() == ["wrote", "restarted", "wrote", "answered"]


NAMED = {
    "param": "stream_options",
    "code": "unknown_parameter",
    "message": "no",
    "type": "invalid_request_error",
}
EXTRA = {
    "detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options", "include_usage"], "msg": "no"}]
}
GROQ = "property 'stream_options' is unsupported, did you mean 'stream'?"
O1 = {"param": "stream", "code": "unsupported_value", "message": "no", "type": "invalid_request_error"}


@pytest.mark.parametrize(
    ("status", "body", "left"),
    [
        (400, {"error": NAMED}, ["stream"]),
        (
            422,
            {"object": "error", "message": EXTRA, "type": "invalid_request_error", "param": None},
            ["stream"],
        ),
        (400, {"error": {"message": GROQ, "type": "invalid_request_error"}}, ["stream"]),
        (400, {"error": {"message": "Validation error at #/stream_options: no"}}, ["stream"]),
        (400, {"error": O1}, []),
        (422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "stream"], "msg": "no"}]}, []),
    ],
)
def test_a_service_that_refuses_to_stream_is_asked_without_it_from_then_on(
    chat: Chat, fake: FakeProvider, status: int, body: Any, left: list[str]
) -> None:
    fake.plays["m"] = in_turn(lambda _: Played(body, status), replies("Paris."))

    result = chat("And?")

    assert (result["response_text"], result["generation_params"]) == ("Paris.", {})
    sent = [[name for name in ("stream", "stream_options") if name in each] for each in fake.requests]
    assert sent == [["stream", "stream_options"], left, left]


def test_a_bad_request_that_repeats_what_was_sent_is_no_refusal_to_stream(
    chat: Chat, fake: FakeProvider
) -> None:
    def repeats(request: dict[str, Any]) -> Played:
        return Played({"error": {"message": "too long", "type": "bad"}, "request": request}, 400)

    fake.plays["m"] = in_turn(repeats, repeats, replies("Paris."))

    result = chat("And?")

    assert result["response_text"] == "Paris."
    assert ["stream_options" in each for each in fake.requests] == [True, False, True]


def test_a_service_that_cannot_stream_is_asked_for_the_whole(
    chat: Chat, fake: FakeProvider, watching: Watching
) -> None:
    result = chat(streams=False)

    assert "stream" not in fake.requests[0]
    assert result["response_text"] == watching.text() == "m says so"
    assert "first_token_ms" not in result["token_usage"]["_gf"]


@pytest.mark.parametrize("streams", [True, False])
def test_echo_writes_word_by_word(chat: Chat, watching: Watching, streams: bool) -> None:
    result = chat(provider="echo", streams=streams)

    pieces = [piece for _, kind, piece in watching.events if kind == "wrote"]
    assert "".join(pieces) == result["response_text"]
    assert len(pieces) == (len(result["response_text"].split()) if streams else 1)
    assert ("first_token_ms" in result["token_usage"]["_gf"]) is streams


# Bedrock


def delta(**fields: Any) -> tuple[str, object]:
    return "contentBlockDelta", {"contentBlockIndex": 0, "delta": fields}


START = ("messageStart", {"role": "assistant"})
EMPTY_BLOCK = ("contentBlockStart", {"start": {}, "contentBlockIndex": 0})
END = ("messageStop", {"stopReason": "end_turn"})
METADATA = (
    "metadata",
    {"usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7}, "metrics": {"latencyMs": 5}},
)


def converse(*frames: Part, cut: bool = False) -> Play:
    return lambda _: Played(b"", headers=EVENT_STREAM_HEADERS, parts=frames, cut=cut)


def exception(name: str) -> bytes:
    return event_stream((name, {"message": "key sk-1"}), kind="exception")[0]


@pytest.mark.parametrize(
    ("frames", "cut", "tokens"),
    [
        (event_stream(START, delta(text="Par"), delta(text="is."), END, METADATA), False, 7),
        (event_stream(delta(reasoningContent={"text": "Hm"}), delta(text="Paris."), END, METADATA), False, 7),
        (event_stream(EMPTY_BLOCK, delta(text="Paris."), END, METADATA), False, 7),
        (event_stream(delta(text="<think>Hm</th"), delta(text="ink>\n\nParis."), END), False, None),
        (event_stream(delta(text="Paris."), END), True, None),
        ([*event_stream(delta(text="Paris."), END), exception("internalServerException")], False, None),
        ([b"".join(event_stream(delta(text="Paris."), END, METADATA))], False, 7),
        ([bytes([each]) for each in b"".join(event_stream(delta(text="Paris."), END, METADATA))], False, 7),
    ],
)  # fmt: skip
def test_a_whole_stream_of_bedrock_is_an_answer(
    chat: Chat, fake: FakeProvider, watching: Watching, frames: Any, cut: bool, tokens: int | None
) -> None:
    fake.plays[HAIKU_PATH] = converse(*frames, cut=cut)

    result = chat(provider="bedrock", id=HAIKU)

    assert (result["response_text"], watching.text()) == ("Paris.", "Paris.")
    assert result["token_usage"]["_gf"]["finish_reason"] == "stop"
    assert "first_token_ms" in result["token_usage"]["_gf"]
    assert result["token_usage"]["total_tokens"] == tokens


PAR = event_stream(delta(text="Par"))


@pytest.mark.parametrize(
    ("frames", "cut", "code", "reason"),
    [
        (PAR, False, "provider_error", None),
        (PAR, True, "provider_error", None),
        ([*PAR, event_stream(END)[0][:20]], True, "provider_error", None),
        ([*PAR, event_stream(END)[0][:-1] + b"x"], False, "provider_error", None),
        ([*PAR, *event_stream(("contentBlockDelta", b"{"))], False, "provider_error", None),
        ([*PAR, exception("modelStreamErrorException")], False, "provider_error", "ModelStreamErrorException"),
        ([*PAR, exception("internalServerException")], False, "provider_error", "InternalServerException"),
        ([*PAR, exception("validationException")], False, "provider_error", "ValidationException"),
        (event_stream(delta(reasoningContent={"text": "Hm"}), END), False, "only_reasoning", None),
        (event_stream(delta(text="x" * 1_100_000)), False, "answer_too_long", None),
    ],
)  # fmt: skip
def test_what_is_no_whole_stream_of_bedrock_is_no_answer(
    chat: Chat, fake: FakeProvider, watching: Watching, frames: Any, cut: bool, code: str, reason: Any
) -> None:
    fake.plays[HAIKU_PATH] = converse(*frames, cut=cut)

    failed = chat(provider="bedrock", id=HAIKU)

    assert (failed.get("code"), (failed.get("reason") or {}).get("code")) == (code, reason), failed
    assert "sk-1" not in json.dumps(failed)
    assert watching.kinds()[-1] == "failed"
    assert fake.asked() == {HAIKU_PATH: 1}


def test_what_bedrock_wrote_before_it_got_busy_is_void(
    chat: Chat, fake: FakeProvider, watching: Watching
) -> None:
    fake.plays[HAIKU_PATH] = in_turn(
        converse(*PAR, exception("throttlingException")),
        converse(*event_stream(delta(text="Rome."), END, METADATA)),
    )

    assert chat(provider="bedrock", id=HAIKU)["response_text"] == "Rome."
    assert watching.kinds() == ["wrote", "restarted", "wrote", "answered"]


def test_a_model_of_bedrock_that_cannot_stream_is_asked_for_the_whole(chat: Chat, fake: FakeProvider) -> None:
    refusal = Played(
        {"message": "The model is unsupported for streaming."},
        400,
        {"x-amzn-errortype": "ValidationException"},
    )
    whole = {
        "output": {"message": {"role": "assistant", "content": [{"text": "Paris."}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7},
        "metrics": {"latencyMs": 5},
    }
    fake.plays[HAIKU_PATH] = in_turn(lambda _: refusal, lambda _: Played(whole))

    result = chat("And?", provider="bedrock", id=HAIKU)

    assert result["response_text"] == "Paris."
    assert "first_token_ms" not in result["token_usage"]["_gf"]
    assert fake.asked() == {HAIKU_PATH: 3}


# Cut by time or by a cancel


PARIS_AND_SILENCE = stream(b"".join(sse(PARIS, chunk(", as <thi"))), inf)


def test_what_was_written_when_the_time_is_up_is_kept(
    ada: Learner, fake: FakeProvider, watching: Watching, serve: Any
) -> None:
    fake.plays["m"] = in_turn(PARIS_AND_SILENCE, replies("Yes."))
    session = ada.open_session(class_id=serve(m={}, quick={}))
    path = f"/sessions/{session['session_id']}"

    with time_is_up_after(1, when=watching.second_piece):
        answer = made(ada.post(f"{path}/chat", {"prompt_text": "Capital?"}), 201)
    later = made(ada.post(f"{path}/chat", {"prompt_text": "Sure?"}), 201)

    kept = answer["results"][0]
    assert (kept["response_text"], answer["errors"]) == ("Paris, as <thi", [])
    assert kept["token_usage"]["_gf"]["finish_reason"] == "timeout"
    assert kept["token_usage"]["total_tokens"] is None
    assert watching.kinds()[:2] == ["wrote", "answered"]
    turn = ada.get(f"{path}/turns").json["items"][-2]
    assert (turn["status"], turn["results"], turn["errors"]) == ("done", answer["results"], [])
    assert later["results"][0]["response_text"] == "Yes."
    [asked] = [each for each in fake.requests if each["model"] == "m" and len(each["messages"]) > 1]
    assert [each["content"] for each in asked["messages"]] == ["Capital?", "Paris, as <thi", "Sure?"]


@pytest.mark.parametrize(
    "written", [(), (chunk(" \n"),), (chunk("<think>Hm"),), (chunk(reasoning_content="Hm"),)]
)
def test_without_visible_text_an_answer_that_is_late_is_an_error(
    ada: Learner, fake: FakeProvider, watching: Watching, serve: Any, written: Any
) -> None:
    fake.plays["m"] = stream(*sse(*written), inf)
    session = ada.open_session(class_id=serve(m={}, quick={}))

    with time_is_up_after(1):
        answer = made(ada.post(f"/sessions/{session['session_id']}/chat", {"prompt_text": "Why?"}), 201)

    assert [each["model_name"] for each in answer["results"]] == ["quick"]
    assert [(each["model_name"], each["code"]) for each in answer["errors"]] == [("m", "timeout")]
    assert watching.text().strip() == ""


def test_an_answer_that_was_whole_is_not_cut_by_a_connection_that_stays_open(
    ada: Learner, fake: FakeProvider, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished, add = threading.Event(), Draft.add

    def added(draft: Draft, part: Completion) -> None:
        add(draft, part)
        if draft.is_whole and "quick" not in draft.completion().text:
            finished.set()

    monkeypatch.setattr(Draft, "add", added)
    fake.plays["m"] = stream(*sse(PARIS, STOP), inf)
    session = ada.open_session(class_id=serve(m={}, quick={}))

    with time_is_up_after(1, when=finished):
        answer = made(ada.post(f"/sessions/{session['session_id']}/chat", {"prompt_text": "Why?"}), 201)

    assert answer["results"][0]["response_text"] == "Paris"
    assert answer["results"][0]["token_usage"]["_gf"]["finish_reason"] == "stop"


@pytest.mark.parametrize("has_died_before", [False, True])
def test_a_worker_keeps_it_too(
    ada: Learner, fake: FakeProvider, watching: Watching, serve: Any, stack: Stack, has_died_before: bool
) -> None:
    fake.plays["m"] = PARIS_AND_SILENCE
    session = ada.open_session(class_id=serve(m={}, quick={}))
    delivered = deliveries.of(stack)
    path = f"/sessions/{session['session_id']}/chat"
    queued = made(ada.post(path, {"prompt_text": "Why?"}, headers={"prefer": "respond-async"}), 202)
    if has_died_before:
        assert turns.claim(ada.user_id, queued["turn_id"], turns.Lease(-1, 60))

    with time_is_up_after(1, when=watching.second_piece):
        delivered.step_of("work_turn")

    turn = ada.get(f"/sessions/{session['session_id']}/turns/{queued['turn_id']}").json
    assert (turn["status"], turn["errors"]) == ("done", [])
    kept = turn["results"][0]
    assert (kept["response_text"], kept["token_usage"]["_gf"]["finish_reason"]) == (
        "Paris, as <thi",
        "timeout",
    )


def test_what_was_received_of_a_cut_answer_is_used(
    ada: Learner, fake: FakeProvider, watching: Watching, serve: Any
) -> None:
    fake.plays["m"] = stream(*sse(chunk("x" * 300), chunk("y" * 300)), inf)
    session = ada.open_session(class_id=serve(m={}, quick={}))

    with time_is_up_after(1, when=watching.second_piece):
        made(ada.post(f"/sessions/{session['session_id']}/chat", {"prompt_text": "Why?"}), 201)

    [day] = made(ada.get("/usage"), 200)["days"]
    [used] = [each for each in day["models"] if each["model_name"] == "m"]
    assert (used["turns"], used["answers"], used["completion_tokens"]) == (1, 1, 200)
    assert used["prompt_tokens"] > 0


@pytest.mark.parametrize("how", ["chat", "run", "worker"])
def test_what_was_written_when_a_turn_is_cancelled_is_kept(
    ada: Learner,
    fake: FakeProvider,
    watching: Watching,
    serve: Any,
    stack: Stack,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    monkeypatch.setattr(run, "POLL_SECONDS", 0.01)
    fake.plays |= {"m": PARIS_AND_SILENCE, "silent": stream(inf)}
    class_id = serve(m={}, silent={})
    session = ada.open_session(class_id=class_id)
    path = f"/sessions/{session['session_id']}"
    answers: list[Any] = []

    def begin() -> None:
        if how == "run":
            answers.append(ada.post(f"/sessions/run?class_id={class_id}", {"prompt_text": "Why?"}))
        elif how == "chat":
            answers.append(ada.post(f"{path}/chat", {"prompt_text": "Why?"}))
        else:
            delivered.step_of("work_turn")

    delivered = deliveries.of(stack)
    if how == "worker":
        made(ada.post(f"{path}/chat", {"prompt_text": "Why?"}, headers={"prefer": "respond-async"}), 202)
    thread = threading.Thread(target=begin)
    thread.start()
    assert watching.second_piece.wait(SECONDS)
    if how == "run":
        [path] = [f"/sessions/{each['session_id']}" for each in ada.get("/sessions?size=1").json["items"]]
    [turn] = ada.get(f"{path}/turns").json["items"]
    cancelled_at = time.monotonic()
    assert ada.delete(f"{path}/turns/{turn['turn_id']}").status == 204
    thread.join(SECONDS)

    assert time.monotonic() - cancelled_at < SECONDS
    shown = ada.get(f"{path}/turns/{turn['turn_id']}").json
    [kept] = shown["results"]
    assert (kept["model_name"], kept["response_text"]) == ("m", "Paris, as <thi")
    assert kept["token_usage"]["_gf"]["finish_reason"] == "cancelled"
    assert (shown["status"], [each["code"] for each in shown["errors"]]) == ("cancelled", ["cancelled"])
    if how != "worker":
        assert (answers[0].status, answers[0].json["results"]) == (201, [kept])


def test_a_cut_answer_takes_no_more_requests_than_a_whole_one(
    ada: Learner, fake: FakeProvider, watching: Watching, serve: Any, requests_to_table: Any
) -> None:
    session = ada.open_session(class_id=serve(m={}, quick={}), title="t")

    def cost() -> list[str]:
        with requests_to_table() as requests:
            made(ada.post(f"/sessions/{session['session_id']}/chat", {"prompt_text": "Why?"}), 201)
        return sorted(name for name, _ in requests)

    cost()
    whole = cost()
    fake.plays["m"] = PARIS_AND_SILENCE
    watching.second_piece.clear()
    with time_is_up_after(1, when=watching.second_piece):
        cut = cost()

    assert cut == whole


# However a stream is split


TAGS = ["<think>", "</think>", "<Thinking>", "</thinking>", "<", "</", "th", "ink>"]
LETTERS = ["a", "é", "\U0001f600", " ", "\n", "\t", "\x00"]
HALVES = ["\ud83d", "\ude00", "\udcf0\udc9f", "\udc98\udc80", "\udcff"]
"""Of surrogate pairs, and of code points whose bytes are in a stream as they are."""
WRITTEN = st.lists(st.sampled_from([*TAGS, *LETTERS, *HALVES]), max_size=12)


@given(WRITTEN, st.booleans(), st.booleans(), st.data())
@example(["a", "</think>", "b"], True, False, None)
@example(["a", "</think>", "b"], True, True, None)
@example(["\ud83d", "\udcf0\udc9f", "\udc98\udc80"], False, False, None)
def test_however_an_answer_is_split_its_text_is_the_same(
    written: list[str], thinks: bool, is_open: bool, data: st.DataObject | None
) -> None:
    text = "".join(written)
    body = b"".join(sse(*map(raw, written), STOP, "[DONE]"))
    splits = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=20))) if data else range(len(body))
    pieces = [body[start:end] for start, end in zip([0, *splits], [*splits, len(body)], strict=True)]

    streamed = _read(openai._streamed(pieces), thinks=thinks, is_open=is_open)

    assert streamed == _read(openai._streamed([_whole(text)]), thinks=thinks, is_open=is_open)


def _whole(text: str) -> bytes:
    return b"".join(sse(raw(text), STOP, "[DONE]"))


def _read(parts: Any, *, thinks: bool, is_open: bool = False) -> str:
    shown: list[str] = []
    draft = Draft(shown.append, shown.clear)
    draft.begin({}, thinking=ThinkingFilter(thinks=thinks, is_open=is_open))
    for part in parts:
        draft.add(part)
    text = draft.completion(FinishReason.TIMEOUT).text
    assert "".join(shown) == text
    return text


@given(WRITTEN, st.booleans())
def test_thinking_is_withheld_piece_by_piece_as_from_the_whole(written: list[str], thinks: bool) -> None:
    written = [each for each in written if not "\ud800" <= each[0] <= "\udfff" and each != "\x00"]

    shown = _read(openai._streamed(sse(*[chunk(each) for each in written], STOP)), thinks=thinks)

    assert shown == without_thinking("".join(written), thinks=thinks)[0]
