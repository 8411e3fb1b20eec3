"""Exports and imports as jobs, and what was counted of them."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AliasChoices, Field, TypeAdapter

from practice.schemas.base import BaseModel
from practice.schemas.fields import Id, Timestamp


class Counts(BaseModel):
    examples: int = 0
    sessions: int = 0
    turns: int = 0
    responses: int = 0


class TransferStatus(StrEnum):
    """The words of a turn's status where they mean the same."""

    WAITING = "waiting"
    """For the file to be uploaded."""
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"

    @property
    def has_ended(self) -> bool:
        return self in (TransferStatus.DONE, TransferStatus.FAILED)


class StoredTransfer(BaseModel):
    transfer_id: int
    kind: Literal["export", "import"]
    status: Annotated[TransferStatus, Field(validation_alias=AliasChoices("status", "state"))]
    created_at: Timestamp
    expires_at: Timestamp
    counts: Counts | None = None
    problem: str | None = None
    """Why it failed: the line and what is wrong with it, never what it says."""
    has_file: bool = True
    """False for an import that came with its request."""
    attempts: int = 0
    """How often a worker has begun it."""


class Export(BaseModel):
    export_id: int
    status: TransferStatus
    created_at: Timestamp
    expires_at: Timestamp
    counts: Counts | None
    problem: str | None
    """Why it failed, or what a finished one lacks."""
    url: str | None
    """Where the file is, once it is done; the link lasts an hour, the file until `expires_at`."""


class Import(BaseModel):
    import_id: int
    status: TransferStatus
    created_at: Timestamp
    expires_at: Timestamp
    counts: Counts | None
    """What is written so far, and in the end all that was."""
    problem: str | None
    upload_url: str | None
    """Where to PUT the file while the import is waiting for it."""


class TransferMessage(BaseModel):
    user_id: Id
    transfer_id: Id


TRANSFER_MESSAGE = TypeAdapter(TransferMessage)
