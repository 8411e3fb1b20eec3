"""The state of a turn, as its item and the items of its answers hold it."""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple, Self

from pydantic import TypeAdapter

from practice import table
from practice.schemas import spending
from practice.schemas.base import DEFERRED
from practice.schemas.response import Response
from practice.schemas.spending import ByModel, Spending
from practice.schemas.turn import (
    IN_PROGRESS,
    AskedModel,
    ErrorCode,
    Result,
    StoredTurn,
    TurnError,
    TurnStatus,
)
from practice.store import deleted_answers
from practice.table import keys

_ENDED_BY: Final = {
    ErrorCode.INTERRUPTED: "the turn was interrupted before this model answered",
    ErrorCode.CANCELLED: "the turn was cancelled before this model answered",
}
_MAY_HAVE_DIED: Final = (TurnStatus.RUNNING, TurnStatus.CANCELLED)
ERRORS: Final = TypeAdapter(list[TurnError], config=DEFERRED)
Answers = dict[int, Response]
"""By response id."""
Sent = dict[int, dict[str, Any]]
"""By response id: the parameters that a provider was sent."""
Spent = dict[int, Spending]
"""By response id: what the model took, whether its answer was kept or not."""


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


def followers_in(item: table.Item) -> Followers:
    return frozenset(Follower.of_entry(each) for each in item.get("followers", {}).get("SS", ()))


class FailedModel(TurnError):
    """The failure of a model as it is stored while its turn runs."""

    spent: Spending | None = None


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
    removed: frozenset[int] = frozenset()
    """The ids of answers that were deleted since."""
    is_released: bool = False
    """Whether its reservation was given back."""
    followers: Followers = frozenset()

    def usage(self) -> ByModel:
        """What it used so far, by the models that were asked.

        A turn that died counts with what it kept, and not at all when it kept nothing, cancelled afterwards or not: what
        it had reserved may hold another turn by then.
        """
        has_begun = bool(self.answers or self.spent)
        if self.status == TurnStatus.QUEUED or (self.status in _MAY_HAVE_DIED and not has_begun):
            return {}
        refused = {each.session_model_id for each in self.errors if each.code == ErrorCode.DAILY_BUDGET_SPENT}
        used = {}
        for asked in self.turn.asked:
            if asked.session_model_id in refused:
                continue
            spent = self.spent.get(asked.response_id, Spending())
            answers = 1 if asked.response_id in self.answers or asked.response_id in self.removed else 0
            used[asked.model_name] = spent._replace(turns=1, answers=answers)
        return used

    def missing(self) -> list[AskedModel]:
        return [asked for asked in self.turn.asked if asked.response_id not in self.answers]

    def pending(self) -> list[AskedModel]:
        """The models that have had neither an answer nor an error."""
        failed = {each.session_model_id for each in self.errors}
        missing = [asked for asked in self.missing() if asked.response_id not in self.removed]
        return [asked for asked in missing if asked.session_model_id not in failed]

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


def read(user_id: int, turn_id: int) -> TurnState | None:
    """Two requests. The answers whose models were deleted are among them."""
    key = keys.turn(user_id, turn_id)
    document = table.get(key)
    return read_state(user_id, document) if document else None


def read_state(user_id: int, document: table.Document) -> TurnState:
    """Of the item of a turn. One request."""
    turn = StoredTurn.model_validate_json(document.text)
    place = keys.turn_after(user_id, turn.after_turn_id, turn.turn_id)
    found = table.fetch([place, *(keys.response(user_id, each.response_id) for each in turn.asked)])
    noted = deleted_answers.read(found.pop(place).item) if place in found else {}
    gone = {response_id: Spending(*json.loads(spent)) for response_id, spent in noted.items()}
    state = build_state(document, turn, _answers(found.values()), found.values())
    return replace(state, spent=gone | state.spent, removed=frozenset(gone))


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
        followers=followers_in(document.item),
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


def _errors(item: table.Item, turn: StoredTurn, answers: Answers) -> list[TurnError]:
    """Those of a settled turn, or of the models that failed so far."""
    if "errors" in item:
        return ERRORS.validate_json(item["errors"]["S"])
    found = [TurnError.model_validate_json(each) for each in item.get("failed", {}).get("SS", ())]
    failed = {each.session_model_id: each for each in found}
    return [
        failed[asked.session_model_id]
        for asked in turn.asked
        if asked.session_model_id in failed and asked.response_id not in answers
    ]
