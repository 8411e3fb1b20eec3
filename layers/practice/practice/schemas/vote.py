"""Votes: which answer of a turn is the best, and what many votes say about models."""

from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from practice import limits
from practice.schemas.base import BaseModel
from practice.schemas.fields import Id, Timestamp, storable
from practice.schemas.page import Cursor

LABELS: Final = "ABCDEFGH"
assert len(LABELS) == limits.JUDGED_ANSWERS


class Tie(StrEnum):
    GOOD = "good"
    BAD = "bad"


class BlindQuery(BaseModel):
    cursor: Cursor | None = None
    """The `next_cursor` of the part before."""


class BlindAnswer(BaseModel):
    label: str
    response_text: str


class BlindTurn(BaseModel):
    """The answers of a turn without anything that says which model wrote them, in an order that says nothing."""

    turn_id: int
    prompt_text: str
    answers: list[BlindAnswer]
    next_cursor: str | None
    """Leads to the answers that did not fit."""


class NewVote(BaseModel):
    """Exactly one of `label`, `response_id` and `tie`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"label": "A"}]})

    label: (
        Annotated[str, Field(min_length=1, max_length=1, examples=["A"]), AfterValidator(storable)] | None
    ) = None
    """The best answer, by its label in the blind view: a blind vote."""
    response_id: Id | None = None
    """The best answer, by its id: an open vote."""
    tie: Tie | None = None
    """All answers are equally good, or equally bad."""
    blind: bool | None = None
    """Beside `tie`: whether it was decided on the blind view. null: it was not."""

    @model_validator(mode="after")
    def one_choice(self) -> Self:
        if sum(each is not None for each in (self.label, self.response_id, self.tie)) != 1:
            raise PydanticCustomError("one_choice", "Send exactly one of label, response_id and tie")
        return self

    @property
    def is_blind(self) -> bool:
        return self.label is not None or (self.tie is not None and self.blind is True)


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


class Scope(StrEnum):
    MINE = "mine"
    CLASS = "class"


class StandingsQuery(BaseModel):
    class_id: Id
    scope: Scope = Scope.MINE
    """`mine`: the caller's own votes. `class`: all votes of the class, from five voters on."""
    blind: bool = False
    """1: blind votes alone."""


class PairCounts(BaseModel):
    """How two models compare; `a` sorts before `b`."""

    a: str
    b: str
    a_wins: int
    b_wins: int
    ties: int


class ModelStanding(BaseModel):
    model_name: str
    wins: int
    losses: int
    ties: int
    score: int | None
    """Bradley-Terry strength on the Elo scale: mean 1000, 400 points for odds of ten. null where no chain of votes leads to
    the models that have scores."""
    low: int | None
    high: int | None
    """The 95 % interval of the score."""
    rank: int | None
    """One more than the number of models whose `low` is above this one's `high`."""


class Standings(BaseModel):
    class_id: int
    scope: Scope
    votes: int
    models: list[ModelStanding]
    """The best first; those without a score last."""
    pairs: list[PairCounts]


class Comparisons(BaseModel):
    """The counts of one pair, as they are kept: those of blind votes are among the others too."""

    a: str
    b: str
    a_wins: int = 0
    b_wins: int = 0
    ties: int = 0
    blind_a_wins: int = 0
    blind_b_wins: int = 0
    blind_ties: int = 0


class Tally(BaseModel):
    """What votes add up to."""

    votes: int = 0
    blind_votes: int = 0
    pairs: list[Comparisons] = []
    """By `a`, then `b`; none is zero."""


class UserTally(Tally):
    """The votes of one user in one class, imported ones included."""

    cast: int = 0
    """Of these, the votes that count for the class: those that were not imported."""
    blind_cast: int = 0
    epoch: int = -1
    """The last state of the class, by its number, that this user has changed."""


class ShownTally(Tally):
    """What the class shows: a state of its votes that stays until enough voters have changed it."""

    voters: int = 0
    blind_voters: int = 0
