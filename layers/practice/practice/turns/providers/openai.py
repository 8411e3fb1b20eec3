"""Chat completions over HTTPS, as OpenAI, vLLM, Ollama, llama.cpp and many others serve them.

With urllib3, which botocore brings along: the SDK would cost a cold start a second.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import lru_cache
from itertools import chain
from typing import Any, Final

import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, ReadTimeoutError
from urllib3.util import Timeout, parse_url

from practice.errors import StoreUnavailable
from practice.limits import RESPONSE_BYTES
from practice.runtime.deadline import Deadline
from practice.runtime.secrets import secret
from practice.runtime.snapshots import clear_on_restore
from practice.schemas.turn import ErrorCode, FinishReason, Reason
from practice.turns.configuration import ModelConfiguration, configuration
from practice.turns.parameters import CAP, CAP_NAMES, takes_system
from practice.turns.prompts import Prompt
from practice.turns.providers import (
    BROKEN_OFF,
    MALFORMED,
    NO_QUOTA,
    NOT_OFFERED,
    STREAMING,
    UNDECODED,
    Completion,
    Parts,
    ProviderError,
    RefusedParameter,
    ThrottledError,
    as_sent,
    count,
    extra_fields,
    reason_of,
    size_of,
    timed_out,
)
from practice.turns.providers.sse import BOM, Event, EventTooLong, events

CONNECT_SECONDS: Final = 5.0
ANSWER_BYTES: Final = 8 * RESPONSE_BYTES
"""The largest text allowed, with every character of it escaped."""
END_SECONDS: Final = 0.05
CHUNK_BYTES: Final = 64 * 1024
LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")
OURS: Final = {*STREAMING, "n"}
"""Would make another answer than the one that is read here."""
DONE: Final = b"[DONE]"
_NO_UTF8: Final = re.compile("[\udc80-\udcff]")

BUSY: Final = (429, 503, 529)
FORBIDDEN: Final = (401, 403, 404)
BUSY_WORDS: Final = frozenset(
    {
        *map(str, BUSY),
        "rate_limit_exceeded",
        "rate_limit_error",
        "overloaded_error",
        "RESOURCE_EXHAUSTED",
        "UNAVAILABLE",
    }
)
"""Of an error in an answer whose status was 200 already."""
NO_QUOTA_WORDS: Final = frozenset(
    {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "quota_exceeded"}
)
FINISHES: Final = {
    "stop": FinishReason.STOP,
    "end_turn": FinishReason.STOP,
    "eos": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "max_tokens": FinishReason.LENGTH,
    "model_length": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "content_filter": FinishReason.CONTENT_FILTER,
    "sensitive": FinishReason.CONTENT_FILTER,
    "refusal": FinishReason.CONTENT_FILTER,
}
"""What services call the end of an answer; any other word is `other`."""
FAILURES: Final = ("error", "network_error", "insufficient_system_resource")
"""A gateway that lost its upstream has answered 200 already."""


@lru_cache(maxsize=1)
def _pool() -> urllib3.PoolManager:
    return urllib3.PoolManager(num_pools=20, maxsize=20)


clear_on_restore(_pool.cache_clear)


def complete(model: ModelConfiguration, prompt: Prompt, params: dict[str, Any], deadline: Deadline) -> Parts:
    system, messages = prompt.conversation(takes_system=takes_system(model, params))
    if system:
        messages.insert(0, ("system", system))
    own = {
        "model": model.id,
        "messages": [{"role": role, "content": text} for role, text in messages],
        **as_sent(model, params),
        **{name: value for name, value in params.items() if name in STREAMING},
    }
    caps = CAP_NAMES if CAP in params else ()
    body = dict(extra_fields(model, {*own, *OURS, *caps})) | own
    with _posted(model, json.dumps(body).encode(), deadline, streams="stream" in own) as response:
        chunks = _chunks(response, deadline)
        if response.status != 200:
            headers = {name.lower(): value for name, value in response.headers.items()}
            raise _refusal(model, response.status, headers, _whole(chunks), params)
        first, chunks = _first_of(chunks)
        if "stream" in own and first[:1] not in (b"{", b"["):
            yield from _streamed(chunks)
            _give_back(response)
        else:
            yield _completion(_whole(chunks))  # also of a service that ignores `stream`


def _refusal(
    model: ModelConfiguration, status: int, headers: Mapping[str, str], answer: bytes, params: dict[str, Any]
) -> ProviderError:
    error = _error_in(_parsed(answer))
    reason = reason_of(status, error)
    if status == 402 or _is_out_of_quota(error, reason):
        return ProviderError(NO_QUOTA, ErrorCode.QUOTA_EXHAUSTED, reason)
    if status in BUSY:
        return ThrottledError(_seconds(headers.get("retry-after")), reason)
    if status in FORBIDDEN:
        return ProviderError(NOT_OFFERED, ErrorCode.MODEL_NOT_ENABLED, reason)
    named = CAP if reason.get("param") == model.cap_name else reason.get("param")
    if named not in params:
        named = _streaming_in(answer, params)
    if status in (400, 422) and named in params:
        return RefusedParameter(str(named), reason)
    return ProviderError(f"the provider answered {status}", reason=reason)


def _streaming_in(answer: bytes, params: dict[str, Any]) -> str | None:
    """By a sentence, or a path (`["body", "stream_options"]`). Some services repeat the request: it is guessed once."""
    if not params.keys() >= STREAMING.keys():
        return None
    return next((name for name in reversed(STREAMING) if _quotes(answer, name)), None)


def _quotes(answer: bytes, name: str) -> bool:
    return re.search(rb"[\"'/`]%s[\"'/`:\\]" % name.encode(), answer) is not None


def _parsed(answer: bytes) -> Any:
    """Bytes that are no UTF-8 stay, one by one: the rest of a code point may be in the next event."""
    try:
        try:
            return json.loads(answer)
        except UnicodeDecodeError:
            return json.loads(_NO_UTF8.sub(rf"{UNDECODED}\g<0>", answer.decode(errors="surrogateescape")))
    except (ValueError, RecursionError):
        return None


def _error_in(answer: Any) -> dict[str, Any]:
    """OpenAI and most others have it under `error`, vLLM at the top, Gemini in a list."""
    if isinstance(answer, list) and answer:
        answer = answer[0]
    if not isinstance(answer, dict):
        return {}
    error = answer.get("error", answer)
    if not isinstance(error, dict):
        return {}
    return error | {"code": error["status"]} if isinstance(error.get("status"), str) else error


def _is_out_of_quota(error: dict[str, Any], reason: Reason) -> bool:
    """By exact words. Gemini names the quota: `GenerateRequestsPerDayPerProjectPerModel-FreeTier`."""
    if NO_QUOTA_WORDS & {reason.get("code"), reason.get("type")}:
        return True
    return any("PerDay" in quota for quota in _violated_quotas(error))


def _violated_quotas(error: dict[str, Any]) -> Iterator[str]:
    details = error.get("details")
    for detail in details if isinstance(details, list) else []:
        violations = detail.get("violations") if isinstance(detail, dict) else None
        for violation in violations if isinstance(violations, list) else []:
            if isinstance(violation, dict) and isinstance(violation.get("quotaId"), str):
                yield violation["quotaId"]


@contextmanager
def _posted(
    model: ModelConfiguration, body: bytes, deadline: Deadline, *, streams: bool
) -> Iterator[urllib3.BaseHTTPResponse]:
    remaining = deadline.remaining()
    if not remaining:
        raise timed_out()
    try:
        response = _pool().request(
            "POST",
            f"{model.base_url.rstrip('/')}/chat/completions",
            body=body,
            headers={
                "content-type": "application/json",
                "accept": "text/event-stream, application/json" if streams else "application/json",
                **_authorization(model),
            },
            timeout=Timeout(connect=min(CONNECT_SECONDS, remaining), read=remaining),
            retries=False,
            redirect=False,
            preload_content=False,
        )
        try:
            yield response
        finally:
            response.close()
    except ReadTimeoutError:
        raise timed_out() from None
    except ConnectTimeoutError:
        raise ProviderError("the provider cannot be reached") from None
    except HTTPError as error:
        raise ProviderError(f"the connection to the provider failed ({type(error).__name__})") from None


def _chunks(response: urllib3.BaseHTTPResponse, deadline: Deadline) -> Iterator[bytes]:
    """Piece by piece, because a provider that sends a byte now and then never runs into the time-out of a read."""
    while chunk := response.read1(CHUNK_BYTES):
        yield chunk
        if not deadline.remaining():
            raise timed_out()


def _give_back(response: urllib3.BaseHTTPResponse) -> None:
    """Reads the end of the body, which follows `[DONE]` at once, so that another request can use the connection."""
    socket = getattr(response.connection, "sock", None)
    if socket is not None:
        socket.settimeout(END_SECONDS)
    with suppress(HTTPError):
        response.read1(CHUNK_BYTES)


def _first_of(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The first that is not blank, and all from there on, without a byte order mark and white space before it."""
    first = b""
    for chunk in chunks:
        first = (first + chunk).removeprefix(BOM).lstrip()
        if first and not BOM.startswith(first):
            break
    return first, chain([first], chunks)


