"""What a turn under way has reserved of the budgets of its user and class: given back, noted, renewed, settled.

A reservation is an item beside the turn's, written by the transaction that begins the turn; `usage` counts what it holds.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

from practice import table
from practice.errors import DailyBudgetSpent
from practice.schemas import spending
from practice.schemas.spending import ByModel, difference
from practice.schemas.turn import StoredTurn, TurnStatus
from practice.store import usage
from practice.store.turn_state import TurnState, build_state, read_state
from practice.table import keys

Begun = TypeVar("Begun")


def within_budget(user_id: int, attempt: Callable[[], Begun]) -> Begun:
    """Tries once more when a budget refuses, if something that died could be given back. Raises DailyBudgetSpent."""
    try:
        return attempt()
    except DailyBudgetSpent:
        if not give_back_lapsed(user_id):
            raise
    return attempt()


class Uncounted(NamedTuple):
    """What died used before, while nothing has settled it."""

    day: str
    used: ByModel
    turns: int


def uncounted(user_id: int) -> Iterator[Uncounted]:
    """What `give_back_lapsed` would settle. One request; one more with turns under way, and one for each that died."""
    for document, turn in _reservations(user_id):
        day = document.string("day")
        if turn is None:
            used = _noted(document) if _has_lapsed(document) else {}
            yield Uncounted(day, used, turns=bool(used))
        elif _is_lost(turn):
            state = read_state(user_id, turn)
            used = state.usage()
            turns = bool(used) - bool(state.counted)
            yield Uncounted(day, difference(used, state.counted), turns)


def _reservations(user_id: int) -> list[tuple[table.Document, table.Document | None]]:
    """Each with its turn, if it has one that was not deleted. Two requests."""
    reservations = list(table.walk(keys.reservations(user_id)))
    turn_keys = [
        keys.turn(user_id, document.number("turn")) if "turn" in document.item else None
        for document in reservations
    ]
    found = table.fetch(key for key in turn_keys if key)
    return [
        (document, found.get(key) if key else None)
        for document, key in zip(reservations, turn_keys, strict=True)
    ]


def give_back_lapsed(user_id: int) -> bool:
    """Settles what died with what it used; whether there was any. Two requests, and two for each.

    A turn stays as it is, so that it can be resumed.
    """
    lapsed = False
    for document, turn in _reservations(user_id):
        writes = _releasing(user_id, turn) if turn else _giving_back(user_id, document)
        if not writes:
            continue
        lapsed = True
        try:
            table.write(*writes)
        except table.ConditionFailed:
            continue  # another request did it, or the turn goes on
    return lapsed


def _giving_back(user_id: int, document: table.Document) -> list[table.Write]:
    """Of a title, of a session that has no turn yet, or of a turn that was deleted."""
    if not _has_lapsed(document):
        return []
    reserved = usage.reserved_in(document)
    used = _noted(document)
    condition, values = "#lost = :lost", {":lost": document.item["lost"]}
    return usage.settle(
        user_id, reserved, reserved.day, used, turns=1 if used else 0, condition=condition, values=values
    )


def _has_lapsed(reservation: table.Document) -> bool:
    return reservation.number("lost") < time.time() * 1000


def _noted(reservation: table.Document) -> ByModel:
    """What a turn had used when it was deleted."""
    return spending.read(reservation.string("used")) if "used" in reservation.item else {}


def _is_lost(turn: table.Document) -> bool:
    state = build_state(turn, StoredTurn.model_validate_json(turn.text), {}, [])
    return state.is_lost and state.turn.reserved is not None


def _releasing(user_id: int, document: table.Document) -> list[table.Write]:
    if not _is_lost(document):
        return []
    state = read_state(user_id, document)
    used = state.usage()
    released = table.update(
        document.key,
        set_to={"released": table.flag(True), "counted": table.text(spending.written(used))},
        condition="#status = :status AND #lost = :lost AND attribute_not_exists(#released)",
        values={":status": table.text(state.status), ":lost": document.item["lost"]},
    )
    return [released, *settling(user_id, state, used)]


def settling(user_id: int, state: TurnState, used: ByModel) -> list[table.Write]:
    turn = state.turn
    return usage.settle(
        user_id,
        turn.reserved,
        turn.created_at[:10],
        difference(used, state.counted),
        turns=bool(used) - bool(state.counted),
        is_held=not state.is_released,
    )


def note_usage_of_deleted(user_id: int, session_id: int) -> None:
    """Keeps with the reservations of a deleted session's turns what they used so far, for a runner that dies.

    One request; two for each turn under way.
    """
    for document in table.walk(keys.reservations(user_id)):
        turn_id = document.number("turn") if "turn" in document.item else 0
        turn = table.get(keys.turn(user_id, turn_id)) if keys.session_of(turn_id) == session_id else None
        if turn is None:
            continue
        state = read_state(user_id, turn)
        noted: dict[str, table.Value | None] = {
            "used": table.text(spending.written(state.usage())),
            "lost": table.ms_from_now(-1) if state.status == TurnStatus.QUEUED else turn.item["lost"],
        }
        try:
            table.write(table.update(document.key, set_to=noted, condition="attribute_exists(#pk)"))
        except table.ConditionFailed:
            continue  # its runner has settled it


def renew(user_id: int, state: TurnState, budgets: Sequence[usage.Budget], seconds: float) -> TurnState:
    """Reserves anew for a turn whose reservation was given back. One request. Raises DailyBudgetSpent."""
    turn = state.turn
    assert turn.reserved is not None
    claim = usage.Claim(turn.reserved, budgets)
    again = table.update(
        keys.turn(user_id, turn.turn_id),
        set_to={"released": None},
        condition="#status = :running AND attribute_exists(#released)",
        values={":running": table.text(TurnStatus.RUNNING)},
    )
    writes = [again, *usage.reserve(user_id, claim, table.ms_from_now(seconds), turn.turn_id)]
    try:
        table.write(*writes)
    except table.ConditionFailed as failed:
        if usage.is_refused(user_id, claim, writes[failed.index]):
            raise usage.refusal(claim, failed.item or {}) from None
        return state
    return replace(state, is_released=False)
