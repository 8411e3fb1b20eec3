"""The erasure of a user: begun in the account, done piece by piece, and ended by a receipt in the account."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from practice import table
from practice.store import accounts
from practice.table import keys

RECEIPT_SECONDS: Final = 400 * 24 * 3600
"""How long an erasure is remembered of a user who does not come back; longer than any token lives."""

KINDS: Final = ("sessions", "examples", "responses", "items")
USED: Final = ("turns", "answers", "prompt", "completion", "cost")
"""Of usage: what the receipt of an erasure keeps in total, the cost in 10^-18 dollars."""


def was_erased_since(user_id: int, moment: float) -> bool:
    """Whether the erasure of the user's data was asked for after that moment. One request."""
    account = accounts.read(user_id)
    return account is not None and accounts.moment_in(account.item, "erased_at") >= moment


@table.optimistic
def begin(user_id: int, moment: float) -> bool:
    """From here on the user's tokens are refused and nothing is created. False when it was done before. Two requests.

    Revocations that came after `moment` stay, however late the erasure is announced.
    """
    nothing: dict[str, table.Value | None] = dict.fromkeys(
        ["sessions", "examples", "importing", "import_until", "jobs", "ttl"]
    )
    none_yet: dict[str, table.Value | None] = {f"erased_{kind}": table.number(0) for kind in (*KINDS, *USED)}
    account = accounts.read(user_id)
    tokens = account.item.get("revoked_tokens") if account else None
    newer = [entry for entry in tokens["SS"] if float(entry.partition(" ")[0]) > moment] if tokens else []
    unchanged = "attribute_not_exists(#revoked_tokens)"
    values: dict[str, table.Value] = {":moment": accounts.seconds_of(moment)}
    if tokens:
        unchanged = "size(#revoked_tokens) = :tokens"
        values[":tokens"] = table.number(len(tokens["SS"]))
    begun = table.update(
        keys.account(user_id),
        set_to={
            "erased_at": accounts.seconds_of(moment),
            "erasing": table.flag(True),
            "revoked_tokens": {"SS": newer} if newer else None,
            **nothing,
            **none_yet,
        },
        condition=f"(attribute_not_exists(#erased_at) OR #erased_at < :moment) AND {unchanged}",
        values=values,
    )
    try:
        table.write(begun)
    except table.ConditionFailed as failed:
        if failed.item and accounts.moment_in(failed.item, "erased_at") >= moment:
            return "erasing" in failed.item
        raise  # a token was revoked meanwhile
    return True


class Erasure(NamedTuple):
    """A receipt: when, and how much of each kind."""

    erased_at: float
    counts: dict[str, int]


def erase(
    user_id: int, vote_removal: Callable[[int, keys.Key], list[table.Write]]
) -> Iterator[Erasure | None]:
    """Deletes everything of the user but the account, counting exactly; yields None after each bounded piece.

    A vote goes first, each with `vote_removal`, which takes it off the counts of its class. Ends with the receipt, when a
    reading from the start finds nothing more. May die anywhere and be begun again.
    """
    accounts.move(user_id)
    account_key = keys.account(user_id)
    while found := table.read_keys(keys.everything_of(user_id)):
        for piece in _pieces(found):
            days = table.fetch(key for key in piece if keys.is_usage(key.sk))
            totals = {**_counted(piece), **_used(days.values())}
            counts = {f"erased_{kind}": count for kind, count in totals.items() if count}
            counting = table.update(account_key, add=counts, condition="attribute_exists(#erasing)")
            try:
                if keys.is_vote(piece[0].sk):
                    deletions = vote_removal(user_id, piece[0])
                else:
                    deletions = [
                        table.delete_unchanged(days[key])
                        if key in days
                        else table.delete(key, "attribute_exists(#pk)")
                        for key in piece
                    ]
                if not deletions:
                    break  # another worker deleted it: read again
                table.write(counting, *deletions)
            except table.ConditionFailed as failed:
                if failed.index == 0:
                    return  # another worker has finished it
                break  # another worker deleted some of them, a turn ended, or the counts of a class have moved: read again
            yield None
    account = accounts.read(user_id)
    if account and "erasing" in account.item:
        counts = {
            kind: account.number(f"erased_{kind}") if f"erased_{kind}" in account.item else 0
            for kind in (*KINDS, *USED)
        }
        yield Erasure(float(account.item["erased_at"]["N"]), counts)


def _pieces(found: Sequence[keys.Key]) -> Iterator[Sequence[keys.Key]]:
    """Each vote by itself, then the rest."""
    rest = [key for key in found if not keys.is_vote(key.sk)]
    yield from ([key] for key in found if keys.is_vote(key.sk))
    yield from (rest[start : start + _PIECE] for start in range(0, len(rest), _PIECE))


_PIECE: Final = 10
"""Deletes in one transaction: of items of 400 KB at most, within its 4 MB."""


def finish(user_id: int, erasure: Erasure) -> None:
    """The receipt stays, for as long as a token from before might. One request.

    The totals begin anew: a delete during the erasure has taken its item off them too.
    """
    ends: dict[str, table.Value | None] = dict.fromkeys(["erasing", "sessions", "examples"])
    ends["ttl"] = table.number(int(time.time()) + RECEIPT_SECONDS)
    this_one = {":moment": accounts.seconds_of(erasure.erased_at)}
    try:
        table.write(
            table.update(
                keys.account(user_id), set_to=ends, condition="#erased_at = :moment", values=this_one
            )
        )
    except table.ConditionFailed:
        return  # a later erasure has begun, and will end by itself


def _counted(piece: Sequence[keys.Key]) -> dict[str, int]:
    kinds = [keys.kind_of(key.sk) for key in piece]
    return {kind: kinds.count(kind) for kind in KINDS} | {"items": len(piece)}


def _used(days: Iterable[table.Document]) -> dict[str, int]:
    """Turns have a total of their own; the rest is by model."""
    totals = dict.fromkeys(USED, 0)
    for day in days:
        for name, value in day.item.items():
            kind, _, model = name.partition(":")
            if kind in totals and bool(model) is (kind != "turns"):
                totals[kind] += int(value["N"])
    return totals
