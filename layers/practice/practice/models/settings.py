"""The settings of a session: style, generation, the selected examples, the agent as it was."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, Field

from practice.models.example import Example
from practice.models.fields import Timestamp


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
    """Everything of the settings that is not somebody else's."""

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
    """The generation parameters that somebody sent; the others are defaults, which rank below every choice."""
    version: int = 1
    """Of what is shown: choosing what already stands changes `chosen` alone."""


class Settings(OwnSettings):
    style_preset: Annotated[
        str | None,
        Field(json_schema_extra={"anyOf": [{"enum": [*StylePreset], "type": "string"}, {"type": "null"}]}),
    ]
    style_params: dict[str, Any]
    generation_params: dict[str, Any]
    agent_snapshot: dict[str, Any]
    few_shot_links: list[FewShotLink]
