"""Usage as a learner sees it."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple

from practice import table
from practice.caller import Caller
from practice.errors import DayLeft
from practice.schemas.spending import ByModel, Reserved, Spending, added, together
from practice.schemas.usage import ModelUsage, Usage, UsageDay, UsageFigures, UsageQuery, wire
from practice.store import reservations
from practice.store.catalogue import look_up
from practice.store.usage import KINDS, Claim, budgets_for, count_of, left_of
from practice.table import keys


class UsageAndLeft(NamedTuple):
    usage: Usage
    left: DayLeft | None
    """Of today, where today is among the days."""


def get(caller: Caller, query: UsageQuery) -> UsageAndLeft:
    """Two requests, and one for the class; one more for each megabyte, and those that it takes to find what died."""
    first, last = query.first().isoformat(), query.last().isoformat()
    today = datetime.now(UTC).date().isoformat()
    used: dict[str, ByModel] = {}
    turns = 0
    of_today: table.Item = {}
    for document in table.walk(keys.usage_days(caller.user_id, first, last), backwards=False):
        day = keys.day_in(document.key.sk)
        turns += count_of(document.item, "turns")
        used[day] = by_model(document.item)
        if day == today:
            of_today = document.item
    for lost in reservations.uncounted(caller.user_id):
        if first <= lost.day <= last:
            turns += lost.turns
            used[lost.day] = added(used.get(lost.day, {}), lost.used)
    days = [
        UsageDay(date=day, models=[ModelUsage.of(name, models[name]) for name in sorted(models)])
        for day, models in sorted(used.items())
        if models
    ]
    total = together(spent for models in used.values() for spent in models.values())._replace(turns=turns)
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
