"""The one item every user has: exact counts, and the receipt of an erasure."""

from practice import keys, table
from practice.auth import Caller
from practice.errors import Unauthorized


def counted(caller: Caller, name: str, amount: int) -> table.Write:
    """Keeps a total exact: part of the transaction that adds or removes what it counts.

    Its condition fails for a token that was issued before the user's data was erased (see `refused`).
    """
    values = {}
    condition = "attribute_not_exists(#erased_at)"
    if caller.issued_at is not None:
        condition += " OR #erased_at < :issued_at"
        values[":issued_at"] = {"N": repr(caller.issued_at)}
    return table.update(keys.account(caller.user_id), add={name: amount}, condition=condition, values=values)


def refused() -> Unauthorized:
    return Unauthorized("token issued before the erasure of its user")


def total(account: table.Document | None, name: str) -> int:
    return account.number(name) if account and name in account.item else 0
