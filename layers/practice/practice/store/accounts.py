"""The one item every user has: exact counts, the tokens that are no longer good, and the receipt of an erasure."""

import threading
import time
from collections.abc import Iterator
from typing import Final, NamedTuple

from practice import table
from practice.caller import Caller
from practice.errors import ImportInProgress, PracticeError, StoreUnavailable, Unauthorized
from practice.runtime.snapshots import clear_on_restore
from practice.table import keys

REMEMBERED_SECONDS: Final = 50.0
"""A revocation takes effect within a minute, at one request for each user, process and minute."""
REMEMBERED_USERS: Final = 10_000
RECEIPT_SECONDS: Final = 400 * 24 * 3600
"""How long an erasure is remembered of a user who does not come back; longer than any token lives."""

KINDS: Final = ("sessions", "examples", "responses", "items")


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
        known = (time.monotonic(), _token_rules(caller.user_id))
        with _lock:
            if len(_remembered) >= REMEMBERED_USERS:
                _remembered.clear()
            _remembered[caller.user_id] = known
    known[1].accept(caller)


@clear_on_restore
def clear_cache() -> None:
    with _lock:
        _remembered.clear()


def _token_rules(user_id: int) -> TokenRules:
    key = keys.account(user_id)
    account = table.get(key)
    if account is None:
        return TokenRules(None, frozenset())
    if "erasing" in account.item:
        raise StoreUnavailable("erasure under way")
    moments = [
        float(account.item[name]["N"]) for name in ("erased_at", "revoked_before") if name in account.item
    ]
    tokens = account.item.get("revoked_tokens", {}).get("SS", ())
    return TokenRules(max(moments, default=None), frozenset(tokens))


def counted(caller: Caller, name: str, amount: int) -> table.Write:
    """Keeps a total exact: part of the transaction that adds or removes what it counts.

    Its condition fails while the user's data is erased, for a token issued before that, and while an import is at work
    (see `refusal`).
    """
    values = {}
    condition = "attribute_not_exists(#erased_at)"
    if caller.issued_at is not None:
        condition = f"({condition} OR #erased_at < :issued_at) AND attribute_not_exists(#erasing)"
        values[":issued_at"] = _seconds(caller.issued_at)
    condition += " AND attribute_not_exists(#importing)"
    # Whoever comes back after an erasure has an account that must not expire.
    return table.update(
        keys.account(caller.user_id),
        set_to={"ttl": None},
        add={name: amount},
        condition=condition,
        values=values,
    )


def counted_by_import(user_id: int, name: str, claim: str) -> table.Write:
    """The same for an import, which alone may create while it has the account."""
    mine = {":claim": table.text(claim)}
    return table.update(keys.account(user_id), add={name: 1}, condition="#importing = :claim", values=mine)


def refusal(failed: table.ConditionFailed) -> PracticeError:
    """Why `counted` did not hold."""
    if failed.item and "importing" in failed.item:
        return ImportInProgress()
    return Unauthorized("token issued before the erasure of its user")


def total(account: table.Document | None, name: str) -> int:
    return account.number(name) if account and name in account.item else 0


def revoke_before(user_id: int, moment: float) -> None:
    """One request; an earlier moment than the one that stands changes nothing."""
    later = "attribute_not_exists(#revoked_before) OR #revoked_before < :moment"
    values = {":moment": _seconds(moment)}
    set_to: dict[str, table.Value | None] = {"revoked_before": values[":moment"], "ttl": None}
    try:
        table.write(table.update(keys.account(user_id), set_to=set_to, condition=later, values=values))
    except table.ConditionFailed:
        return


def revoke_token(user_id: int, token_id: str) -> None:
    """One request."""
    table.write(table.add_to_set(keys.account(user_id), "revoked_tokens", [token_id]))


def was_erased_since(user_id: int, moment: float) -> bool:
    """Whether the erasure of the user's data was asked for after that moment. One request."""
    key = keys.account(user_id)
    account = table.get(key)
    return account is not None and float(account.item.get("erased_at", {"N": "-1"})["N"]) >= moment


def begin_erasure(user_id: int, moment: float) -> bool:
    """From here on the user's tokens are refused and nothing is created. False when it was done before. One request."""
    nothing: dict[str, table.Value | None] = dict.fromkeys(
        ["sessions", "examples", "revoked_before", "revoked_tokens", "importing", "import_until", "ttl"]
    )
    none_yet: dict[str, table.Value | None] = {f"erased_{kind}": table.number(0) for kind in KINDS}
    begun = table.update(
        keys.account(user_id),
        set_to={"erased_at": _seconds(moment), "erasing": table.flag(True), **nothing, **none_yet},
        condition="attribute_not_exists(#erased_at) OR #erased_at < :moment",
        values={":moment": _seconds(moment)},
    )
    try:
        table.write(begun)
    except table.ConditionFailed as failed:
        return failed.item is not None and "erasing" in failed.item
    return True


class Erasure(NamedTuple):
    """A receipt: when, and how much of each kind."""

    erased_at: float
    counts: dict[str, int]


def erase(user_id: int) -> Iterator[Erasure | None]:
    """Deletes everything of the user but the account, counting exactly; yields None after each bounded piece.

    Ends with the receipt, when a reading from the start finds nothing more. May die anywhere and be begun again.
    """
    account_key = keys.account(user_id)
    while found := table.read_keys(keys.everything_of(user_id)):
        for start in range(0, len(found), _PIECE):
            piece = found[start : start + _PIECE]
            counts = {f"erased_{kind}": count for kind, count in _counted(piece).items() if count}
            counting = table.update(account_key, add=counts, condition="attribute_exists(#erasing)")
            try:
                table.write(counting, *(table.delete(key, "attribute_exists(#pk)") for key in piece))
            except table.ConditionFailed as failed:
                if failed.index == 0:
                    return  # another worker has finished it
                break  # another worker deleted some of them: read again
            yield None
    account = table.get(account_key)
    if account and "erasing" in account.item:
        counts = {kind: account.number(f"erased_{kind}") for kind in KINDS}
        yield Erasure(float(account.item["erased_at"]["N"]), counts)


_PIECE: Final = 10
"""Deletes in one transaction: of items of 400 KB at most, within its 4 MB."""


def finish_erasure(user_id: int, erasure: Erasure) -> None:
    """The receipt stays, for as long as a token from before might. One request."""
    ends = {"erasing": None, "ttl": table.number(int(time.time()) + RECEIPT_SECONDS)}
    this_one = {":moment": _seconds(erasure.erased_at)}
    try:
        table.write(
            table.update(
                keys.account(user_id), set_to=ends, condition="#erased_at = :moment", values=this_one
            )
        )
    except table.ConditionFailed:
        return  # a later erasure has begun, and will end by itself


def _counted(piece: list[keys.Key]) -> dict[str, int]:
    kinds = [keys.kind_of(key.sk) for key in piece]
    return {kind: kinds.count(kind) for kind in KINDS} | {"items": len(piece)}


def _seconds(moment: float) -> table.Value:
    return {"N": repr(moment)}
