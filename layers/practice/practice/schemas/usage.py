"""Usage as it is asked for and shown."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from practice.limits import DEFAULT_USAGE_DAYS, USAGE_DAYS
from practice.schemas.base import BaseModel
from practice.schemas.fields import Id
from practice.schemas.page import parameter_error
from practice.schemas.spending import Spending, in_dollars


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
    class_id: Id | None = None
    """A class whose budget `RateLimit` shows beside the user's."""

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
    def of(cls, name: str, spent: Spending) -> Self:
        return cls(model_name=name, **wire(spent))


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


def wire(spent: Spending) -> dict[str, Any]:
    figures = spent._asdict()
    return figures | {"cost_usd": in_dollars(figures.pop("cost"))}
