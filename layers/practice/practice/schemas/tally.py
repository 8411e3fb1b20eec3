"""What votes add up to, as it is stored."""

from practice.schemas.base import BaseModel


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
