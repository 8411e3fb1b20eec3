"""Usage as a learner sees it."""

from decimal import Decimal

from practice import table
from practice.caller import Caller
from practice.schemas.spending import ByModel, Spending, added, together
from practice.schemas.usage import ModelUsage, Usage, UsageDay, UsageFigures, UsageQuery, wire
from practice.store import reservations
from practice.store.usage import KINDS, count_of
from practice.table import keys


def get(caller: Caller, query: UsageQuery) -> Usage:
    """Two requests; one more for each megabyte, and those that it takes to find what died."""
    first, last = query.first().isoformat(), query.last().isoformat()
    used: dict[str, ByModel] = {}
    turns = 0
    for document in table.walk(keys.usage_days(caller.user_id, first, last), backwards=False):
        turns += count_of(document.item, "turns")
        used[keys.day_in(document.key.sk)] = by_model(document.item)
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
    return Usage(**{"from": first}, to=last, total=UsageFigures(**wire(total)), days=days)


def by_model(item: table.Item) -> ByModel:
    found: dict[str, dict[str, int]] = {}
    for attribute, value in item.items():
        kind, _, name = attribute.partition(":")
        if name and kind in KINDS:
            found.setdefault(name, {})[KINDS[kind]] = int(Decimal(value["N"]))
    return {name: Spending(**figures) for name, figures in found.items()}
