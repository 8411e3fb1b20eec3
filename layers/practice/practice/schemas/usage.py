"""What models cost: tokens and money by day and model, and the budgets of a day.

Money is counted in whole `ATTO` dollars (10^-18): a price with twelve decimals for a million tokens is exact in it.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Final, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from practice.limits import DEFAULT_USAGE_DAYS, USAGE_DAYS
from practice.schemas.page import parameter_error

Dollars = Annotated[Decimal, Field(ge=0, max_digits=12, allow_inf_nan=False)]

ATTO: Final = 10**18
_PER_TOKEN: Final = 12
"""Decimal places from dollars for a million tokens to 10^-18 dollars for one."""


def atto(dollars: Decimal) -> int:
    return int(dollars.scaleb(18))


def price_of_token(dollars_per_million: Decimal) -> int:
    return int(dollars_per_million.scaleb(_PER_TOKEN))


def dollars(amount: int | None) -> str | None:
    """A decimal string, exact."""
    if amount is None:
        return None
    whole, rest = divmod(amount, ATTO)
    return f"{whole}.{rest:018d}".rstrip("0").rstrip(".")


def _sum(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else one + other


class Spending(BaseModel):
    """What a model took for one request."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: int | None = None
    """10^-18 dollars; None for a model without a price."""


class Figures(Spending):
    """The same of several requests, with the turns that asked the model and the answers that were kept."""

    turns: int = 0
    answers: int = 0

    def __add__(self, other: "Figures") -> "Figures":
        return self._with(other, 1)

    def __sub__(self, other: "Figures") -> "Figures":
        return self._with(other, -1)

    def _with(self, other: "Figures", sign: int) -> "Figures":
        return Figures(
            turns=self.turns + sign * other.turns,
            answers=self.answers + sign * other.answers,
            prompt_tokens=self.prompt_tokens + sign * other.prompt_tokens,
            completion_tokens=self.completion_tokens + sign * other.completion_tokens,
            cost=_sum(self.cost, None if other.cost is None else sign * other.cost),
        )

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


ByModel = dict[str, Figures]
"""By the name of the model."""


def together(figures: Iterable[Figures]) -> Figures:
    return sum(figures, Figures())


def difference(after: ByModel, before: ByModel) -> ByModel:
    return {name: figures - before.get(name, Figures()) for name, figures in after.items()}


class DailyBudget(BaseModel):
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


def _day(text: str) -> str:
    try:
        is_day = len(text) == 10 and date.fromisoformat(text).isoformat() == text
    except ValueError:
        is_day = False
    if not is_day:
        raise PydanticCustomError("date_parsing", "Input should be a valid date, YYYY-MM-DD")
    return text


Day = Annotated[str, AfterValidator(_day), Field(json_schema_extra={"format": "date"})]


class UsageQuery(BaseModel):
    """Days in UTC, both included."""

    model_config = ConfigDict(serialize_by_alias=True)

    from_: Annotated[Day | None, Field(alias="from")] = None
    """29 days before `to` when absent."""
    to: Day | None = None
    """Today when absent."""

    @model_validator(mode="after")
    def is_a_period(self) -> Self:
        last = self.last()
        if self.from_ is not None and date.fromisoformat(self.from_) > last:
            raise parameter_error("from", PydanticCustomError("date_range", "from should not be after to"))
        if (last - self.first()).days >= USAGE_DAYS:
            message = f"At most {USAGE_DAYS} days can be asked for"
            raise parameter_error("from", PydanticCustomError("too_many_days", message))
        return self

    def last(self) -> date:
        return date.fromisoformat(self.to) if self.to else datetime.now(UTC).date()

    def first(self) -> date:
        if self.from_:
            return date.fromisoformat(self.from_)
        earliest = date.min + timedelta(days=DEFAULT_USAGE_DAYS - 1)
        return max(self.last(), earliest) - timedelta(days=DEFAULT_USAGE_DAYS - 1)


class UsageFigures(BaseModel):
    turns: int
    answers: int
    """Those that were kept."""
    prompt_tokens: int
    completion_tokens: int
    cost_usd: Annotated[str, Field(examples=["0.0125"])] | None
    """US dollars, exact; null without a price."""


class _OfModel(BaseModel):
    model_name: str


class ModelUsage(UsageFigures, _OfModel):
    @classmethod
    def of(cls, name: str, figures: Figures) -> Self:
        return cls(model_name=name, **wire(figures))


class UsageDay(BaseModel):
    date: str
    models: list[ModelUsage]


class Usage(BaseModel):
    """What the models of a user's turns and titles took; a turn counts on the day on which it began."""

    model_config = ConfigDict(serialize_by_alias=True)

    from_: Annotated[str, Field(alias="from")]
    to: str
    total: UsageFigures
    """`turns` counts each turn once, however many models it asked."""
    days: list[UsageDay]
    """Those with usage."""


def wire(figures: Figures) -> dict[str, object]:
    return {
        "turns": figures.turns,
        "answers": figures.answers,
        "prompt_tokens": figures.prompt_tokens,
        "completion_tokens": figures.completion_tokens,
        "cost_usd": dollars(figures.cost),
    }
