"""What an export holds, line by line, and an import takes: NDJSON, oldest first, every line checked."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, Field, TypeAdapter

from practice import limits
from practice.schemas.example import NewExample
from practice.schemas.fields import FreeForm, Id, ModelName, Timestamp
from practice.schemas.response import NewResponse
from practice.schemas.session import SessionFields
from practice.schemas.settings import StylePreset
from practice.schemas.turn import TurnError, TurnStatus

Moment = Annotated[
    Timestamp, Field(pattern=r"^\d{4}-(0\d|1[0-2])-([0-2]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d\.\d{6}Z$")
]


class Header(BaseModel):
    """The first line."""

    type: Literal["practice-export"] = "practice-export"
    version: Literal[1] = 1
    exported_at: Moment


class ExampleLine(NewExample):
    type: Literal["example"] = "example"
    example_id: Id
    created_at: Moment
    updated_at: Moment


class LinkLine(BaseModel):
    example_id: Id
    sort_order: Annotated[int, Field(ge=0)]
    created_at: Moment


class SettingsLine(BaseModel):
    created_at: Moment
    updated_at: Moment
    style_preset: StylePreset | None
    style_params: FreeForm
    generation_params: FreeForm
    chosen: list[str]
    agent_snapshot: FreeForm
    few_shot_links: Annotated[list[LinkLine], Field(max_length=limits.SELECTED_EXAMPLES)]


class ModelLine(BaseModel):
    session_model_id: Id
    model_name: ModelName
    is_primary: bool
    generation_params: FreeForm
    chosen: list[str]
    runs: bool


class SessionLine(SessionFields):
    """`next_id` and the ids of models, turns and responses are numbered from the session's own."""

    type: Literal["session"] = "session"
    session_id: Id
    created_at: Moment
    updated_at: Moment
    active_at: Moment
    settings: SettingsLine
    models: Annotated[list[ModelLine], Field(max_length=limits.SESSION_MODELS)]
    deleted_model_names: list[ModelName]
    next_id: Id
    last_answered_at: Moment


class AskedLine(BaseModel):
    session_model_id: Id
    model_name: ModelName
    response_id: Id
    is_primary: bool
    generation_params: FreeForm


class TurnSettingsLine(BaseModel):
    version: int
    style_preset: StylePreset | None
    style_params: FreeForm
    generation_params: FreeForm
    agent_snapshot: FreeForm
    few_shot_example_ids: list[int]
    knowledge_ids: list[int]


class TurnLine(BaseModel):
    """A turn that has ended."""

    type: Literal["turn"] = "turn"
    turn_id: Id
    status: TurnStatus
    prompt_text: Annotated[str, Field(max_length=limits.PROMPT_BYTES)]
    created_at: Moment
    asked: Annotated[list[AskedLine], Field(min_length=1, max_length=limits.SESSION_MODELS)]
    errors: list[TurnError]
    settings: TurnSettingsLine


class ResponseLine(NewResponse):
    type: Literal["response"] = "response"
    response_id: Id
    session_model_id: Id
    model_name: ModelName
    created_at: Moment


Line = Header | ExampleLine | SessionLine | TurnLine | ResponseLine
LINE: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Field(discriminator="type")])


class Counts(BaseModel):
    examples: int = 0
    sessions: int = 0
    turns: int = 0
    responses: int = 0


class TransferState(StrEnum):
    WAITING = "waiting"
    """For the file to be uploaded."""
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class StoredTransfer(BaseModel):
    transfer_id: int
    kind: Literal["export", "import"]
    state: TransferState
    created_at: Timestamp
    expires_at: Timestamp
    counts: Counts | None = None
    problem: str | None = None
    """Why it failed: the line and the fault, never the content of the line."""


class Export(BaseModel):
    export_id: int
    state: TransferState
    created_at: Timestamp
    expires_at: Timestamp
    counts: Counts | None
    problem: str | None
    url: str | None
    """Where the file is, once it is done; the link lasts an hour, the file until `expires_at`."""


class Import(BaseModel):
    import_id: int
    state: TransferState
    created_at: Timestamp
    expires_at: Timestamp
    counts: Counts | None
    problem: str | None
    upload_url: str | None
    """Where to PUT the file while the import is waiting for it."""


class TransferMessage(BaseModel):
    user_id: Id
    transfer_id: Id


TRANSFER_MESSAGE = TypeAdapter(TransferMessage)
