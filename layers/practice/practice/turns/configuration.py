"""Which model a name means, who serves it, and within which limits: configuration of the deployment, not code.

`MODELS` is a JSON object: a model's name (or `*`, for every name that has no entry) to its provider and id. What it does
not say of a common public model is known (`model_table.json`). docs/turns.md shows examples.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from practice.errors import StoreUnavailable
from practice.runtime import signed
from practice.runtime.config import ConfigurationError, config
from practice.runtime.log import logger
from practice.schemas.base import DEFERRED, BaseModel
from practice.schemas.generation import GenerationParams
from practice.schemas.spending import Dollars, price_of_token
from practice.turns import model_table

ANY_NAME: Final = "*"

SYSTEM: Final = "system"

Sendable = Literal[
    "temperature",
    "top_p",
    "stop",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "reasoning_effort",
    "max_tokens",
    "max_completion_tokens",
]
"""Both names of the cap mean the cap."""
Parameter = Literal[Sendable, "system"]
"""What a model may refuse; `system` is the role."""
_Defaults: Final = TypeAdapter(dict[Literal[Sendable, "response_length_preset"], Any], config=DEFERRED)


def _as_sent(params: dict[str, Any]) -> dict[str, Any]:
    """Without the names that a session may keep and no provider is sent."""
    return GenerationParams.model_validate(_Defaults.validate_python(params)).sent()


class Prices(BaseModel):
    """US dollars for a million tokens."""

    model_config = ConfigDict(extra="forbid")

    prompt: Dollars
    completion: Dollars

    def cost(self, prompt_tokens: int, completion_tokens: int) -> int:
        """In 10^-18 dollars."""
        return prompt_tokens * price_of_token(self.prompt) + completion_tokens * price_of_token(
            self.completion
        )


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
    context_window: Annotated[int, Field(ge=1)] | None = None
    """Of prompt and answer together."""
    max_temperature: float | None = None
    defaults: Annotated[dict[str, Any], AfterValidator(_as_sent)] = {}
    """Generation parameters of this model."""
    cap_name: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What an OpenAI-compatible service calls the token cap."""
    cap_required: bool = False
    """The service refuses a request without a cap."""
    omits: list[Parameter] = []
    """Parameters that the model does not take."""
    thinking_omits: list[Parameter] = []
    """Parameters that it takes only with `reasoning_effort` `none`."""
    one_of: list[Parameter] = []
    """Parameters of which the model takes one: the one that was chosen last, of several chosen together the first."""
    streams: bool = True
    """The service can show an answer while it writes it; false: it is asked for the whole answer."""
    thinking_tokens: Annotated[int, Field(ge=0)] = 0
    """Room for thinking, which counts as output: above the cap of a length preset."""
    opens_thinking: bool = False
    """The chat template opens a block of thinking: the text up to its end tag is held, where none comes beside it."""
    extra: dict[str, Any] = {}
    """Sent as it is beside our own fields, which win."""
    prices: Prices | None = None
    _refused: set[str] = PrivateAttr(default_factory=set)

    @property
    def refused(self) -> set[str]:
        """Of how an answer is streamed what the service has refused, as long as this process lives."""
        return self._refused

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


@lru_cache(maxsize=1)
def configuration() -> Configuration:
    env = config().variables
    try:
        models = read_models(env)
    except ConfigurationError as error:
        logger.error(str(error))  # one line for the operator; no values are in it
        raise
    return Configuration(
        models=models,
        unclaimed_is_echo=env.get("UNCLAIMED_MODELS") == "echo",
        history_tokens=int(env.get("HISTORY_TOKENS") or 4000),
        provider_secret_arn=env.get("PROVIDER_SECRET_ARN", ""),
        knowledge_base_id=env.get("KNOWLEDGE_BASE_ID", ""),
    )


def read_models(env: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Of several sources an entry of the nearer one wins: `MODELS`, then the parameter, then the object.

    Raises ConfigurationError, whose text is one line that names the entry and the field.
    """
    models: dict[str, dict[str, Any]] = {}
    for source, read in _SOURCES.items():
        if env.get(source):
            try:
                models |= checked(read(env[source]))
            except (OSError, ValueError, StoreUnavailable) as error:
                raise ConfigurationError(f"{source} cannot be used: {_first_line(error)}") from error
    return models


def checked(text: str) -> dict[str, dict[str, Any]]:
    """Raises ValueError for what is no configuration of models."""
    try:
        models = _Models.validate_python(json.loads(text))
    except ValidationError as error:
        raise ValueError(_first_problem(error)) from None
    for name, fields in models.items():
        try:
            ModelConfiguration.model_validate(fields)
        except ValidationError as error:
            raise ValueError(_first_problem(error, name)) from None
    return models


def _first_problem(error: ValidationError, *entry: str) -> str:
    """In one line: the entry, the field, and what is wrong with it."""
    problem = error.errors(include_url=False)[0]
    place = [*entry, *(str(part) for part in problem["loc"] if part != "[key]")]
    if not place:
        return problem["msg"]
    name, *field = place
    return f"{name}: {'.'.join(field) or 'entry'}: {problem['msg']}"


def _parameter(name: str) -> str:
    value: str = signed.call("ssm", "AmazonSSM.GetParameter", {"Name": name})["Parameter"]["Value"]
    return value


def _object(address: str) -> str:
    bucket, _, key = address.removeprefix("s3://").partition("/")
    return signed.get_object(bucket, key).decode()


_SOURCES: Final[dict[str, Callable[[str], str]]] = {
    "MODELS_OBJECT": _object,
    "MODELS_PARAMETER": _parameter,
    "MODELS": str,
    "MODELS_FILE": lambda path: Path(path).read_text(),
}


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def thinks(name: str) -> bool:
    """Whether it is a model that is known to think before it answers."""
    configured = model_named(name)
    return configured is not None and configured.thinking_tokens > 0


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
    known = model_table.known(model_id) or model_table.known(name)
    return ModelConfiguration.model_validate({**known, **own, "id": model_id})


def clear_cache() -> None:
    """For tests that change the environment of a running process."""
    config.cache_clear()
    configuration.cache_clear()
    model_named.cache_clear()
