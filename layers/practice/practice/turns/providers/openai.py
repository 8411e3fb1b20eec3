"""Chat completions over HTTPS, as OpenAI, vLLM, Ollama, llama.cpp and many others serve them.

With urllib3, which botocore brings along: the SDK would cost a cold start a second.
"""

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
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
from practice.turns.parameters import CAP
from practice.turns.prompts import Prompt
from practice.turns.providers import (
    MALFORMED,
    NO_QUOTA,
    NOT_OFFERED,
    Completion,
    ProviderError,
    RefusedParameter,
    ThrottledError,
    as_sent,
    count,
    extra_fields,
    reason_of,
    timed_out,
)
from practice.turns.thinking import without_thinking

CONNECT_SECONDS: Final = 5.0
ANSWER_BYTES: Final = 8 * RESPONSE_BYTES
"""The largest text allowed, with every character of it escaped."""
CHUNK_BYTES: Final = 64 * 1024
LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")
WHOLE: Final = {"stream", "n"}
"""Would make another answer than the one that is read here."""

BUSY: Final = (429, 503, 529)
FORBIDDEN: Final = (401, 403, 404)
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


def complete(
    model: ModelConfiguration, prompt: Prompt, params: dict[str, Any], deadline: Deadline
) -> Completion:
    system, messages = prompt.conversation(takes_system="system" not in model.omits)
    if system:
        messages.insert(0, ("system", system))
    own = {
        "model": model.id,
        "messages": [{"role": role, "content": text} for role, text in messages],
        **as_sent(model, params),
    }
    body = dict(extra_fields(model, own.keys() | WHOLE)) | own
    status, headers, answer = _post(model, json.dumps(body).encode(), deadline)
    if status != 200:
        raise _refusal(model, status, headers, answer, params)
    return _completion(model, answer)


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
    if status in (400, 422) and named in params:
        return RefusedParameter(str(named), reason)
    return ProviderError(f"the provider answered {status}", reason=reason)


def _parsed(answer: bytes) -> Any:
    try:
        return json.loads(answer)
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


def _post(model: ModelConfiguration, body: bytes, deadline: Deadline) -> tuple[int, dict[str, str], bytes]:
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
                "accept": "application/json",
                **_authorization(model),
            },
            timeout=Timeout(connect=min(CONNECT_SECONDS, remaining), read=remaining),
            retries=False,
            redirect=False,
            preload_content=False,
        )
        try:
            return (
                response.status,
                {k.lower(): v for k, v in response.headers.items()},
                _read(response, deadline),
            )
        finally:
            response.close()
    except ReadTimeoutError:
        raise timed_out() from None
    except ConnectTimeoutError:
        raise ProviderError("the provider cannot be reached") from None
    except HTTPError as error:
        raise ProviderError(f"the connection to the provider failed ({type(error).__name__})") from None


def _read(response: urllib3.BaseHTTPResponse, deadline: Deadline) -> bytes:
    """Piece by piece, because a provider that sends a byte now and then never runs into the time-out of a read."""
    chunks, size = [], 0
    while chunk := response.read1(CHUNK_BYTES):
        chunks.append(chunk)
        size += len(chunk)
        if size > ANSWER_BYTES:
            raise ProviderError("the answer is longer than 1 MB", ErrorCode.ANSWER_TOO_LONG)
        if not deadline.remaining():
            raise timed_out()
    return b"".join(chunks)


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


def _completion(model: ModelConfiguration, answer: bytes) -> Completion:
    parsed = _parsed(answer)
    try:
        if isinstance(parsed, dict) and isinstance(parsed.get("error"), dict):
            raise _reported(parsed)
        choice = parsed["choices"][0]
        if isinstance(choice.get("error"), dict) or choice.get("finish_reason") in FAILURES:
            raise _reported(choice)
        text, has_thinking = _shown(model, choice["message"])
        finish = choice.get("finish_reason")
        if not text and isinstance(choice["message"].get("refusal"), str):
            text, finish = choice["message"]["refusal"], "refusal"
        usage = parsed.get("usage")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ProviderError(MALFORMED) from None
    usage = usage if isinstance(usage, dict) else {}
    details = usage.get("completion_tokens_details")
    runtime_model = parsed.get("model")
    return Completion(
        text,
        FINISHES.get(finish, FinishReason.OTHER) if isinstance(finish, str) else FinishReason.OTHER,
        has_thinking,
        count(usage.get("prompt_tokens")),
        count(usage.get("completion_tokens")),
        count(usage.get("total_tokens")),
        count(details.get("reasoning_tokens")) if isinstance(details, dict) else None,
        runtime_model[:256] if isinstance(runtime_model, str) else None,
    )


def _reported(answer: dict[str, Any]) -> ProviderError:
    """A 200 that says that something failed, with or without a part of an answer."""
    error = answer.get("error")
    words = error if isinstance(error, dict) else {"code": answer.get("finish_reason")}
    return ProviderError("the provider reports an error", reason=reason_of(200, words))


def _shown(model: ModelConfiguration, message: dict[str, Any]) -> tuple[str, bool]:
    """The text for a reader, and whether there was thinking beside it. A string, or the parts that some services send."""
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    text = (
        content
        if isinstance(content, str)
        else "".join(part["text"] for part in parts if part["type"] == "text")
    )
    if content is not None and not isinstance(content, str | list):
        raise TypeError
    kept, was_inside = without_thinking(text, thinks=bool(model.thinking_tokens))
    was_beside = any(message.get(name) for name in ("reasoning_content", "reasoning"))
    was_part = any(part["type"] in ("thinking", "reasoning") for part in parts)
    return kept, was_inside or was_beside or was_part
