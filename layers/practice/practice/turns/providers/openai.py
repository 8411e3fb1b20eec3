"""Chat completions over HTTPS, as OpenAI, vLLM, Ollama, llama.cpp and many others serve them.

With urllib3, which botocore brings along: the SDK would cost a cold start a second.
"""

import json
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
from practice.schemas.turn import ErrorCode
from practice.turns.configuration import ModelConfiguration, configuration
from practice.turns.prompts import Prompt
from practice.turns.providers import (
    MALFORMED,
    Completion,
    ProviderError,
    ThrottledError,
    count,
    sampling,
    timed_out,
)

CONNECT_SECONDS: Final = 5.0
ANSWER_BYTES: Final = 8 * RESPONSE_BYTES
"""The largest text allowed, with every character of it escaped."""
CHUNK_BYTES: Final = 64 * 1024
PASSED_ON: Final = ("stop", "seed", "presence_penalty", "frequency_penalty", "reasoning_effort")
"""Parameters that are handed on as they are; others would have most services refuse the request."""
LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")


@lru_cache(maxsize=1)
def _pool() -> urllib3.PoolManager:
    return urllib3.PoolManager(num_pools=20, maxsize=20)


clear_on_restore(_pool.cache_clear)


def complete(
    model: ModelConfiguration, prompt: Prompt, params: dict[str, Any], deadline: Deadline
) -> Completion:
    messages = [{"role": role, "content": text} for role, text in prompt.messages()]
    if prompt.system:
        messages.insert(0, {"role": "system", "content": prompt.system})
    body = {
        "model": model.id,
        "messages": messages,
        **{name: params[name] for name in PASSED_ON if params.get(name) is not None},
        **sampling(model, params),
        model.cap_name: params["max_completion_tokens"],
    }
    status, headers, answer = _post(model, json.dumps(body).encode(), deadline)
    if status == 429 or (status == 503 and "retry-after" in headers):
        raise ThrottledError(_seconds(headers.get("retry-after")))
    if status != 200:
        raise ProviderError(f"the provider answered {status}")
    return _completion(answer)


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


def _completion(answer: bytes) -> Completion:
    try:
        parsed = json.loads(answer)
        text = _text(parsed["choices"][0]["message"]["content"])
        usage = parsed.get("usage")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ProviderError(MALFORMED) from None
    usage = usage if isinstance(usage, dict) else {}
    runtime_model = parsed.get("model")
    return Completion(
        text,
        count(usage.get("prompt_tokens")),
        count(usage.get("completion_tokens")),
        count(usage.get("total_tokens")),
        runtime_model[:256] if isinstance(runtime_model, str) else None,
    )


def _text(content: Any) -> str:
    """A string, or the text parts that some services send."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if part["type"] == "text")
