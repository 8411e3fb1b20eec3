"""Usage by user, day and model, and the budgets that hold it.

One item for each user and day counts what was used (`turns`, and with a model's name after a colon `turns:`, `answers:`,
`prompt:`, `completion:`, `cost:`), and for budgets what is used and reserved together (`budget_turns`, `budget_tokens`,
`budget_cost`; of an announced class the same with its id after a colon).

The transaction that begins a turn writes a reservation and adds to the budgets what the turn may cost; the one that ends it
deletes the reservation and adds to them the difference to what it did cost.
"""

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple

from practice import table
from practice.errors import DailyBudgetSpent, DayLeft, Left, SessionNotFound
from practice.runtime.config import config
from practice.schemas.catalogue import PracticeClass
from practice.schemas.spending import ByModel, DailyBudget, Reserved, together
from practice.table import keys

KINDS: Final = {
    "turns": "turns",
    "answers": "answers",
    "prompt": "prompt_tokens",
    "completion": "completion_tokens",
    "cost": "cost",
}
"""Of a model's attributes, with the field of `Spending`."""
_MICRODOLLAR: Final = 10**12


class Budget(NamedTuple):
    """The budget of the deployment, or of one class."""

    limits: DailyBudget
    class_id: int | None = None


class Claim(NamedTuple):
    """What a turn or a title is to reserve, and the budgets that have to hold it."""

    reserved: Reserved
    budgets: Sequence[Budget] = ()


def budgets_for(practice_class: PracticeClass | None) -> list[Budget]:
    """The deployment's and the class's, as far as there are any."""
    limits = config()
    found = [
        Budget(DailyBudget(turns=limits.daily_turns, tokens=limits.daily_tokens, cost=limits.daily_cost))
    ]
    if practice_class:
        found.append(Budget(practice_class.budget(), practice_class.class_id))
    return [budget for budget in found if budget.limits.is_limited]


def count_of(item: table.Item, name: str) -> int:
    return int(Decimal(item[name]["N"])) if name in item else 0


def _amounts(reserved: Reserved) -> dict[str, int]:
    return {"turns": reserved.turns, "tokens": reserved.tokens, "cost": reserved.cost}


def _counters(name: str, class_id: int | None) -> list[str]:
    return [f"budget_{name}"] if class_id is None else [f"budget_{name}", f"budget_{name}:{class_id}"]


def reserve(user_id: int, claim: Claim, lost: table.Value, turn_id: int | None = None) -> list[table.Write]:
    """For the transaction that begins a turn or opens a session. `lost` is when the reservation lapses."""
    reserved = claim.reserved
    item: dict[str, table.Value | None] = {
        "v": table.number(0),
        "day": table.text(reserved.day),
        "class_id": table.number(reserved.class_id) if reserved.class_id else None,
        "turn": table.number(turn_id) if turn_id else None,
        "lost": lost,
        **{name: table.number(amount) for name, amount in _amounts(reserved).items()},
    }
    key = keys.reservation(user_id, reserved.name)
    writes = [table.put_attributes(key, item, condition="attribute_not_exists(#pk)", values={})]
    if claim.budgets:
        additions = {
            counter: amount
            for name, amount in _amounts(reserved).items()
            for counter in _counters(name, reserved.class_id)
        }
        day = keys.usage(user_id, reserved.day)
        writes.append(table.count(day, {"v": 1, **additions}, at_most=_at_most(claim)))
    return writes


def _at_most(claim: Claim) -> dict[str, int]:
    """What each counter may have before the reservation is added; below zero, nothing is enough."""
    amounts = _amounts(claim.reserved)
    return {
        _counters(name, class_id)[-1]: limit - amounts[name] if limit else -1
        for limits, class_id in claim.budgets
        for name, limit in _limits(limits, claim.reserved)
    }


def _limits(limits: DailyBudget, reserved: Reserved) -> list[tuple[str, int]]:
    """A title is no turn."""
    named = {"turns": limits.turns if reserved.turns else None, "tokens": limits.tokens, "cost": limits.cost}
    return [(name, limit) for name, limit in named.items() if limit is not None]


def move(user_id: int, reserved: Reserved, lost: table.Value, turn_id: int) -> list[table.Write]:
    """Hands the reservation that was made with a session to the session's first turn."""
    key = keys.reservation(user_id, reserved.name)
    return [
        table.update(
            key, set_to={"turn": table.number(turn_id), "lost": lost}, condition="attribute_exists(#pk)"
        )
    ]


