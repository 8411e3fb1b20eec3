"""The settings of a session: style, generation, the selected examples, the agent's snapshot."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field

from practice import limits
from practice.schemas.base import BaseModel
from practice.schemas.example import Example
from practice.schemas.fields import FreeForm, Timestamp, distinct
from practice.schemas.generation import Generation


class StylePreset(StrEnum):
    ACCURATE = "accurate"
    BALANCED = "balanced"
    CREATIVE = "creative"
    CUSTOM = "custom"


class Link(BaseModel):
    """An example's place in the selection, as it is stored."""

    id: int
    example_id: int
    sort_order: int
    created_at: Timestamp


class FewShotLink(BaseModel):
    id: int
    setting_id: int
    example_id: int
    sort_order: int
    created_at: Timestamp
    example: Example


class OwnSettings(BaseModel):
    """The settings' own fields, without the examples they select."""

    setting_id: int
    session_id: int
    created_at: Timestamp
    updated_at: Timestamp
    style_preset: str | None = None
    style_params: dict[str, Any] = {}
    generation_params: dict[str, Any] = {}
    agent_snapshot: dict[str, Any] = {}


class StoredSettings(OwnSettings):
    links: list[Link] = []
    chosen: list[str] = []
    """The generation parameters that a client sent; the others are defaults, which rank below every choice."""
    version: int = 1
    """Of what is shown: choosing the current value changes `chosen` alone."""


class Settings(OwnSettings):
    style_preset: Annotated[
        str | None,
        Field(json_schema_extra={"anyOf": [{"enum": [*StylePreset], "type": "string"}, {"type": "null"}]}),
    ]
    style_params: dict[str, Any]
    generation_params: dict[str, Any]
    agent_snapshot: dict[str, Any]
    few_shot_links: list[FewShotLink]


Selection = Annotated[
    list[Annotated[int, Field(le=limits.MAX_ID)]],
    Field(max_length=limits.SENT_IDS),
    AfterValidator(distinct(limits.SELECTED_EXAMPLES)),
    Field(
        description="Duplicates and values below 1 are dropped, and do not count.",
        examples=[[]],
        json_schema_extra={"maxItems": limits.SELECTED_EXAMPLES},
    ),
]


class SettingsChanges(BaseModel):
    """Absent means unchanged; the two objects are merged key by key, the selection is replaced."""

    model_config = ConfigDict(use_enum_values=True)

    style_preset: StylePreset | None = None
    style_params: FreeForm | None = None
    generation_params: Generation | None = None
    few_shot_example_ids: Selection | None = None
