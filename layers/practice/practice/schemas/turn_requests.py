"""What a client sends for turns."""

from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from practice import limits
from practice.schemas.base import BaseModel
from practice.schemas.fields import FreeForm, Id, KnowledgeIds, ModelName, Prompt
from practice.schemas.generation import Generation
from practice.schemas.page import Cursor, SliceQuery
from practice.schemas.session import NewSession
from practice.schemas.settings import Selection, SettingsChanges, StylePreset


def _not_blank(value: str) -> str:
    if not value.strip():
        raise PydanticCustomError("string_blank", "String should not be blank")
    return value


class NewPrompt(BaseModel):
    """What is asked of which models."""

    model_config = ConfigDict(extra="forbid")

    prompt_text: Annotated[
        Prompt,
        AfterValidator(_not_blank),
        Field(
            description=f"Not blank; at most {limits.PROMPT_BYTES} bytes in UTF-8.",
            json_schema_extra={"minLength": 1},
        ),
    ]
    model_names: Annotated[list[ModelName], Field(max_length=limits.SESSION_MODELS, examples=[[]])] | None = (
        None
    )
    """null or `[]`: every model of the session that may run."""


class NewTurn(NewPrompt):
    """The next turn of a session."""

    after_turn_id: Annotated[Id | None, Field(examples=[None])] = None
    """The turn that this one follows: models are shown that turn and those before it. null: none, a new beginning.
    Absent: the newest turn that has ended."""


class NewRun(NewPrompt):
    """A session with its first turn; what is not the turn's is kept on the session."""

    model_config = ConfigDict(use_enum_values=True)

    agent_id: Id | None = None
    project_id: Id | None = None
    knowledge_ids: KnowledgeIds | None = None
    style_preset: StylePreset | None = None
    style_params: FreeForm | None = None
    generation_params: Generation | None = None
    few_shot_example_ids: Selection | None = None

    def session(self, class_id: int) -> NewSession:
        return NewSession.model_construct(
            class_id=class_id,
            project_id=self.project_id,
            knowledge_ids=self.knowledge_ids,
            agent_id=self.agent_id,
        )

    def settings(self) -> SettingsChanges:
        names = self.model_fields_set & SettingsChanges.model_fields.keys()
        return SettingsChanges.model_construct(**{name: getattr(self, name) for name in names})


class RunQuery(BaseModel):
    class_id: Id


class TurnListQuery(SliceQuery):
    leaf: Id | None = None
    """Of this turn and those before it on its branch alone."""


class TurnQuery(BaseModel):
    cursor: Cursor | None = None
    """Continues a turn that is too big for one answer: the header `x-next-cursor`."""
