"""Turns: begun in one transaction, answered model by model, settled once.

The document of a turn's item describes how it began and never changes; its progress is in attributes beside the document.
The same transaction writes an empty item for each answer, which no reader shows before it is filled. An answer fills its own
item alone, so the models of a turn never wait for each other, and a session deleted meanwhile does not come back.
"""

import json
import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, Self

from practice import table
from practice.errors import RequestInFlight, SessionNotFound
from practice.schemas.response import Response
from practice.schemas.session_model import StoredModels
from practice.schemas.spending import Spending, difference, in_dollars, together
from practice.schemas.turn import Ancestry, AskedModel, StoredTurn, TurnError, TurnSettings, TurnStatus
from practice.store import reservations, usage
from practice.store.idempotency import IdempotentAttempt
from practice.store.responses import ReservedIds, of_model, reserve_ids, touch_session
from practice.store.turn_state import ERRORS, FailedModel, Follower, TurnState, read
from practice.table import keys

LONGEST_LEASE_SECONDS: Final = 60
"""For which a runner holds a turn without a sign of life."""


@dataclass(frozen=True, slots=True)
class Lease:
    """For how many seconds a turn belongs to its worker, and after how many it counts as lost."""

    seconds: float
    lost_after: float

    def attributes(self) -> dict[str, table.Value]:
        return {"until": table.ms_from_now(self.seconds), "lost": table.ms_from_now(self.lost_after)}


class Followed(NamedTuple):
    """The turn that a new one follows."""

    turn_id: int | None
    end: int
    """The first id after its answers."""
    ancestors: Sequence[int]
    """It and the nearest of its own, as far as they are known."""
    is_whole: bool
    """Whether the last of them is a beginning."""

    @classmethod
    def nothing(cls, session_id: int) -> Self:
        return cls(None, session_id + 2, [], is_whole=True)

    def ancestry(self, turn_id: int, models: StoredModels) -> Ancestry:
        is_next = holds_only_models(self.end, turn_id, models)
        return Ancestry.of(turn_id, self.ancestors, is_whole=self.is_whole, is_next=is_next)


def holds_only_models(first: int, end: int, models: StoredModels) -> bool:
    """Whether every id from `first` on and before `end` is a model's, and so none a turn's or a response's."""
    ids = {model.session_model_id for model in models.models}
    return end - first <= len(ids) and ids.issuperset(range(first, end))


def begin_turn(
    user_id: int,
    session_id: int,
    class_id: int,
    asked: Sequence[AskedModel],
    prompt_text: str,
    settings: TurnSettings,
    *,
    status: TurnStatus,
    lease: Lease,
    attempt: IdempotentAttempt,
    followed: Followed,
    claim: Callable[[ReservedIds], usage.Claim],
    is_held: bool = False,
    follower: Follower | None = None,
) -> StoredTurn:
    """Two requests: one reserves the ids of the answers, a transaction writes the turn and their places.

    `claim` is what the turn reserves with its ids known; `is_held` when that was reserved with its session. Raises
    ConditionFailed or NotFound when the session or one of the models was deleted, DailyBudgetSpent.
    """
    place = reserve_ids(user_id, asked[0].session_model_id, len(asked))
    ids = range(place.first_id, place.first_id + len(asked))
    ancestry = followed.ancestry(place.first_id, place.models)
    claimed = claim(place)
    turn = StoredTurn(
        turn_id=place.first_id,
        session_id=session_id,
        class_id=class_id,
        prompt_text=prompt_text,
        created_at=place.created_at,
        asked=[
            each.model_copy(update={"response_id": response_id})
            for each, response_id in zip(asked, ids, strict=True)
        ],
        settings=settings,
        after_turn_id=followed.turn_id,
        ancestry=ancestry,
        reserved=claimed.reserved,
    )
    key = keys.turn(user_id, turn.turn_id)
    models = {f":model{n}": table.number(each.session_model_id) for n, each in enumerate(asked)}
    are_live = " AND ".join(f"contains(#live, {name})" for name in models)
    attributes: dict[str, table.Value | None] = {"status": table.text(status), **lease.attributes()}
    if follower:
        attributes["followers"] = {"SS": [follower.entry]}
    pointing = attempt.resume_with(turn.turn_id)
    head = [
        table.check(keys.models(user_id, session_id), are_live, models),
        touch_session(user_id, session_id, turn.created_at),
        *table.put(key, turn, attributes=attributes),
        among_siblings(
            user_id,
            turn.after_turn_id,
            turn.turn_id,
            [each.session_model_id for each in asked],
            is_next=ancestry.is_next,
        ),
    ]
    of_turn = {"turn": table.number(turn.turn_id), "after": table.number(turn.after_turn_id or 0)}
    places = [
        table.put_attributes(
            keys.response(user_id, response_id),
            {"v": table.number(0), **of_turn},
            condition="attribute_not_exists(#pk)",
            values={},
        )
        for response_id in ids
    ]
    lost = lease.attributes()["lost"]
    reservation = (
        usage.move(user_id, claimed.reserved, lost, turn.turn_id)
        if is_held
        else usage.reserve(user_id, claimed, lost, turn.turn_id)
    )
    writes = [*head, *places, *reservation, *pointing]
    try:
        table.write(*writes)
    except table.ConditionFailed as failed:
        if pointing and failed.index == len(writes) - 1:
            raise RequestInFlight(1) from None
        if usage.is_refused(user_id, claimed, writes[failed.index]):
            raise usage.refusal(claimed, failed.item or {}) from None
        raise
    return turn