def _whole(chunks: Iterable[bytes]) -> bytes:
    kept, size = [], 0
    for chunk in chunks:
        kept.append(chunk)
        size += len(chunk)
        if size > ANSWER_BYTES:
            raise _too_long()
    return b"".join(kept)


def _too_long() -> ProviderError:
    return ProviderError("the answer is longer than 1 MB", ErrorCode.ANSWER_TOO_LONG)


def _authorization(model: ModelConfiguration) -> dict[str, str]:
    if not model.key:
        return {}
    url = parse_url(model.base_url)
    if url.scheme != "https" and url.host not in LOOPBACK:
        raise ProviderError("a key is sent over https only", ErrorCode.MODEL_NOT_ENABLED)
    try:
        keys = json.loads(secret(configuration().provider_secret_arn))
        return {"authorization": f"Bearer {keys[model.key]}"}
    except (StoreUnavailable, ValueError, TypeError, KeyError):
        raise ProviderError("the key of this provider cannot be read", ErrorCode.MODEL_NOT_ENABLED) from None


def _seconds(retry_after: str | None) -> float | None:
    """As seconds; the date form is not worth parsing, the pause grows by itself."""
    try:
        return max(0.0, float(retry_after or ""))
    except ValueError:
        return None


def _completion(answer: bytes) -> Completion:
    parsed = _parsed(answer)
    try:
        if isinstance(parsed, dict) and isinstance(parsed.get("error"), dict):
            raise _reported(parsed)
        choice = parsed["choices"][0]
        if isinstance(choice.get("error"), dict) or choice.get("finish_reason") in FAILURES:
            raise _reported(choice)
        message = choice["message"]
        text, thinking_bytes = _shown(message)
        finish = choice.get("finish_reason")
        if not text and isinstance(message.get("refusal"), str):
            text, finish = message["refusal"], "refusal"
        facts = _facts(parsed)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ProviderError(MALFORMED) from None
    return replace(facts, text=text, finish_reason=_finish(finish), thinking_bytes=thinking_bytes)