def held(user_id: int, name: str) -> Reserved | None:
    """One request."""
    document = table.get(keys.reservation(user_id, name))
    return reserved_in(document) if document else None


def reserved_in(document: table.Document) -> Reserved:
    return Reserved(
        name=keys.reservation_name(document.key.sk),
        day=document.string("day"),
        class_id=document.number("class_id") if "class_id" in document.item else None,
        turns=document.number("turns"),
        tokens=document.number("tokens"),
        cost=int(Decimal(document.item["cost"]["N"])),
    )


def settle(
    user_id: int,
    reserved: Reserved | None,
    day: str,
    spent: ByModel,
    *,
    turns: int,
    is_held: bool = True,
    condition: str | None = None,
    values: dict[str, table.Value] | None = None,
) -> list[table.Write]:
    """For the transaction that ends a turn or a title: what it used takes the place of what was reserved.

    `is_held` is whether the reservation is still there; the condition is one on its item.
    """
    writes: list[table.Write] = []
    given_back = Reserved(name="", day=day)
    if reserved is not None:
        day = reserved.day
        if is_held:
            given_back = reserved
            writes.append(table.delete(keys.reservation(user_id, reserved.name), condition, values))
    amounts = _used(spent)
    total = together(spent.values())
    used = {"turns": turns, "tokens": total.tokens, "cost": total.cost or 0}
    class_id = reserved.class_id if reserved else None
    for name, amount in _amounts(given_back).items():
        for counter in _counters(name, class_id):
            amounts[counter] = used[name] - amount
    amounts["turns"] = turns
    changes = {name: amount for name, amount in amounts.items() if amount or name.startswith("cost:")}
    if changes:
        writes.append(table.count(keys.usage(user_id, day), {"v": 1, **changes}))
    return writes


def _used(spent: ByModel) -> dict[str, int]:
    return {
        f"{kind}:{name}": value
        for name, figures in spent.items()
        for kind, field in KINDS.items()
        if (value := getattr(figures, field)) is not None
    }


def settle_alone(user_id: int, reserved: Reserved, spent: ByModel, *, turns: int) -> None:
    """Of a turn that was deleted, or a title. Counts nothing when the reservation has gone: given back, or erased."""
    try:
        writes = settle(
            user_id, reserved, reserved.day, spent, turns=turns, condition="attribute_exists(#pk)"
        )
        table.write(*writes)
    except table.ConditionFailed:
        return


def reserve_title(user_id: int, session_id: int, claim: Claim, seconds: float) -> None:
    """One request. Raises DailyBudgetSpent, or SessionNotFound for a session that was deleted."""
    lost = table.ms_from_now(seconds)
    exists = table.check(keys.session(user_id, session_id), "attribute_exists(#pk)")
    writes = [exists, *reserve(user_id, claim, lost)]
    try:
        table.write(*writes)
    except table.ConditionFailed as failed:
        if failed.index == 0:
            raise SessionNotFound from None
        raise refusal(claim, failed.item or {}) from None


def check(claim: Claim, day: table.Document | None) -> None:
    """The same as the condition of the transaction, of an item that was read. Raises DailyBudgetSpent."""
    item = day.item if day else {}
    if any(count_of(item, counter) > most for counter, most in _at_most(claim).items()):
        raise refusal(claim, item)


def is_refused(user_id: int, claim: Claim, write: table.Write) -> bool:
    """Whether this write, whose condition failed, is the one that budgets hold."""
    return write.key == keys.usage(user_id, claim.reserved.day)


def refusal(claim: Claim, item: table.Item) -> DailyBudgetSpent:
    """`item` is that of the day."""
    return DailyBudgetSpent(left_of(claim, item))


def left_of(claim: Claim, item: table.Item) -> DayLeft:
    """`item` is that of the day."""
    left = [
        Left(_quota_name(name, class_id), limit // unit, max(0, limit - used) // unit)
        for limits, class_id in claim.budgets
        for name, limit in _limits(limits, claim.reserved)
        for used in [count_of(item, _counters(name, class_id)[-1])]
        for unit in [_MICRODOLLAR if name == "cost" else 1]
    ]
    return DayLeft(left, max(1, math.ceil(_seconds_left(claim.reserved.day))))


def _quota_name(name: str, class_id: int | None) -> str:
    shown = "microdollars" if name == "cost" else name
    return f"daily-{shown}" if class_id is None else f"class-daily-{shown}"


def _seconds_left(day: str) -> float:
    midnight = datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(days=1)
    return max(1.0, (midnight - datetime.now(UTC)).total_seconds())
