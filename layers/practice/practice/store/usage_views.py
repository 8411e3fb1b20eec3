"""Usage as a learner sees it."""

from datetime import UTC, date, datetime
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


class _Period(NamedTuple):
    items: dict[str, table.Item]
    """By day."""
    used: dict[str, ByModel]
    """By day, with what died before anything counted it."""
    turns: int

    def days(self) -> list[UsageDay]:
        return [
            UsageDay(date=day, models=[ModelUsage.of(name, models[name]) for name in sorted(models)])
            for day, models in sorted(self.used.items())
            if models
        ]


def _read(user_id: int, first: str, last: str) -> _Period:
    """Two requests; one more for each megabyte, and those that it takes to find what died."""
    walked = table.walk(keys.usage_days(user_id, first, last), backwards=False)
    items = {keys.day_in(document.key.sk): document.item for document in walked}
    used = {day: _by_model(item) for day, item in items.items()}
    turns = sum(count_of(item, "turns") for item in items.values())
    for lost in reservations.uncounted(user_id):
        if first <= lost.day <= last:
            turns += lost.turns
            used[lost.day] = added(used.get(lost.day, {}), lost.used)
    return _Period(items, used, turns)


def all_days(user_id: int) -> list[UsageDay]:
    """Those with usage, the oldest first. The requests of `get`."""
    return _read(user_id, date.min.isoformat(), date.max.isoformat()).days()


def get(caller: Caller, query: UsageQuery) -> UsageAndLeft:
    """Two requests, and one for the class; one more for each megabyte, and those that it takes to find what died."""
    first, last = query.first().isoformat(), query.last().isoformat()
    today = datetime.now(UTC).date().isoformat()
    found = _read(caller.user_id, first, last)
    spent = (each for models in found.used.values() for each in models.values())
    total = together(spent)._replace(turns=found.turns)
    usage = Usage(**{"from": first}, to=last, total=UsageFigures(**wire(total)), days=found.days())
    left = _left(query, today, found.items.get(today, {})) if first <= today <= last else None
    return UsageAndLeft(usage, left)


def _left(query: UsageQuery, today: str, item: table.Item) -> DayLeft:
    budgets = budgets_for(look_up(query.class_id, None).practice_class)
    return left_of(Claim(Reserved(name="", day=today, turns=1), budgets), item)


def _by_model(item: table.Item) -> ByModel:
    found: dict[str, dict[str, int]] = {}
    for attribute, value in item.items():
        kind, _, name = attribute.partition(":")
        if name and kind in KINDS:
            found.setdefault(name, {})[KINDS[kind]] = int(Decimal(value["N"]))
    return {name: Spending(**figures) for name, figures in found.items()}
