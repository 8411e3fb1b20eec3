"""Usage as a learner sees it."""

from decimal import Decimal

from practice import table
from practice.caller import Caller
from practice.schemas.spending import ByModel, Spending, together
from practice.schemas.usage import ModelUsage, Usage, UsageDay, UsageFigures, UsageQuery, wire
from practice.store.usage import KINDS, count_of
from practice.table import keys


def get(caller: Caller, query: UsageQuery) -> Usage:
    """One request; one more for each megabyte."""
    first, last = query.first().isoformat(), query.last().isoformat()
    days = []
    turns = 0
    everything: list[Spending] = []
    for document in table.walk(keys.usage_days(caller.user_id, first, last), backwards=False):
        turns += count_of(document.item, "turns")
        models = by_model(document.item)
        everything += models.values()
        if models:
            shown = [ModelUsage.of(name, models[name]) for name in sorted(models)]
            days.append(UsageDay(date=keys.day_in(document.key.sk), models=shown))
    total = together(everything)._replace(turns=turns)
    return Usage(**{"from": first}, to=last, total=UsageFigures(**wire(total)), days=days)


def by_model(item: table.Item) -> ByModel:
    found: dict[str, dict[str, int]] = {}
    for attribute, value in item.items():
        kind, _, name = attribute.partition(":")
        if name and kind in KINDS:
            found.setdefault(name, {})[KINDS[kind]] = int(Decimal(value["N"]))
    return {name: Spending(**figures) for name, figures in found.items()}
