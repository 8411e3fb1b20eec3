"""Amazon Bedrock's Converse: one interface for all of its models."""

import re
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Final

from botocore.config import Config as ClientConfig
from botocore.eventstream import ParserError
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError, ReadTimeoutError

from practice.runtime import aws
from practice.runtime.config import config
from practice.runtime.deadline import Deadline
from practice.schemas.turn import ErrorCode, FinishReason
from practice.turns.configuration import ModelConfiguration
from practice.turns.parameters import CAP, takes_system
from practice.turns.prompts import Prompt
from practice.turns.providers import (
    BROKEN_OFF,
    MALFORMED,
    NO_QUOTA,
    NOT_OFFERED,
    TIMED_OUT,
    Completion,
    Parts,
    ProviderError,
    RefusedParameter,
    ThrottledError,
    as_sent,
    count,
    extra_fields,
    reason_of,
    timed_out,
)

CONNECT_SECONDS: Final = 5
NAMES: Final = {"top_p": "topP", "stop": "stopSequences", CAP: "maxTokens"}
FINISHES: Final = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "guardrail_intervened": FinishReason.CONTENT_FILTER,
    "content_filtered": FinishReason.CONTENT_FILTER,
    "refusal": FinishReason.CONTENT_FILTER,
}
_BUSY: Final = frozenset(
    {"ThrottlingException", "ModelNotReadyException", "ServiceUnavailableException", "ServiceUnavailable"}
)
_FORBIDDEN: Final = frozenset({"AccessDeniedException", "ResourceNotFoundException"})
_NO_MODEL: Final = ("inference profile", "on-demand throughput", "model identifier is invalid")
_NAMES_IN: Final = re.compile(r"[`'\"]([A-Za-z_.]+)[`'\"]")

_clients: dict[tuple[str, bool], Any] = {}
_making = threading.Lock()


def client(region: str, *, is_patient: bool) -> Any:
    """Without retries: the SDK's own would pay a slow model twice. A worker may wait for minutes, a request may not."""
    with _making:
        known = _clients.get((region, is_patient))
        if known is None:
            known = _clients[region, is_patient] = aws.client(
                "bedrock-runtime",
                ClientConfig(
                    connect_timeout=CONNECT_SECONDS,
                    read_timeout=900 if is_patient else 30,
                    retries={"mode": "standard", "total_max_attempts": 1},
                    max_pool_connections=50,
                ),
                region,
            )
        return known


def clear_cache() -> None:
    """For tests that change the environment of a running process."""
    _clients.clear()


def complete(model: ModelConfiguration, prompt: Prompt, params: dict[str, Any], deadline: Deadline) -> Parts:
    remaining = deadline.remaining()
    if not remaining:
        raise timed_out()
    asking = client(model.region or config().region, is_patient=remaining > 30)
    request = _request(model, prompt, params)
    with _named_errors(params):
        if "stream" not in params:
            yield _completion(model, asking.converse(**request))
            return
        with closing(asking.converse_stream(**request)["stream"]) as stream:
            is_whole = False
            for event in _events(stream):
                for part in _parts(model, event):
                    is_whole = is_whole or part.finish_reason is not None
                    yield part
                if not deadline.remaining():
                    raise timed_out()
            if not is_whole:
                raise ProviderError(BROKEN_OFF)


def _events(stream: Any) -> Iterator[dict[str, Any]]:
    """The SDK refuses the beginning of a block that says nothing of it, as gateways send it; what follows is intact."""
    while True:
        try:
            yield from stream
        except ResponseParserError as error:
            if "ContentBlockStart" not in str(error):
                raise
        else:
            return


def _request(model: ModelConfiguration, prompt: Prompt, params: dict[str, Any]) -> dict[str, Any]:
    sent = as_sent(model, params)
    inference = {NAMES.get(name, name): value for name, value in sent.items()}
    if isinstance(inference.get("stopSequences"), str):
        inference["stopSequences"] = [inference["stopSequences"]]
    system, messages = prompt.conversation(takes_system=takes_system(model, params))
    request: dict[str, Any] = {
        "modelId": model.id,
        "messages": [{"role": role, "content": [{"text": text}]} for role, text in messages],
    }
    if inference:
        request["inferenceConfig"] = inference
    if system:
        request["system"] = [{"text": system}]
    extra = dict(extra_fields(model, set(sent) | set(inference)))
    if extra:
        request["additionalModelRequestFields"] = extra
    return request


