"""Which model a name means, who serves it, and within which limits: configuration of the deployment, not code.

`MODELS` is a JSON object: a model's name (or `*`, for every name that has no entry) to its provider and id. What it does
not say of a common public model is known (`known_models.py`). docs/turns.md shows examples.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from practice.runtime.log import logger
from practice.schemas.generation import GenerationParams
from practice.turns.known_models import limits_of

ANY_NAME: Final = "*"


def _as_sent(params: dict[str, Any]) -> dict[str, Any]:
    return GenerationParams.model_validate(params).sent()


class ModelConfiguration(BaseModel):
    model_config = ConfigDict(extra="forbid")

    provider: Literal["bedrock", "openai", "echo"]
    id: str = ""
    """What the provider calls it; empty: the name itself."""
    base_url: str = ""
    """Of an OpenAI-compatible service, up to and with `/v1`."""
    key: str = ""
    """Which entry of the provider secret is this service's key; empty: no key."""
    region: str = ""
    """Of Bedrock, when it is not the function's."""
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    max_temperature: float | None = None
    defaults: Annotated[dict[str, Any], AfterValidator(_as_sent)] = {}
    """Generation parameters of this model."""
    cap_name: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What an OpenAI-compatible service calls the token cap."""
    omits: list[str] = []
    """Parameters that the model does not take."""
    one_of: list[str] = []
    """Parameters of which the model takes one: the first that has a value."""

    @model_validator(mode="after")
    def has_an_address(self) -> Self:
        if self.provider == "openai" and not self.base_url:
            raise ValueError("an OpenAI-compatible service needs its base_url")
        return self


_Models: Final = TypeAdapter(dict[str, dict[str, Any]])


@dataclass(frozen=True, slots=True)
class Configuration:
    models: dict[str, dict[str, Any]]
    unclaimed_is_echo: bool
    history_tokens: int
    provider_secret_arn: str
    knowledge_base_id: str
    turn_queue_url: str


class ConfigurationError(Exception):
    """The deployment says something else than it may."""


@lru_cache(maxsize=1)
def configuration() -> Configuration:
    env = os.environ
    return Configuration(
        models=_models(env),
        unclaimed_is_echo=env.get("UNCLAIMED_MODELS") == "echo",
        history_tokens=int(env.get("HISTORY_TOKENS") or 4000),
        provider_secret_arn=env.get("PROVIDER_SECRET_ARN", ""),
        knowledge_base_id=env.get("KNOWLEDGE_BASE_ID", ""),
        turn_queue_url=env.get("TURN_QUEUE_URL", ""),
    )


def _models(env: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    try:
        text = Path(env["MODELS_FILE"]).read_text() if env.get("MODELS_FILE") else env.get("MODELS") or "{}"
        models = _Models.validate_python(json.loads(text))
        for fields in models.values():
            ModelConfiguration.model_validate(fields)
    except (OSError, ValueError) as error:
        logger.exception("MODELS cannot be used")
        raise ConfigurationError(f"MODELS cannot be used: {error}") from error
    return models


@lru_cache(maxsize=256)
def model_named(name: str) -> ModelConfiguration | None:
    """None for a name that no provider claims, where such names are not given to echo."""
    settings = configuration()
    own = settings.models.get(name) or settings.models.get(ANY_NAME)
    if own is None:
        if not settings.unclaimed_is_echo:
            return None
        # Without its name, which a learner can have put into a file that was imported.
        logger.info("no provider claims a model, echo serves it")
        own = {"provider": "echo"}
    model_id = own.get("id") or name
    return ModelConfiguration.model_validate(
        {**limits_of(name), **limits_of(model_id), **own, "id": model_id}
    )


def clear_cache() -> None:
    """For whoever changes the environment of a running process."""
    configuration.cache_clear()
    model_named.cache_clear()
