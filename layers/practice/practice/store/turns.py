"""Turns: begun in one transaction, answered model by model, settled once.

The document of a turn's item describes how it began and never changes; its progress is in attributes beside the document.
The same transaction writes an empty item for each answer, which no reader shows before it is filled. An answer fills its own
item alone, so the models of a turn never wait for each other, and a session deleted meanwhile does not come back.
"""

import json
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple, Self, TypeVar

from pydantic import TypeAdapter

from practice import table
from practice.errors import (
    DailyBudgetSpent,
    RequestInFlight,
    SessionNotFound,
    StoreUnavailable,
    TooManyFollowers,
    TurnNotFound,
    Unauthorized,
)
from practice.limits import FOLLOWERS
from practice.schemas import spending
from practice.schemas.base import DEFERRED
from practice.schemas.response import Response
from practice.schemas.spending import ByModel, Spending, difference, in_dollars, together
from practice.schemas.turn import (
    AskedModel,
    ErrorCode,
    Result,
    StoredTurn,
    TurnError,
    TurnSettings,
    TurnStatus,
)
from practice.store import accounts, connections, usage
from practice.store.idempotency import IdempotentAttempt
from practice.store.responses import ReservedIds, of_model, reserve_ids, touch_session
from practice.table import keys

IN_PROGRESS: Final = (TurnStatus.QUEUED, TurnStatus.RUNNING)
_ENDED_BY: Final = {
    ErrorCode.INTERRUPTED: "the turn was interrupted before this model answered",
    ErrorCode.CANCELLED: "the turn was cancelled before this model answered",
}

_Errors: Final = TypeAdapter(list[TurnError], config=DEFERRED)
Answers = dict[int, Response]
"""By response id."""
Sent = dict[int, dict[str, Any]]
"""By response id: the parameters that a provider was sent."""
Spent = dict[int, Spending]
"""By response id: what the model took, whether its answer was kept or not."""


class FailedModel(TurnError):
    """The failure of a model as it is stored while its turn runs."""

    spent: Spending | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """For how many seconds a turn belongs to its worker, and after how many it counts as lost."""

    seconds: float
    lost_after: float

    def attributes(self) -> dict[str, table.Value]:
        return {"until": _in(self.seconds), "lost": _in(self.lost_after)}


def _in(seconds: float) -> table.Value:
    return table.number(int((time.time() + seconds) * 1000))


class Follower(NamedTuple):
    """Who is sent what happens in a turn: a live connection, and its client's id for this."""

    connection_id: str
    id: str

    @property
    def entry(self) -> str:
        return f"{self.connection_id} {self.id}"

    @classmethod
    def of_entry(cls, entry: str) -> Self:
        connection_id, _, own_id = entry.partition(" ")
        return cls(connection_id, own_id)


Followers = frozenset[Follower]


