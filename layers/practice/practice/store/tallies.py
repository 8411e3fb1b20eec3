"""What votes add up to: for a user in a class, and for the class.

Every count changes in the transaction that writes the vote, by the difference between the vote before and the vote after.
So it always equals a recount of the votes that exist. A class has an item for each pair of models, and one for its votes and
voters. What a class shows is a state of these counts. It stays until five other voters changed them or a UTC day ends, so
that two readings differ by the votes of several people.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations
from typing import Final, Self

from practice import table
from practice.caller import Caller
from practice.errors import StandingsNotFound, TooFewVoters, TooManyComparedModels
from practice.limits import CLASS_VOTERS, COMPARED_BYTES, COMPARED_MODELS
from practice.schemas.tally import Comparisons, ShownTally, Tally, UserTally
from practice.schemas.vote import StoredVote
from practice.table import keys

Pair = tuple[str, str]
NOT_A_WRITE: Final = -1
"""The index of a ConditionFailed before there was a transaction: what was read is not what is there, or not any more."""
_COUNTS: Final = ("a_wins", "b_wins", "ties", "blind_a_wins", "blind_b_wins", "blind_ties")


@dataclass(frozen=True, slots=True)
class Tallies:
    """The counts that a vote of this user in this class changes, as they were read."""

    user_id: int
    class_id: int
    user_document: table.Document | None
    class_document: table.Document | None

    @classmethod
    def read(cls, user_id: int, class_id: int, *, is_imported: bool = False) -> Self:
        """One request. An imported vote changes no count of the class."""
        user_key, class_key = keys.user_votes(user_id, class_id), keys.class_votes(class_id)
        found = table.fetch([user_key] if is_imported else [user_key, class_key])
        return cls(user_id, class_id, found.get(user_key), found.get(class_key))

    def writes(self, before: StoredVote | None, after: StoredVote | None) -> list[table.Write]:
        """For the transaction that writes the vote; at most 30.

        Raises TooManyComparedModels, and ConditionFailed when the state that the class shows had to be renewed first: the
        caller reads again.
        """
        if _is_cast(before) or _is_cast(after):
            self._renew_of_yesterday()
        return self._writes(before, after, _today())

    def writes_of_restored(self, vote: StoredVote) -> list[table.Write]:
        """For the transaction that restores the vote. A renewal that is due stays due."""
        document = self.class_document
        day = document.string("day") if document and _is_of_yesterday(document) else _today()
        return self._writes(None, vote, day)

    def _writes(self, before: StoredVote | None, after: StoredVote | None, day: str) -> list[table.Write]:
        was = _user_tally(self.user_document)
        changes = _changes(before, after)
        tally = _added(was, changes)
        tally.votes += (after is not None) - (before is not None)
        tally.blind_votes += _is_blind(after) - _is_blind(before)
        tally.cast += _is_cast(after) - _is_cast(before)
        tally.blind_cast += (_is_cast(after) and _is_blind(after)) - (_is_cast(before) and _is_blind(before))
        if after and not _fits(tally):
            raise TooManyComparedModels
        public = _changes(_cast(before), _cast(after))
        writes = []
        if _is_cast(before) or _is_cast(after):
            writes += self._class_writes(was, tally, public, day)
            tally.epoch = _number(self.class_document, "epoch")
        key = keys.user_votes(self.user_id, self.class_id)
        document = self.user_document
        return [*(table.revise(document, tally) if document else table.put(key, tally)), *writes]

    def _class_writes(
        self, was: UserTally, tally: UserTally, changes: Mapping[Pair, Counter[str]], day: str
    ) -> list[table.Write]:
        epoch = _number(self.class_document, "epoch")
        condition, values = "attribute_not_exists(#pk)", {}
        if self.class_document:
            condition = "#epoch = :epoch_was AND #day = :day_was"
            values = {":epoch_was": table.number(epoch), ":day_was": self.class_document.item["day"]}
        added = {
            "v": 1,
            "votes": tally.cast - was.cast,
            "blind_votes": tally.blind_cast - was.blind_cast,
            "voters": (tally.cast > 0) - (was.cast > 0),
            "blind_voters": (tally.blind_cast > 0) - (was.blind_cast > 0),
            "changers": int(was.epoch != epoch),
            "moves": len(changes),
        }
        counting = table.update(
            keys.class_votes(self.class_id),
            set_to={"epoch": table.number(epoch), "day": table.text(day)},
            add=added,
            condition=condition,
            values=values,
        )
        pairs = [
            table.update(
                keys.class_pair(self.class_id, a, b),
                set_to={"a": table.text(a), "b": table.text(b), "v": table.number(1)},
                add={**{name: count for name, count in counts.items() if count}, "moves": 1},
            )
            for (a, b), counts in changes.items()
        ]
        return [counting, *pairs]

    def _renew_of_yesterday(self) -> None:
        """Before the first change of a day, what the class shows becomes what it was when the day began."""
        document = self.class_document
        if document and _is_of_yesterday(document) and document.number("voters") >= CLASS_VOTERS:
            _renew(self.class_id, document)
            raise table.ConditionFailed(NOT_A_WRITE, None)


def of_imported(user_id: int, class_id: int, votes: Iterable[StoredVote]) -> list[table.Write]:
    """For the transaction that writes these imported votes of one class. One request."""
    key = keys.user_votes(user_id, class_id)
    document = table.get(key)
    tally = _user_tally(document)
    for vote in votes:
        tally = _added(tally, _changes(None, vote))
        tally.votes += 1
        tally.blind_votes += vote.blind
    return table.revise(document, tally) if document else table.put(key, tally)


class ComparedModels:
    """The models that the votes of a file compare in one class."""

    def __init__(self) -> None:
        self._pairs: set[Pair] = set()
        self._names: set[str] = set()
        self._bytes = 0

    def add(self, vote: StoredVote) -> None:
        """Raises TooManyComparedModels."""
        for pair, _ in comparisons(vote):
            if pair not in self._pairs:
                self._pairs.add(pair)
                self._names.update(pair)
                self._bytes += len(Comparisons(a=pair[0], b=pair[1]).model_dump_json().encode())
        if len(self._names) > COMPARED_MODELS or self._bytes > COMPARED_BYTES:
            raise TooManyComparedModels


def _user_tally(document: table.Document | None) -> UserTally:
    return UserTally.model_validate_json(document.text) if document else UserTally()


def _is_blind(vote: StoredVote | None) -> bool:
    return vote is not None and vote.blind


def _cast(vote: StoredVote | None) -> StoredVote | None:
    """A vote that counts for the class."""
    return None if vote is None or vote.imported else vote


def _is_cast(vote: StoredVote | None) -> bool:
    return _cast(vote) is not None


def _fits(tally: UserTally) -> bool:
    names = {name for pair in tally.pairs for name in (pair.a, pair.b)}
    return len(names) <= COMPARED_MODELS and len(tally.model_dump_json().encode()) <= COMPARED_BYTES


def comparisons(vote: StoredVote | None) -> Iterator[tuple[Pair, str]]:
    """The pairs that a vote compares, each with the count that it adds to.

    A winner beat each of the others, which are not compared among themselves; a tie is a tie of every pair.
    """
    if vote is None:
        return
    winner = next((each.model_name for each in vote.answers if each.response_id == vote.winner), None)
    for a, b in combinations(sorted(each.model_name for each in vote.answers), 2):
        if winner is None:
            yield (a, b), "ties"
        elif winner in (a, b):
            yield (a, b), "a_wins" if winner == a else "b_wins"


def _changes(before: StoredVote | None, after: StoredVote | None) -> dict[Pair, Counter[str]]:
    """By pair, what is to be added to its counts; no pair that stays as it is."""
    changes: dict[Pair, Counter[str]] = {}
    for vote, amount in ((before, -1), (after, 1)):
        for pair, name in comparisons(vote):
            counts = changes.setdefault(pair, Counter())
            counts[name] += amount
            if vote and vote.blind:
                counts[f"blind_{name}"] += amount
    return {pair: counts for pair, counts in sorted(changes.items()) if any(counts.values())}


def _added(tally: UserTally, changes: Mapping[Pair, Counter[str]]) -> UserTally:
    pairs = {(each.a, each.b): each for each in tally.pairs}
    for (a, b), counts in changes.items():
        pair = pairs.get((a, b), Comparisons(a=a, b=b))
        pairs[a, b] = pair.model_copy(
            update={name: getattr(pair, name) + count for name, count in counts.items()}
        )
    return tally.model_copy(update={"pairs": _sorted(pairs.values())})


def _sorted(pairs: Iterable[Comparisons]) -> list[Comparisons]:
    kept = [each for each in pairs if any(getattr(each, name) for name in _COUNTS)]
    return sorted(kept, key=lambda each: (each.a, each.b))


def _number(document: table.Document | None, name: str) -> int:
    return document.number(name) if document and name in document.item else 0


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def _is_of_yesterday(document: table.Document) -> bool:
    """Whether the class has changes that it does not show, and all of them are of an earlier day."""
    return _number(document, "changers") > 0 and document.string("day") < _today()


@table.optimistic
def shown_to(caller: Caller, class_id: int, *, blind: bool) -> Tally:
    """One request; two more when the state is renewed. Raises StandingsNotFound or TooFewVoters."""
    user_key, class_key = keys.user_votes(caller.user_id, class_id), keys.class_votes(class_id)
    shown_key = keys.shown_standings(class_id)
    found = table.fetch([user_key, class_key, shown_key])
    own, document = _user_tally(found.get(user_key)), found.get(class_key)
    if own.cast == 0 or document is None:
        raise StandingsNotFound
    if min(document.number("voters"), document.number("blind_voters" if blind else "voters")) < CLASS_VOTERS:
        raise TooFewVoters
    shown_document = found.get(shown_key)
    shown = ShownTally.model_validate_json(shown_document.text) if shown_document else ShownTally()
    others = _number(document, "changers") - (own.epoch == _number(document, "epoch"))
    if shown.voters < CLASS_VOTERS or others >= CLASS_VOTERS or _is_of_yesterday(document):
        shown = _renew(class_id, document)
    if blind and shown.blind_voters < CLASS_VOTERS:
        raise TooFewVoters
    return shown


def _renew(class_id: int, document: table.Document) -> ShownTally:
    """Shows the counts as they are. Two requests.

    Raises ConditionFailed when a vote came between. A transaction's writes become visible one by one, so the pairs are
    complete only when they have moved as often, together, as the item of the class says.
    """
    pairs = []
    moves = 0
    for each in table.walk(keys.class_pairs(class_id)):
        moves += each.number("moves")
        counts = {name: _number(each, name) for name in _COUNTS}
        pairs.append(Comparisons(a=each.string("a"), b=each.string("b"), **counts))
    if moves != document.number("moves"):
        raise table.ConditionFailed(NOT_A_WRITE, None)
    shown = ShownTally(
        votes=document.number("votes"),
        blind_votes=document.number("blind_votes"),
        pairs=_sorted(pairs),
        voters=document.number("voters"),
        blind_voters=document.number("blind_voters"),
    )
    epoch = _number(document, "epoch") + 1
    counting = table.update(
        keys.class_votes(class_id),
        set_to={"epoch": table.number(epoch), "changers": None},
        add={"v": 1},
        condition="#v = :was",
        values={":was": table.number(document.version)},
    )
    table.write(counting, *table.put(keys.shown_standings(class_id), shown, version=epoch, condition=None))
    return shown
