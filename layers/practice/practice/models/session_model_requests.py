"""What a client sends to add and to change a model of a session."""

from pydantic import BaseModel

from practice.models.fields import ModelName
from practice.models.generation import Generation


class NewSessionModel(BaseModel):
    model_name: ModelName
    is_primary: bool | None = None
    generation_params: Generation | None = None


class SessionModelChanges(BaseModel):
    is_primary: bool | None = None
    generation_params: Generation | None = None