@contextmanager
def _named_errors(params: dict[str, Any]) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        raise _named(error, params) from None
    except ReadTimeoutError:
        raise timed_out() from None
    except (AttributeError, LookupError, TypeError, ValueError, ParserError, ResponseParserError):
        raise ProviderError(MALFORMED) from None  # botocore's parsers stumble over what has another shape
    except (BotoCoreError, HTTPError) as error:
        raise ProviderError(f"the connection to the provider failed ({type(error).__name__})") from None


def _named(error: ClientError, params: dict[str, Any]) -> ProviderError:
    words = error.response.get("Error", {})
    code, said = words.get("Code", ""), words.get("Message", "")
    code = code[:1].upper() + code[1:]  # in a stream an exception is an event, `throttlingException`
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    named = _parameter_in(said, params) if code == "ValidationException" else None
    reason = reason_of(status, {"code": code, "param": named})
    if code == "ModelTimeoutException":
        return ProviderError(TIMED_OUT, ErrorCode.TIMEOUT, reason)
    if code == "ServiceQuotaExceededException":
        return ProviderError(NO_QUOTA, ErrorCode.QUOTA_EXHAUSTED, reason)
    if code in _BUSY or status in (429, 503):
        return ThrottledError(reason=reason)
    if code in _FORBIDDEN or status in (401, 403, 404) or _is_no_model(code, said):
        return ProviderError(NOT_OFFERED, ErrorCode.MODEL_NOT_ENABLED, reason)
    if code == "ValidationException" and "stream" in params and "streaming" in said:
        return RefusedParameter("stream", reason)
    if named:
        return RefusedParameter(named, reason)
    return ProviderError(f"the provider answered {status}", reason=reason)


def _parameter_in(said: str, params: dict[str, Any]) -> str | None:
    """Bedrock has no field for it: a name of ours, or of its interface, between quotes or in a path."""
    names = {word.rpartition(".")[2] for word in _NAMES_IN.findall(said)}
    return next((name for name in params if names & {name, NAMES.get(name, name)}), None)


def _is_no_model(code: str, said: str) -> bool:
    """Neither has a code of its own."""
    return code == "ValidationException" and any(words in said for words in _NO_MODEL)


def _completion(model: ModelConfiguration, answer: dict[str, Any]) -> Completion:
    content = answer["output"]["message"]["content"]
    return Completion(
        "".join(block["text"] for block in content if "text" in block),
        FINISHES.get(answer.get("stopReason", ""), FinishReason.OTHER),
        sum(_size(block["reasoningContent"]) for block in content if "reasoningContent" in block),
        **_facts(model, answer),
    )


def _parts(model: ModelConfiguration, event: dict[str, Any]) -> Iterator[Completion]:
    if "contentBlockDelta" in event:
        delta = event["contentBlockDelta"]["delta"]
        thinking = delta.get("reasoningContent")
        yield Completion(delta.get("text") or "", thinking_bytes=_size(thinking) if thinking else 0)
    elif "messageStop" in event:
        yield Completion("", FINISHES.get(event["messageStop"].get("stopReason", ""), FinishReason.OTHER))
    elif "metadata" in event:
        yield Completion("", **_facts(model, event["metadata"]))


def _size(thinking: object) -> int:
    return len(str(thinking).encode())


def _facts(model: ModelConfiguration, answer: dict[str, Any]) -> dict[str, Any]:
    usage = answer.get("usage") or {}
    return {
        "prompt_tokens": count(usage.get("inputTokens")),
        "completion_tokens": count(usage.get("outputTokens")),
        "total_tokens": count(usage.get("totalTokens")),
        "runtime_model": model.id,
    }