def among_siblings(
    user_id: int, after_turn_id: int | None, turn_id: int, models: Collection[int], *, is_next: bool
) -> table.Write:
    """The item of a turn among those that follow the same one, with the models whose answers were not deleted."""
    attributes = {
        "v": table.number(1),
        "models": {"SS": [str(each) for each in models]} if models else None,
        "next": table.flag(True) if is_next else None,
    }
    key = keys.turn_after(user_id, after_turn_id, turn_id)
    return table.put_attributes(key, attributes, condition="attribute_not_exists(#pk)", values={})


def store_answer(user_id: int, response: Response, sent: dict[str, Any], spent: Spending) -> Response | None:
    """Fills the item of an answer. One request. None when the item was deleted, with its session or as failed.

    An answer that was there first stays, and is the one that counts; it may be this one, written by a request whose
    acknowledgement was lost.
    """
    key = keys.response(user_id, response.response_id)
    writes = table.fill(
        key,
        response.model_dump_json(),
        condition="#v = :empty",
        values={":empty": table.number(0)},
        attributes={
            **of_model(response),
            "sent": table.text(json.dumps(sent)),
            "spent": table.text(json.dumps(spent)),
        },
    )
    try:
        table.write(*writes)
    except table.ConditionFailed as failed:
        if failed.item is None:
            return None
        document = table.get(key)
        return Response.model_validate_json(document.text) if document and document.text else None
    return response


class Claim(NamedTuple):
    worker: str
    was_running: bool
    """Whether another worker ran it before, and may have sent pieces of answers."""


def claim(user_id: int, turn_id: int, lease: Lease) -> Claim | None:
    """Takes over what is queued, or was left behind.

    None when another worker runs it, or it is settled or deleted.
    """
    worker = secrets.token_hex(8)
    took = table.update(
        keys.turn(user_id, turn_id),
        set_to={
            "status": table.text(TurnStatus.RUNNING),
            "worker": table.text(worker),
            **lease.attributes(),
        },
        condition="#status = :queued OR (#status = :running AND #until < :now)",
        values={
            ":queued": table.text(TurnStatus.QUEUED),
            ":running": table.text(TurnStatus.RUNNING),
            ":now": table.ms_from_now(0),
        },
    )
    try:
        before = table.write_returning_old(took)
    except table.ConditionFailed as failed:
        # Sent again after a lost acknowledgement, the request meets what it wrote itself.
        is_ours = failed.item is not None and failed.item.get("worker") == table.text(worker)
        return Claim(worker, was_running=True) if is_ours else None
    return Claim(worker, was_running=before["status"] == table.text(TurnStatus.RUNNING))


def extend_lease(user_id: int, turn_id: int, worker: str, lease: Lease) -> None:
    """Extends the lease of a worker that is alive; does nothing when the turn no longer belongs to it."""
    mine = {":worker": table.text(worker), ":running": table.text(TurnStatus.RUNNING)}
    condition = "#worker = :worker AND #status = :running"
    try:
        table.write(
            table.update(
                keys.turn(user_id, turn_id), set_to=lease.attributes(), condition=condition, values=mine
            )
        )
    except table.ConditionFailed:
        return


def store_error(user_id: int, turn_id: int, error: TurnError, spent: Spending | None) -> None:
    """Shows the failure of a model while the others run. One request; nothing for a turn that has ended."""
    stored = FailedModel(**error.model_dump(), spent=spent)
    failed = table.add_to_set(
        keys.turn(user_id, turn_id),
        "failed",
        [stored.model_dump_json()],
        condition="#status = :running",
        values={":running": table.text(TurnStatus.RUNNING)},
    )
    try:
        table.write(failed)
    except table.ConditionFailed:
        return


