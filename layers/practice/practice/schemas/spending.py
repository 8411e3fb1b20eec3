"""What models cost: tokens and money, and the budgets of a day.

Money is counted in whole `ATTO` dollars (10^-18): a price with twelve decimals for a million tokens is exact in it.
"""

import json
from collections.abc import Iterable
from decimal import Decimal
from typing import Annotated, Final, NamedTuple, Self

from pydantic import Field

from practice.schemas.base import BaseModel

Dollars = Annotated[Decimal, Field(ge=0, max_digits=12, allow_inf_nan=False)]

ATTO: Final = 10**18
_PER_TOKEN: Final = 12
"""Decimal places from dollars for a million tokens to 10^-18 dollars for one."""


def atto(dollars: Decimal) -> int:
    return int(dollars.scaleb(18))


def price_of_token(dollars_per_million: Decimal) -> int:
    return int(dollars_per_million.scaleb(_PER_TOKEN))


def in_dollars(amount: int | None) -> str | None:
    """A decimal string, exact."""
    if amount is None:
        return None
    whole, rest = divmod(amount, ATTO)
    return f"{whole}.{rest:018d}".rstrip("0").rstrip(".")


class Spending(NamedTuple):
    """What a model took for one request, or for several turns."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: int | None = None
    """10^-18 dollars; None for a model without a price."""
    turns: int = 0
    """Those that asked the model."""
    answers: int = 0
    """Those that were kept."""

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def plus(self, other: Self, sign: int = 1) -> "Spending":
        costs = [self.cost, None if other.cost is None else sign * other.cost]
        known = [cost for cost in costs if cost is not None]
        return Spending(
            self.prompt_tokens + sign * other.prompt_tokens,
            self.completion_tokens + sign * other.completion_tokens,
            sum(known) if known else None,
            self.turns + sign * other.turns,
            self.answers + sign * other.answers,
        )


ByModel = dict[str, Spending]
"""By the name of the model."""


def together(spent: Iterable[Spending]) -> Spending:
    total = Spending()
    for each in spent:
        total = total.plus(each)
    return total


def difference(after: ByModel, before: ByModel) -> ByModel:
    return {name: spent.plus(before.get(name, Spending()), -1) for name, spent in after.items()}


def added(one: ByModel, other: ByModel) -> ByModel:
    return one | {name: spent.plus(one.get(name, Spending())) for name, spent in other.items()}


def written(by_model: ByModel) -> str:
    return json.dumps(by_model)


def read(text: str) -> ByModel:
    return {name: Spending(*figures) for name, figures in json.loads(text).items()}


class DailyBudget(NamedTuple):
    """What a user may use in a day; None is no limit, 0 is nothing."""

    turns: int | None = None
    tokens: int | None = None
    cost: int | None = None

    @property
    def is_limited(self) -> bool:
        return self != DailyBudget()

    @property
    def needs_estimate(self) -> bool:
        return self.tokens is not None or self.cost is not None


class Reserved(BaseModel):
    """What budgets hold for a turn or a title until it ends. Without a budget, nothing."""

    name: str
    """Of the reservation's item."""
    day: str
    class_id: int | None = None
    """Of an announced class: its budget counts too."""
    turns: int = 0
    tokens: int = 0
    cost: int = 0
