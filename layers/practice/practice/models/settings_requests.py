"""What a client sends to change the settings of a session."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from practice import limits
from practice.models.fields import FreeForm, distinct
from practice.models.generation import Generation
from practice.models.settings import StylePreset

Selection = Annotated[
    list[Annotated[int, Field(le=limits.MAX_ID)]],
    Field(max_length=limits.SENT_IDS),
    AfterValidator(distinct(limits.SELECTED_EXAMPLES)),
    Field(
        description="Duplicates and values below 1 are dropped, and do not count.",
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
