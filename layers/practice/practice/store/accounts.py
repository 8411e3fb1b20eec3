"""The one item every user has: exact counts, the tokens that are no longer good, and the receipt of an erasure.

It lies in a partition of its own. A user's partition has local indexes and holds 10 GB; one that is full takes no write that
makes it larger, and must still take an erasure and a revocation.
"""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from practice import table
from practice.caller import Caller
from practice.errors import ImportInProgress, PracticeError, StoreUnavailable, Unauthorized
from practice.runtime.snapshots import clear_on_restore
from practice.table import keys

REMEMBERED_SECONDS: Final = 50.0
"""A revocation takes effect within a minute, at one request for each user, process and minute."""
REMEMBERED_USERS: Final = 10_000


class TokenRules(NamedTuple):
    """What an account says about tokens."""

    refused_before: float | None
    """Seconds since the epoch: tokens issued earlier, or at a time they do not tell, are refused."""
    refused_tokens: frozenset[str]

    def accept(self, caller: Caller) -> None:
        """Raises Unauthorized."""
        if caller.token_id in self.refused_tokens:
            raise Unauthorized("token revoked")
        if self.refused_before is not None:
            if caller.issued_at is None:
                raise Unauthorized("token without iat, and earlier ones are revoked")
            if caller.issued_at < self.refused_before:
                raise Unauthorized("token issued before the revocation or erasure of its user")


_remembered: dict[int, tuple[float, TokenRules]] = {}
_lock = threading.Lock()


def admit(caller: Caller) -> None:
    """Raises Unauthorized for a revoked token, StoreUnavailable while the user's data is being erased."""
    known = _remembered.get(caller.user_id)
    if known is None or time.monotonic() - known[0] >= REMEMBERED_SECONDS:
        _remember(caller.user_id, _token_rules(caller.user_id)).accept(caller)
    else:
        known[1].accept(caller)


def admit_now(caller: Caller) -> None:
    """The same by what the account says at this moment. One request."""
    _remember(caller.user_id, _token_rules(caller.user_id)).accept(caller)


def _remember(user_id: int, rules: TokenRules) -> TokenRules:
    with _lock:
        if len(_remembered) >= REMEMBERED_USERS:
            _remembered.clear()
        _remembered[user_id] = (time.monotonic(), rules)
    return rules


@clear_on_restore
def clear_cache() -> None:
    with _lock:
        _remembered.clear()


def read(user_id: int) -> table.Document | None:
    """One request."""
    return table.get(keys.account(user_id))


def _token_rules(user_id: int) -> TokenRules:
    """One request, which also looks where the account was kept before; `move` takes it from there."""
    return token_rules([document.item for document in table.fetch(places_of(user_id)).values()])


def places_of(user_id: int) -> list[keys.Key]:
    """Where an account may be."""
    return [keys.account(user_id), keys.account_of_before(user_id)]


REVOKED_TOKENS: Final = 200
"""Kept one by one: every write that counts something for the user pays for them."""
RULES: Final = ("erasing", "erased_at", "revoked_before", "revoked_tokens")
"""The attributes that `token_rules` reads."""


def token_rules(items: Sequence[table.Item]) -> TokenRules:
    """What the items of an account say. Raises StoreUnavailable while it is erased."""
    if any("erasing" in item for item in items):
        raise StoreUnavailable("erasure under way")
    moments = [
        moment_in(item, name) for item in items for name in ("erased_at", "revoked_before") if name in item
    ]
    tokens = {entry for item in items for entry in _revoked(item)}
    return TokenRules(max(moments, default=None), frozenset(tokens))


def count_write(caller: Caller, name: str, amount: int) -> table.Write:
    """Keeps a total exact: part of the transaction that adds what it counts.

    Its condition fails while the user's data is erased, for a token issued before that, and while an import is at work
    (see `refusal`). The claim of an import that has lapsed refuses nothing.
    """
    condition, values = not_erased(caller)
    values[":now"] = table.ms_from_now()
    return table.update(
        keys.account(caller.user_id),
        set_to={"ttl": None},  # a user who comes back after an erasure has an account that must not expire
        add={name: amount},
        condition=f"{condition} AND (attribute_not_exists(#importing) OR #import_until < :now)",
        values=values,
    )


def not_erased(caller: Caller) -> tuple[str, dict[str, table.Value]]:
    """The condition that every write checks which can create an item, with its values: the caller's token is not older
    than an erasure. A token issued at the very moment of an erasure is good, for reads and for writes.
    """
    if caller.issued_at is None:
        return "attribute_not_exists(#erased_at)", {}
    values = {":issued_at": seconds_of(caller.issued_at)}
    return (
        "(attribute_not_exists(#erased_at) OR #erased_at <= :issued_at) AND attribute_not_exists(#erasing)",
        values,
    )