def _streamed(chunks: Iterable[bytes]) -> Iterator[Completion]:
    """The end is what the service says: a finish reason, or `[DONE]`. What comes after that is ignored."""
    has_begun, is_whole, is_refusal, has_text = False, False, False, False
    try:
        for event in events(chunks, ANSWER_BYTES):
            has_begun = True
            for chunk in _of_event(event):
                if chunk is None:
                    if not is_whole:
                        yield Completion("", FinishReason.OTHER)
                    return
                yield _facts(chunk)
                for choice in _choices(chunk):
                    delta = choice.get("delta") or choice.get("message") or {}
                    text, thinking_bytes = _shown(delta)
                    if not (text or has_text) and isinstance(delta.get("refusal"), str):
                        text, is_refusal = delta["refusal"], True
                    has_text = has_text or bool(text and not is_refusal)
                    yield Completion(text, thinking_bytes=thinking_bytes)
                    if choice.get("finish_reason"):
                        is_whole = True
                        yield Completion("", _finish("refusal" if is_refusal else choice["finish_reason"]))
    except EventTooLong:
        raise _too_long() from None
    except (ValueError, LookupError, TypeError, AttributeError):
        raise ProviderError(MALFORMED) from None
    if not is_whole:
        raise ProviderError(BROKEN_OFF if has_begun else MALFORMED)