def settle_turn(user_id: int, state: TurnState) -> TurnState:
    """Ends a running turn: its places without an answer go. One transaction; an answer that came at the last moment counts.

    Raises NotFound when the turn was deleted with its session.
    """
    tries = table.attempts()
    while True:
        next(tries)
        ended = replace(
            state,
            status=TurnStatus.CANCELLED
            if state.is_cancelled
            else TurnStatus.DONE
            if state.answers
            else TurnStatus.FAILED,
            errors=state.final_errors(),
            is_lost=False,
        )
        try:
            _end(user_id, ended, was=TurnStatus.RUNNING)
        except table.ConditionFailed:
            now = read(user_id, state.turn.turn_id)
            if now is None:
                _settle_deleted(user_id, ended)
                raise SessionNotFound from None
            if now.status != TurnStatus.RUNNING:
                return now
            state = replace(
                state,
                answers={**state.answers, **now.answers},
                sent={**state.sent, **now.sent},
                spent={**state.spent, **now.spent},
                removed=now.removed,
                counted=now.counted,
                is_released=now.is_released,
                is_cancelled=state.is_cancelled or now.is_cancelled,
                followers=now.followers,
            )
            continue
        return ended


def _settle_deleted(user_id: int, state: TurnState) -> None:
    """A turn that was deleted while it ran has used what it used."""
    if state.turn.reserved is not None and not state.is_released:
        used = state.usage()
        usage.settle_alone(
            user_id,
            state.turn.reserved,
            difference(used, state.counted),
            turns=bool(used) - bool(state.counted),
        )


def _end(user_id: int, state: TurnState, *, was: TurnStatus) -> None:
    used = state.usage() if was == TurnStatus.RUNNING else {}
    removals = [
        table.delete(keys.response(user_id, asked.response_id), "attribute_not_exists(#of_model)")
        for asked in state.missing()
    ]
    condition = "#status = :was"
    if state.status != TurnStatus.CANCELLED:
        condition += " AND attribute_not_exists(#cancelled)"
    condition += f" AND attribute_{'' if state.is_released else 'not_'}exists(#released)"
    if not (state.followers or was == TurnStatus.QUEUED):
        condition += " AND attribute_not_exists(#followers)"  # one that came meanwhile waits for the end
    ending = table.update(
        keys.turn(user_id, state.turn.turn_id),
        set_to={
            "status": table.text(state.status),
            "errors": table.text(ERRORS.dump_json(state.errors).decode()),
            "outcome": table.text(json.dumps(_event_detail(state))),
            **dict.fromkeys(("until", "lost", "failed", "cancelled", "counted", "released")),
        },
        condition=condition,
        values={":was": table.text(was)},
    )
    table.write(ending, *removals, *reservations.settling(user_id, state, used))


def _event_detail(state: TurnState) -> dict[str, object]:
    """What an event may carry of a turn: names and figures, no text."""
    models = []
    costs = {name: in_dollars(figures.cost) for name, figures in state.usage().items()}
    for asked in state.turn.asked:
        response = state.answers.get(asked.response_id)
        if response:
            used = response.token_usage or {}
            counts = {name: used.get(name) for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
            cost = costs.get(asked.model_name)
            models.append(
                {
                    "model_name": asked.model_name,
                    "latency_ms": response.latency_ms,
                    **counts,
                    "cost_usd": cost,
                }
            )
    errors = [{"model_name": each.model_name, "code": each.code} for each in state.errors]
    cost_usd = in_dollars(together(state.usage().values()).cost)
    return {"models": models, "errors": errors, "cost_usd": cost_usd}


def cancel_queued(user_id: int, state: TurnState) -> TurnState:
    """From the queue. Raises ConditionFailed when it waits there no more."""
    ended = replace(state, status=TurnStatus.CANCELLED)
    _end(user_id, ended, was=TurnStatus.QUEUED)
    return ended


def cancel_running(user_id: int, state: TurnState) -> TurnState:
    """Asks the runner to stop, or settles the turn when its lease has lapsed.

    Raises ConditionFailed when it does not run any more.
    """
    flag = table.update(
        keys.turn(user_id, state.turn.turn_id),
        set_to={"cancelled": table.ms_from_now(0)},
        condition="#status = :running AND #until >= :now",
        values={":running": table.text(TurnStatus.RUNNING), ":now": table.ms_from_now(0)},
    )
    try:
        table.write(flag)
    except table.ConditionFailed as failed:
        if failed.item is None or failed.item["status"] != table.text(TurnStatus.RUNNING):
            raise
        return settle_turn(user_id, replace(state, is_cancelled=True))
    return state