@dataclass(frozen=True, slots=True)
class TurnState:
    """The current state of a turn."""

    turn: StoredTurn
    status: TurnStatus
    errors: list[TurnError]
    answers: Answers
    is_cancelled: bool = False
    """Cancelled while it runs: its runner stops the models and settles it."""
    is_lost: bool = False
    """Under way in the table, but past the time in which a worker could still run it."""
    sent: Sent = field(default_factory=dict)
    spent: Spent = field(default_factory=dict)
    counted: ByModel = field(default_factory=dict)
    """What its usage has of it already, since its reservation was given back."""
    is_released: bool = False
    """Whether its reservation was given back."""

    def usage(self) -> ByModel:
        """What it used so far. A turn that died counts with what it kept, and not at all when it kept nothing."""
        if self.status == TurnStatus.QUEUED or (
            self.status == TurnStatus.RUNNING and not self.answers and not self.spent
        ):
            return {}
        used = {}
        for asked in self.turn.asked:
            spent = self.spent.get(asked.response_id, Spending())
            answers = 1 if asked.response_id in self.answers else 0
            used[asked.model_name] = spent._replace(turns=1, answers=answers)
        return used

    followers: Followers = frozenset()

    def missing(self) -> list[AskedModel]:
        return [asked for asked in self.turn.asked if asked.response_id not in self.answers]

    def pending(self) -> list[AskedModel]:
        """The models with neither an answer nor an error."""
        failed = {each.session_model_id for each in self.errors}
        return [asked for asked in self.missing() if asked.session_model_id not in failed]

    def shown(self) -> tuple[TurnStatus, list[TurnError]]:
        if not self.is_lost:
            return self.status, self.errors
        return TurnStatus.CANCELLED if self.is_cancelled else TurnStatus.FAILED, self.final_errors()

    def final_errors(self) -> list[TurnError]:
        """One for each model without an answer, in the order of the models."""
        code = ErrorCode.CANCELLED if self.is_cancelled else ErrorCode.INTERRUPTED
        failed = {each.session_model_id: each for each in self.errors}
        return [
            failed.get(asked.session_model_id) or asked.error(code, _ENDED_BY[code])
            for asked in self.missing()
        ]

    def results(self) -> list[Result]:
        """In the order of the models."""
        return [
            Result.of(
                self.answers[asked.response_id],
                is_primary=asked.is_primary,
                generation_params=self.sent.get(asked.response_id, asked.generation_params),
            )
            for asked in self.turn.asked
            if asked.response_id in self.answers
        ]


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
    claim: Callable[[ReservedIds], usage.Claim],
    is_held: bool = False,
    follower: Follower | None = None,
) -> StoredTurn:
    """Two requests: one sets the ids of the answers aside, a transaction writes the turn and their places.

    `claim` is what the turn reserves with its ids known; `is_held` when that was reserved with its session. Raises
    ConditionFailed or NotFound when the session or one of the models was deleted, DailyBudgetSpent.
    """
    place = reserve_ids(user_id, asked[0].session_model_id, len(asked))
    ids = range(place.first_id, place.first_id + len(asked))
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
    ]
    places = [
        table.put_attributes(
            keys.response(user_id, response_id),
            {"v": table.number(0), "turn": table.number(turn.turn_id)},
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


def give_back_lapsed(user_id: int) -> bool:
    """Settles what died with what it used; whether there was any. Two requests, and two for each.

    A turn stays as it is, so that it can be resumed.
    """
    reservations = list(table.walk(keys.reservations(user_id)))
    found = table.fetch(
        keys.turn(user_id, document.number("turn")) for document in reservations if "turn" in document.item
    )
    lapsed = False
    for document in reservations:
        turn = found.get(keys.turn(user_id, document.number("turn"))) if "turn" in document.item else None
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
    if document.number("lost") >= time.time() * 1000:
        return []
    reserved = usage.reserved_in(document)
    used = spending.read(document.string("used")) if "used" in document.item else {}
    condition, values = "#lost = :lost", {":lost": document.item["lost"]}
    return usage.settle(
        user_id, reserved, reserved.day, used, turns=1 if used else 0, condition=condition, values=values
    )


def _releasing(user_id: int, document: table.Document) -> list[table.Write]:
    state = build_state(document, StoredTurn.model_validate_json(document.text), {}, [])
    if not state.is_lost or state.turn.reserved is None:
        return []
    state = read_state(user_id, document)
    used = state.usage()
    released = table.update(
        document.key,
        set_to={"released": table.flag(True), "counted": table.text(spending.written(used))},
        condition="#status = :status AND #lost = :lost AND attribute_not_exists(#released)",
        values={":status": table.text(state.status), ":lost": document.item["lost"]},
    )
    return [released, *_settling(user_id, state, used)]


def _settling(user_id: int, state: TurnState, used: ByModel) -> list[table.Write]:
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
            "lost": _in(-1) if state.status == TurnStatus.QUEUED else turn.item["lost"],
        }
        try:
            table.write(table.update(document.key, set_to=noted, condition="attribute_exists(#pk)"))
        except table.ConditionFailed:
            continue  # its runner has settled it


def renew_reservation(
    user_id: int, state: TurnState, budgets: Sequence[usage.Budget], lease: Lease
) -> TurnState:
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
    writes = [again, *usage.reserve(user_id, claim, lease.attributes()["lost"], turn.turn_id)]
    try:
        table.write(*writes)
    except table.ConditionFailed as failed:
        if usage.is_refused(user_id, claim, writes[failed.index]):
            raise usage.refusal(claim, failed.item or {}) from None
        return state
    return replace(state, is_released=False)


Begun = TypeVar("Begun")


def within_budget(user_id: int, attempt: Callable[[], Begun]) -> Begun:
    """Tries once more when a budget refuses, if something that died could be given back. Raises DailyBudgetSpent."""
    try:
        return attempt()
    except DailyBudgetSpent:
        if not give_back_lapsed(user_id):
            raise
    return attempt()


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


def read(user_id: int, turn_id: int) -> TurnState | None:
    """Two requests. The answers whose models were deleted are among them."""
    key = keys.turn(user_id, turn_id)
    document = table.get(key)
    return read_state(user_id, document) if document else None


def read_state(user_id: int, document: table.Document) -> TurnState:
    """Of the item of a turn. One request."""
    turn = StoredTurn.model_validate_json(document.text)
    found = table.fetch(keys.response(user_id, each.response_id) for each in turn.asked)
    return build_state(document, turn, _answers(found.values()), found.values())


def sent_with(documents: Iterable[table.Document]) -> Sent:
    """Of the items of answers; one that was kept before this was written down has none."""
    return {
        keys.number_in(each.key.sk): json.loads(each.string("sent"))
        for each in documents
        if "sent" in each.item
    }


def _answers(documents: Iterable[table.Document]) -> Answers:
    responses = [Response.model_validate_json(each.text) for each in documents if each.text]
    return {response.response_id: response for response in responses}


def build_state(
    document: table.Document, turn: StoredTurn, answers: Answers, documents: Iterable[table.Document]
) -> TurnState:
    """The same, of what was read already: the answers, and their items."""
    items = list(documents)
    status = TurnStatus(document.string("status"))
    is_cancelled = "cancelled" in document.item
    end = "until" if is_cancelled else "lost"
    return TurnState(
        turn,
        status,
        _errors(document.item, turn, answers),
        answers,
        is_cancelled=is_cancelled,
        is_lost=status in IN_PROGRESS and document.number(end) < time.time() * 1000,
        sent=sent_with(items),
        spent=_spent(document.item, turn, items),
        counted=spending.read(document.string("counted")) if "counted" in document.item else {},
        is_released="released" in document.item,
        followers=_followers(document.item),
    )


def _spent(item: table.Item, turn: StoredTurn, documents: Iterable[table.Document]) -> Spent:
    """By the answers that are there, and the models that failed so far."""
    answered = {
        keys.number_in(each.key.sk): Spending(*json.loads(each.string("spent")))
        for each in documents
        if "spent" in each.item
    }
    asked = {each.session_model_id: each.response_id for each in turn.asked}
    failed = [FailedModel.model_validate_json(each) for each in item.get("failed", {}).get("SS", ())]
    return {asked[each.session_model_id]: each.spent for each in failed if each.spent} | answered


def _followers(item: table.Item) -> Followers:
    return frozenset(Follower.of_entry(each) for each in item.get("followers", {}).get("SS", ()))


def _errors(item: table.Item, turn: StoredTurn, answers: Answers) -> list[TurnError]:
    """Those of a settled turn, or of the models that failed so far."""
    if "errors" in item:
        return _Errors.validate_json(item["errors"]["S"])
    found = [TurnError.model_validate_json(each) for each in item.get("failed", {}).get("SS", ())]
    failed = {each.session_model_id: each for each in found}
    return [
        failed[asked.session_model_id]
        for asked in turn.asked
        if asked.session_model_id in failed and asked.response_id not in answers
    ]


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
            ":now": _in(0),
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


class Sighting(NamedTuple):
    """What the runner of a turn learns once a second."""

    is_over: bool
    """Cancelled, settled elsewhere, or deleted."""
    followers: Followers
    refused: Followers
    """Of those asked about: the connection is gone, its token expired or revoked, or the user erased."""


def look(user_id: int, turn_id: int, followers: Followers = frozenset()) -> Sighting:
    """One request, for the turn and for what may close the connections of the followers that are known."""
    turn_key = keys.turn(user_id, turn_id)
    names: tuple[str, ...] = ("status", "cancelled", "followers")
    wanted = [turn_key]
    if followers:
        wanted += accounts.places_of(user_id)
        wanted += [keys.connection(each.connection_id) for each in followers]
        names += (*accounts.RULES, *connections.ATTRIBUTES)
    found = table.peek_all(wanted, *names)
    item = found.get(turn_key)
    is_over = item is None or item["status"] != table.text(TurnStatus.RUNNING) or "cancelled" in item
    account = [found[key] for key in accounts.places_of(user_id) if key in found]
    refused = frozenset(each for each in followers if not _may_follow(each, found, account))
    return Sighting(is_over, _followers(item) if item else frozenset(), refused)


def _may_follow(follower: Follower, found: dict[keys.Key, table.Item], account: list[table.Item]) -> bool:
    item = found.get(keys.connection(follower.connection_id))
    if item is None:
        return False
    connection = connections.connection_of(follower.connection_id, item)
    try:
        accounts.token_rules(account).accept(connection.caller)
    except (Unauthorized, StoreUnavailable):
        return False
    return not connection.is_expired()


def follow(user_id: int, turn_id: int, follower: Follower) -> bool:
    """False when the turn has ended. One request. Raises TurnNotFound, TooManyFollowers."""
    in_progress = {":queued": table.text(TurnStatus.QUEUED), ":running": table.text(TurnStatus.RUNNING)}
    room = "attribute_not_exists(#followers) OR size(#followers) < :most OR contains(#followers, :own)"
    added = table.add_to_set(
        keys.turn(user_id, turn_id),
        "followers",
        [follower.entry],
        condition=f"#status IN (:queued, :running) AND ({room})",
        values={**in_progress, ":most": table.number(FOLLOWERS), ":own": table.text(follower.entry)},
    )
    try:
        table.write(added)
    except table.ConditionFailed as failed:
        if failed.item is None:
            raise TurnNotFound from None
        if failed.item["status"]["S"] in IN_PROGRESS:
            raise TooManyFollowers from None
        return False
    return True


def admit_follower(user_id: int, turn_id: int, follower: Follower) -> None:
    """Makes room for one more. One request; three when followers that are gone must leave. Raises TooManyFollowers."""
    item = table.peek(keys.turn(user_id, turn_id), "followers")
    others = _followers(item) - {follower} if item else frozenset()
    if len(others) < FOLLOWERS:
        return
    exist = connections.which_exist(each.connection_id for each in others)
    gone = [each for each in others if each.connection_id not in exist]
    if not gone:
        raise TooManyFollowers
    unfollow(user_id, turn_id, gone)


def claim_followers(user_id: int, turn_id: int) -> bool:
    """For a turn that has ended while it has followers: who gets True sends them the rest. One request."""
    in_progress = {":queued": table.text(TurnStatus.QUEUED), ":running": table.text(TurnStatus.RUNNING)}
    claimed = table.update(
        keys.turn(user_id, turn_id),
        set_to={"until": _in(TELLING_SECONDS)},
        condition="NOT (#status IN (:queued, :running)) AND attribute_exists(#followers)"
        " AND (attribute_not_exists(#until) OR #until < :now)",
        values={**in_progress, ":now": _in(0)},
    )
    try:
        table.write(claimed)
    except table.ConditionFailed:
        return False
    return True


TELLING_SECONDS: Final = 60.0
"""Longer than the followers of a turn that has ended are sent its messages."""


def forget_followers(user_id: int, turn_id: int) -> None:
    """When all is sent. One request; nothing for a turn that was deleted."""
    forgotten = table.update(
        keys.turn(user_id, turn_id),
        set_to={"followers": None, "until": None},
        condition="attribute_exists(#pk)",
    )
    try:
        table.write(forgotten)
    except table.ConditionFailed:
        return


def unfollow(user_id: int, turn_id: int, followers: Iterable[Follower]) -> None:
    """One request; nothing for a turn that was deleted."""
    removed = table.remove_from_set(
        keys.turn(user_id, turn_id), "followers", [each.entry for each in followers]
    )
    try:
        table.write(removed)
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
        used = difference(state.usage(), state.counted)
        usage.settle_alone(user_id, state.turn.reserved, used, turns=0 if state.counted else 1)


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
            "errors": table.text(_Errors.dump_json(state.errors).decode()),
            "outcome": table.text(json.dumps(_event_detail(state))),
            **dict.fromkeys(("until", "lost", "failed", "cancelled", "counted", "released")),
        },
        condition=condition,
        values={":was": table.text(was)},
    )
    table.write(ending, *removals, *_settling(user_id, state, used))


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


def cancel_queued(user_id: int, state: TurnState) -> None:
    """From the queue. Raises ConditionFailed when it waits there no more."""
    _end(user_id, replace(state, status=TurnStatus.CANCELLED), was=TurnStatus.QUEUED)


def cancel_running(user_id: int, state: TurnState) -> None:
    """Asks the runner to stop, or settles the turn when its lease has lapsed.

    Raises ConditionFailed when it does not run any more.
    """
    flag = table.update(
        keys.turn(user_id, state.turn.turn_id),
        set_to={"cancelled": _in(0)},
        condition="#status = :running AND #until >= :now",
        values={":running": table.text(TurnStatus.RUNNING), ":now": _in(0)},
    )
    try:
        table.write(flag)
    except table.ConditionFailed as failed:
        if failed.item is None or failed.item["status"] != table.text(TurnStatus.RUNNING):
            raise
        settle_turn(user_id, replace(state, is_cancelled=True))