def admitted(caller: Caller) -> table.Write:
    """The same as a check, for a transaction that counts nothing (see `refusal`)."""
    return table.check(keys.account(caller.user_id), *not_erased(caller))


def is_erased(account: table.Item, caller: Caller) -> bool:
    """The same condition, of an account that was read."""
    if "erasing" in account or (caller.issued_at is None and "erased_at" in account):
        return True
    return caller.issued_at is not None and moment_in(account, "erased_at") > caller.issued_at


def count_refusal(failed: table.ConditionFailed) -> PracticeError:
    """Why `counted` or `admitted` did not hold."""
    if failed.item and importing(failed.item):
        return ImportInProgress()
    return Unauthorized("token issued before the erasure of its user")


def importing(account: table.Item) -> bool:
    """Whether an import is at work: its claim stands and has not lapsed."""
    return "importing" in account and int(account["import_until"]["N"]) >= time.time() * 1000


def total(account: table.Document | None, name: str) -> int:
    """At least zero: what a delete takes off while an erasure resets the totals is not owed."""
    return max(0, account.number(name)) if account and name in account.item else 0


def revoke_before(user_id: int, moment: float) -> None:
    """One request; an earlier moment than the one that stands changes nothing."""
    later = "attribute_not_exists(#revoked_before) OR #revoked_before < :moment"
    values = {":moment": seconds_of(moment)}
    set_to: dict[str, table.Value | None] = {"revoked_before": values[":moment"], "ttl": None}
    try:
        table.write(table.update(keys.account(user_id), set_to=set_to, condition=later, values=values))
    except table.ConditionFailed:
        return


def revoke_token(user_id: int, token_id: str, moment: float) -> None:
    """`moment` is when the revocation was announced: a later erasure forgets it, an earlier one does not.

    One request. A user who has `REVOKED_TOKENS` already loses all tokens issued before `moment`, in three requests.
    """
    entry = [f"{moment!r} {token_id}"]
    key = keys.account(user_id)
    fewer = "attribute_not_exists(#revoked_tokens) OR size(#revoked_tokens) < :most"
    try:
        table.write(
            table.add_to_set(
                key, "revoked_tokens", entry, condition=fewer, values={":most": table.number(REVOKED_TOKENS)}
            )
        )
    except table.ConditionFailed as failed:
        revoke_before(user_id, moment)
        kept = (failed.item or {}).get("revoked_tokens", {}).get("SS", ())
        covered = [each for each in kept if float(each.partition(" ")[0]) <= moment]
        if covered:
            table.write(table.remove_from_set(key, "revoked_tokens", covered))


def _revoked(item: Mapping[str, table.Value]) -> Iterator[str]:
    """The ids of tokens. In an account of before they stand without the moment."""
    is_of_before = not item["pk"]["S"].endswith("#ACCOUNT")
    for entry in item.get("revoked_tokens", {}).get("SS", ()):
        yield entry if is_of_before else entry.partition(" ")[2]


def seconds_of(moment: float) -> table.Value:
    return {"N": repr(moment)}


def moment_in(item: Mapping[str, table.Value], name: str) -> float:
    return float(item.get(name, {"N": "-1"})["N"])


@table.optimistic
def move(user_id: int) -> bool:
    """Takes an account to its own partition from where accounts were kept before. Two requests; False when there is none.

    Idempotent. What was written to the new place meanwhile is added to.
    """
    found = table.fetch([keys.account(user_id), keys.account_of_before(user_id)])
    before = found.get(keys.account_of_before(user_id))
    if before is None:
        return False
    now = found.get(keys.account(user_id))
    standing = now.item if now else {}
    moved: dict[str, table.Value | None] = {
        name: value
        for name, value in before.item.items()
        if name not in ("pk", "sk", "revoked_tokens", *_TOTALS)
        and (name not in standing or (name in _MOMENTS and moment_in(standing, name) < float(value["N"])))
    }
    tokens = set(standing.get("revoked_tokens", {}).get("SS", ()))
    tokens |= {f"0 {token}" for token in _revoked(before.item)}
    totals: dict[str, int] = {name: before.number(name) for name in _TOTALS if name in before.item}
    conditions = [
        f"#{name} = :was_{name}" if name in standing else f"attribute_not_exists(#{name})"
        for name in _MOMENTS
    ]
    was = {f":was_{name}": standing[name] for name in _MOMENTS if name in standing}
    if tokens:
        moved["revoked_tokens"] = {"SS": sorted(tokens)}
    taken = table.update(
        keys.account(user_id), set_to=moved, add=totals, condition=" AND ".join(conditions), values=was
    )
    table.write(taken, table.delete(keys.account_of_before(user_id), "attribute_exists(#pk)"))
    return True


_TOTALS: Final = ("sessions", "examples")
_MOMENTS: Final = ("erased_at", "revoked_before")
