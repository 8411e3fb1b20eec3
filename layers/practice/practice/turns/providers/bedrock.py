"""Amazon Bedrock's Converse: one interface for all of its models."""

import threading
from typing import Any, Final

from botocore.config import Config as ClientConfig
from botocore.exceptions import BotoCoreError, ClientError, ReadTimeoutError

from practice.runtime import aws
from practice.runtime.config import config
from practice.runtime.deadline import Deadline
from practice.schemas.turn import ErrorCode
from practice.turns.configuration import ModelConfiguration
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

CONNECT_SECONDS: Final = 5
_BUSY: Final = frozenset({"ThrottlingException", "ModelNotReadyException"})
_REFUSED: Final = frozenset({"AccessDeniedException", "ResourceNotFoundException"})

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
    """For whoever changes the environment of a running process."""
    _clients.clear()


def complete(
    model: ModelConfiguration, prompt: Prompt, params: dict[str, Any], deadline: Deadline
) -> Completion:
    remaining = deadline.remaining()
    if not remaining:
        raise timed_out()
    sampled = sampling(model, params)
    inference = {"maxTokens": params["max_completion_tokens"]}
    inference |= {{"top_p": "topP"}.get(name, name): value for name, value in sampled.items()}
    request: dict[str, Any] = {
        "modelId": model.id,
        "messages": [{"role": role, "content": [{"text": text}]} for role, text in prompt.messages()],
        "inferenceConfig": inference | _stops(params),
    }
    if prompt.system:
        request["system"] = [{"text": prompt.system}]
    try:
        answer = client(model.region or config().region, is_patient=remaining > 30).converse(**request)
    except ClientError as error:
        raise _named(error) from None
    except ReadTimeoutError:
        raise timed_out() from None
    except (AttributeError, LookupError, TypeError, ValueError):
        raise ProviderError(MALFORMED) from None  # botocore's parser stumbles over JSON of another shape
    except BotoCoreError as error:
        raise ProviderError(f"the connection to the provider failed ({type(error).__name__})") from None
    return _completion(model, answer)


def _stops(params: dict[str, Any]) -> dict[str, Any]:
    stop = params.get("stop")
    stops = [each for each in (stop if isinstance(stop, list) else [stop]) if isinstance(each, str) and each]
    return {"stopSequences": stops} if stops else {}


def _named(error: ClientError) -> ProviderError:
    code = error.response.get("Error", {}).get("Code", "")
    if code in _BUSY:
        return ThrottledError()
    if code == "ModelTimeoutException":
        return timed_out()
    if code in _REFUSED:
        return ProviderError(
            "Bedrock does not offer this model to this deployment", ErrorCode.MODEL_NOT_ENABLED
        )
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    if status == 429:
        return ThrottledError()
    return ProviderError(f"the provider answered {status}")


def _completion(model: ModelConfiguration, answer: Any) -> Completion:
    try:
        content = answer["output"]["message"]["content"]
        text = "".join(block["text"] for block in content if "text" in block)
        usage = answer.get("usage") or {}
    except (LookupError, TypeError, AttributeError):
        raise ProviderError(MALFORMED) from None
    return Completion(
        text,
        count(usage.get("inputTokens")),
        count(usage.get("outputTokens")),
        count(usage.get("totalTokens")),
        model.id,
    )
