"""Votes: which answer of a turn is the best."""

from enum import StrEnum
from typing import Final

from practice import limits
from practice.schemas.base import BaseModel
from practice.schemas.fields import Timestamp

LABELS: Final = "ABCDEFGH"
assert len(LABELS) == limits.JUDGED_ANSWERS


class Tie(StrEnum):
    GOOD = "good"
    BAD = "bad"


class LabelledAnswer(BaseModel):
    label: str
    response_id: int
    model_name: str


class JudgedAnswer(LabelledAnswer):
    """An answer that a vote compares."""

    session_model_id: int


class StoredVote(BaseModel):
    turn_id: int
    class_id: int | None
    """The class that the vote counts for."""
    blind: bool
    winner: int | None
    tie: Tie | None
    answers: list[JudgedAnswer]
    imported: bool = False
    """It came with an import, or its answers did: it does not count for the class."""
    created_at: Timestamp
    updated_at: Timestamp

    def same_choice(self, other: "StoredVote") -> bool:
        return (self.winner, self.tie, self.answers) == (other.winner, other.tie, other.answers)

    def wire(self) -> "Vote":
        return Vote(
            turn_id=self.turn_id,
            blind=self.blind,
            winner=self.winner,
            tie=self.tie,
            revealed=[LabelledAnswer.model_validate(each.model_dump()) for each in self.answers],
            created_at=self.created_at,
            updated_at=self.updated_at,
        )


class Vote(BaseModel):
    turn_id: int
    blind: bool
    """Whether it was cast on the blind view, before any vote of this turn had revealed the models."""
    winner: int | None
    """The response id of the best answer; null for a tie."""
    tie: Tie | None
    revealed: list[LabelledAnswer]
    """The answers that were compared, by label."""
    created_at: Timestamp
    updated_at: Timestamp
