"""The lines of an exported file, whose fields have the types of the API's own."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    PlainSerializer,
    TypeAdapter,
    model_validator,
)
from pydantic_core import PydanticCustomError

from practice import limits
from practice.schemas.base import DEFERRED, BaseModel
from practice.schemas.catalogue import AgentFields
from practice.schemas.example import NewExample
from practice.schemas.fields import (
    FreeForm,
    Id,
    KnowledgeIds,
    ModelName,
    Text,
    Timestamp,
    compact_bytes,
    distinct,
)
from practice.schemas.generation import Generation
from practice.schemas.rating import NewRating
from practice.schemas.response import NewResponse
from practice.schemas.session import SessionFields
from practice.schemas.settings import StylePreset
from practice.schemas.turn import ErrorCode, TurnStatus
from practice.schemas.turn_requests import NewTurn
from practice.schemas.vote import LABELS, Tie

ASKED_BYTES: Final = 8 * limits.KB
"""Generation parameters as they were sent for one model: ours, and 2 KB of others."""
ERRORS_BYTES: Final = 44 * limits.KB
"""They are attributes of their turn's item, which has at most 350 KB beside them.
Those of twenty models take 38 KB at most."""


_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_AHEAD: Final = timedelta(days=1)
"""How far the clock of an export may be ahead of this one. The next turns of a session come after its moments, and count on
their day: a file that chose these days would choose budgets too."""


def _real(value: str) -> str:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise PydanticCustomError("datetime_parsing", "Input should be a valid datetime") from None
    if not _EARLIEST <= moment <= datetime.now(UTC) + _AHEAD:
        raise PydanticCustomError("datetime_range", "Input should be a datetime from 1970 on that has passed")
    return value


Moment = Annotated[
    Timestamp,
    Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$"),
    AfterValidator(_real),
]


def _unique(values: list[Any]) -> list[Any]:
    if len(set(values)) < len(values):
        raise PydanticCustomError("duplicates", "List should have no item twice")
    return values


Unique = AfterValidator(_unique)


class Header(BaseModel):
    """The first line."""

    type: Literal["practice-export"] = "practice-export"
    version: Literal[1, 2] = 2
    """Of version 1, which had no branches: its turns follow each other by time."""
    exported_at: Moment
    is_complete: bool = True
    """False for an export that was taken while an import was at work: it holds what had come in by then."""


class ExampleLine(NewExample):
    type: Literal["example"] = "example"
    example_id: Id
    created_at: Moment
    updated_at: Moment


class LinkLine(BaseModel):
    example_id: Id
    sort_order: Annotated[int, Field(ge=0, lt=limits.SELECTED_EXAMPLES)]
    created_at: Moment


class AgentSnapshot(AgentFields):
    updated_at: Moment


class NoSnapshot(BaseModel, extra="forbid"):
    """`{}`: no agent, or an unknown one."""


def _kept(params: BaseModel) -> dict[str, Any]:
    return params.model_dump(exclude_unset=True)


_AsItIs: Final = PlainSerializer(lambda value: value, return_type=dict[str, Any])
Parameters = Annotated[Generation, AfterValidator(_kept), _AsItIs]
"""Generation parameters as they are stored: the keys that were there, and no others."""
Snapshot = Annotated[
    NoSnapshot | AgentSnapshot, Field(union_mode="left_to_right"), AfterValidator(_kept), _AsItIs
]


class _Chosen(BaseModel):
    generation_params: Parameters
    chosen: Annotated[list[Text], Field(max_length=limits.SENT_IDS), Unique]
    """The names of the parameters that were sent; the others are defaults."""

    @model_validator(mode="after")
    def chosen_are_there(self) -> Self:
        params: Any = self.generation_params
        if not set(self.chosen) <= set(params):
            raise PydanticCustomError("chosen", "Each chosen parameter should be one of generation_params")
        return self


class SettingsLine(_Chosen):
    created_at: Moment
    updated_at: Moment
    style_preset: StylePreset | None
    style_params: FreeForm
    agent_snapshot: Snapshot
    few_shot_links: Annotated[list[LinkLine], Field(max_length=limits.SELECTED_EXAMPLES)]


class ModelLine(_Chosen):
    session_model_id: Id
    model_name: ModelName
    is_primary: bool
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
    deleted_model_names: Annotated[list[ModelName], Unique]
    next_id: Id
    last_answered_at: Moment


def _sent(params: dict[str, Any]) -> dict[str, Any]:
    if compact_bytes(params) > ASKED_BYTES:
        raise PydanticCustomError(
            "too_long", "Object should have at most {limit} bytes as JSON", {"limit": ASKED_BYTES}
        )
    return params


class AskedLine(BaseModel):
    session_model_id: Id
    model_name: ModelName
    response_id: Id
    is_primary: bool
    generation_params: Annotated[FreeForm, AfterValidator(_sent)]


MachineWord = Annotated[str, Field(pattern="^[A-Za-z0-9_.-]{1,64}$")]


class ReasonLine(BaseModel, extra="forbid"):
    """What is absent was not said."""

    status: Annotated[int, Field(ge=100, le=999)] = 100
    code: MachineWord = ""
    param: MachineWord = ""
    type: MachineWord = ""


class ErrorLine(BaseModel):
    session_model_id: Id
    model_name: ModelName
    code: ErrorCode
    detail: Text
    reason: Annotated[ReasonLine, AfterValidator(_kept), _AsItIs] | None = None


def _few(errors: list[ErrorLine]) -> list[ErrorLine]:
    if sum(len(each.model_dump_json().encode()) for each in errors) > ERRORS_BYTES:
        raise PydanticCustomError(
            "too_long", "Errors should have at most {limit} bytes as JSON", {"limit": ERRORS_BYTES}
        )
    return errors


class TurnSettingsLine(BaseModel):
    version: Id
    style_preset: StylePreset | None
    style_params: FreeForm
    generation_params: Parameters
    agent_snapshot: Snapshot
    few_shot_example_ids: Annotated[
        list[Id], Field(max_length=limits.SENT_IDS), AfterValidator(distinct(limits.SELECTED_EXAMPLES))
    ]
    knowledge_ids: KnowledgeIds


class TurnLine(BaseModel):
    """A turn that has ended."""

    type: Literal["turn"] = "turn"
    turn_id: Id
    class_id: Id | None = None
    status: TurnStatus
    prompt_text: Annotated[str, NewTurn.model_fields["prompt_text"]]
    created_at: Moment
    asked: Annotated[list[AskedLine], Field(min_length=1, max_length=limits.SESSION_MODELS)]
    errors: Annotated[list[ErrorLine], Field(max_length=limits.SESSION_MODELS), AfterValidator(_few)]
    settings: TurnSettingsLine
    after_turn_id: Id | None = None
    """Absent: the turn follows the one before it by time, as responses do that were added by hand."""


class DeletedTurnLine(BaseModel):
    """What is left of a turn whose answers were all deleted: its place among the turns."""

    type: Literal["deleted_turn"] = "deleted_turn"
    turn_id: Id
    created_at: Moment
    after_turn_id: Id | None = None
    """As for a turn."""


class RatingLine(NewRating):
    created_at: Moment
    updated_at: Moment


class ResponseLine(NewResponse):
    type: Literal["response"] = "response"
    response_id: Id
    session_model_id: Id
    model_name: ModelName
    created_at: Moment
    rating: RatingLine | None = None


class JudgedLine(BaseModel):
    label: Annotated[str, Field(pattern=f"^[{LABELS}]$")]
    response_id: Id


class VoteLine(BaseModel):
    """It follows the responses of its session. Its class is that of its turn."""

    type: Literal["vote"] = "vote"
    turn_id: Id
    blind: bool
    winner: Id | None
    tie: Tie | None
    answers: Annotated[list[JudgedLine], Field(min_length=2, max_length=limits.JUDGED_ANSWERS)]
    created_at: Moment
    updated_at: Moment


class UsageLine(BaseModel):
    """What models took on a day: read over."""

    type: Literal["usage"] = "usage"


Line = Header | UsageLine | ExampleLine | SessionLine | TurnLine | DeletedTurnLine | ResponseLine | VoteLine
LINE: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Field(discriminator="type")], config=DEFERRED)
