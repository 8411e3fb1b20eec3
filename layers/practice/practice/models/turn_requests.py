"""What a client sends to have models asked."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from practice import limits
from practice.models.fields import FreeForm, Id, KnowledgeIds, ModelName, Prompt
from practice.models.generation import Generation
from practice.models.session_requests import NewSession
from practice.models.settings import StylePreset
from practice.models.settings_requests import Selection, SettingsChanges


def _not_blank(value: str) -> str:
    if not value.strip():
        raise PydanticCustomError("string_blank", "String should not be blank")
    return value


class NewTurn(BaseModel):
    """The next turn of a session."""

    model_config = ConfigDict(extra="forbid")

    prompt_text: Annotated[
        Prompt,
        AfterValidator(_not_blank),
        Field(
            description=f"Not blank; at most {limits.PROMPT_BYTES} bytes in UTF-8.",
            json_schema_extra={"minLength": 1},
        ),
    ]
    model_names: Annotated[list[ModelName], Field(max_length=limits.SESSION_MODELS)] | None = None
    """null or `[]`: every model of the session that may run."""


class NewRun(NewTurn):
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
