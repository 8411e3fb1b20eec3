"""Usage as a learner sees it."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple

from practice import table
from practice.caller import Caller
from practice.errors import DayLeft
from practice.schemas.spending import ByModel, Reserved, Spending, together
from practice.schemas.usage import ModelUsage, Usage, UsageDay, UsageFigures, UsageQuery, wire
from practice.store.catalogue import look_up
from practice.store.usage import KINDS, Claim, budgets_for, count_of, left_of
from practice.table import keys


class UsageAndLeft(NamedTuple):
    usage: Usage
    left: DayLeft | None
    """Of today, where today is among the days."""


def get(caller: Caller, query: UsageQuery) -> UsageAndLeft:
    """One request, and one for the class; one more for each megabyte."""
    first, last = query.first().isoformat(), query.last().isoformat()
    today = datetime.now(UTC).date().isoformat()
    days = []
    turns = 0
    everything: list[Spending] = []
    of_today: table.Item = {}
    for document in table.walk(keys.usage_days(caller.user_id, first, last), backwards=False):
        if keys.day_in(document.key.sk) == today:
            of_today = document.item
        turns += count_of(document.item, "turns")
        models = by_model(document.item)
        everything += models.values()
        if models:
            shown = [ModelUsage.of(name, models[name]) for name in sorted(models)]
            days.append(UsageDay(date=keys.day_in(document.key.sk), models=shown))
    total = together(everything)._replace(turns=turns)
    usage = Usage(**{"from": first}, to=last, total=UsageFigures(**wire(total)), days=days)
    return UsageAndLeft(usage, _left(query, today, of_today) if first <= today <= last else None)


def _left(query: UsageQuery, today: str, item: table.Item) -> DayLeft:
    budgets = budgets_for(look_up(query.class_id, None).practice_class)
    return left_of(Claim(Reserved(name="", day=today, turns=1), budgets), item)


def by_model(item: table.Item) -> ByModel:
    found: dict[str, dict[str, int]] = {}
    for attribute, value in item.items():
        kind, _, name = attribute.partition(":")
        if name and kind in KINDS:
            found.setdefault(name, {})[KINDS[kind]] = int(Decimal(value["N"]))
    return {name: Spending(**figures) for name, figures in found.items()}