def _of_event(event: Event) -> Iterator[dict[str, Any] | None]:
    """Its chunks, None for the end: one in all of its lines, or one in each, where no empty line separates them."""
    lines = [line for line in event.data if line.strip()]
    whole = _parsed(b"\n".join(lines))
    for line in [b"\n".join(lines)] if isinstance(whole, dict) else lines:
        if line.strip() == DONE:
            yield None
            return
        chunk = _parsed(line)
        if isinstance(chunk, list) and chunk:
            chunk = chunk[0]  # Gemini's errors
        if not isinstance(chunk, dict):
            raise ProviderError(MALFORMED)
        if chunk.get("error") or chunk.get("object") == "error" or event.name == b"error":
            raise _reported(chunk)
        yield chunk


def _choices(chunk: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for choice in chunk.get("choices") or []:
        if choice and not choice.get("index"):
            if choice.get("error") or choice.get("finish_reason") in FAILURES:
                raise _reported(choice)
            yield choice


def _facts(answer: dict[str, Any]) -> Completion:
    usage = answer.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    details = usage.get("completion_tokens_details")
    runtime_model = answer.get("model")
    return Completion(
        "",
        prompt_tokens=count(usage.get("prompt_tokens")),
        completion_tokens=count(usage.get("completion_tokens")),
        total_tokens=count(usage.get("total_tokens")),
        reasoning_tokens=count(details.get("reasoning_tokens")) if isinstance(details, dict) else None,
        runtime_model=runtime_model[:256] if isinstance(runtime_model, str) else None,
    )


def _finish(word: object) -> FinishReason:
    return FINISHES.get(word, FinishReason.OTHER) if isinstance(word, str) else FinishReason.OTHER


def _reported(answer: dict[str, Any]) -> ProviderError:
    """A 200 that says that something failed, with or without a part of an answer."""
    words: dict[str, Any] = {}
    if isinstance(answer.get("error"), dict) or not answer.get("error"):
        words = _error_in(answer)
    if answer.get("finish_reason") in FAILURES:
        words = {"code": answer["finish_reason"]} | words
    reason = reason_of(200, words)
    if _is_out_of_quota(words, reason):
        return ProviderError(NO_QUOTA, ErrorCode.QUOTA_EXHAUSTED, reason)
    if BUSY_WORDS & {reason.get("code"), reason.get("type")}:
        return ThrottledError(reason=reason)
    return ProviderError("the provider reports an error", reason=reason)


def _shown(message: dict[str, Any]) -> tuple[str, int]:
    """The text for a reader, and the bytes of thinking beside it. A string, or the parts that some services send."""
    content = message.get("content")
    if content is not None and not isinstance(content, str | list):
        raise TypeError
    parts = content if isinstance(content, list) else []
    text = content if isinstance(content, str) else "".join(p["text"] for p in parts if p["type"] == "text")
    beside = [message.get(name) for name in ("reasoning_content", "reasoning")]
    was_part = [part for part in parts if part["type"] in ("thinking", "reasoning")]
    return text, sum(size_of(str(each)) for each in [*beside, *was_part] if each)
