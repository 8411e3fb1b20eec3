"""The queue messages that the stream function sends: work that would block a shard for too long."""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from practice.schemas.base import DEFERRED, BaseModel
from practice.schemas.fields import Id


class SweepSession(BaseModel):
    sweep: Literal["session"] = "session"
    user_id: Id
    session_id: Id


class SweepModel(BaseModel):
    sweep: Literal["model"] = "model"
    user_id: Id
    session_model_id: Id


class SweepExample(BaseModel):
    sweep: Literal["example"] = "example"
    user_id: Id
    example_id: Id


class SweepTurns(BaseModel):
    """Turns of one session that lost an answer, and may have none left."""

    sweep: Literal["turns"] = "turns"
    user_id: Id
    turn_ids: list[Id]


class SweepParts(BaseModel):
    """Parts of a long document. The delete removed its main item alone."""

    sweep: Literal["parts"] = "parts"
    pk: Annotated[str, Field(pattern=r"^USER#[1-9][0-9]{0,15}$")]
    sk: str
    version: int
    count: Annotated[int, Field(ge=1, le=100)]


Sweep = SweepSession | SweepModel | SweepExample | SweepTurns | SweepParts
SWEEP: TypeAdapter[Sweep] = TypeAdapter(Annotated[Sweep, Field(discriminator="sweep")], config=DEFERRED)


class WriteTitle(BaseModel):
    """For a session that has an answer and no title."""

    user_id: Id
    session_id: Id


TITLE = TypeAdapter(WriteTitle)
