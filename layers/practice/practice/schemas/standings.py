"""What many votes say about models."""

from enum import StrEnum

from practice.schemas.base import BaseModel
from practice.schemas.fields import Id


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
