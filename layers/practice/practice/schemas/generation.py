"""Generation parameters: how a model is asked to write. The same rules in settings, in models and in a run."""

from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import AfterValidator, ConfigDict, Field

from practice.schemas.base import BaseModel
from practice.schemas.fields import Finite, Id, free_form


class LengthPreset(StrEnum):
    SHORT = "short"
    NORMAL = "normal"
    LONG = "long"
    CUSTOM = "custom"


class Chooser(StrEnum):
    """Who chose a parameter; later wins. The last two stand for a token cap that was not chosen."""

    DEPLOYMENT = "deployment"
    PRESET = "preset"
    AGENT = "agent"
    SETTINGS = "settings"
    SESSION_MODEL = "session_model"
    INTERFACE = "interface"
    BUDGET = "budget"


DEFAULTS: Final[dict[str, Any]] = {
    "temperature": 0.7,
    "top_p": 0.9,
    "response_length_preset": None,
    "max_completion_tokens": 10240,
    "max_tokens": 10240,
}
"""The parameters of a new session. They are not choices: every choice, a preset's included, ranks above them."""


class GenerationParams(BaseModel):
    """The keys we know, checked; other keys are kept as they are."""

    model_config = ConfigDict(extra="allow", use_enum_values=True)

    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False, examples=[0.7]), Finite] | None = (
        None
    )
    top_p: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, examples=[0.9]), Finite] | None = None
    response_length_preset: LengthPreset | None = None
    max_completion_tokens: Id | None = None
    max_tokens: Id | None = None

    def sent(self) -> dict[str, Any]:
        """What the client sent, and nothing else, the two names of the token cap brought in line.

        One of them sets both, `max_completion_tokens` if both are given; a null alone has no effect; two nulls are stored.
        """
        sent = self.model_dump(exclude_unset=True)
        caps = [sent.pop(name) for name in ("max_completion_tokens", "max_tokens") if name in sent]
        cap = next((value for value in caps if value is not None), None)
        if cap is not None or len(caps) == 2:
            sent |= {"max_completion_tokens": cap, "max_tokens": cap}
        return sent


def _checked(params: GenerationParams) -> GenerationParams:
    free_form(params.model_dump(exclude_unset=True))
    return params


Generation = Annotated[GenerationParams, AfterValidator(_checked)]


def non_null(params: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value is not None}
