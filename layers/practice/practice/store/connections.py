"""Live connections: an item for each, found by its id, and the list of a user's, which bounds how many there are."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from practice import table
from practice.caller import Caller
from practice.errors import Unauthorized
from practice.limits import CONNECTIONS
from practice.store import accounts
from practice.table import keys

LONGEST_SECONDS: Final = 2 * 3600
"""API Gateway ends a connection after two hours."""
GRACE_SECONDS: Final = 300


@dataclass(frozen=True, slots=True)
class Connection:
    connection_id: str
    caller: Caller
    """Whose token opened it."""

    def is_expired(self) -> bool:
        expires_at = self.caller.expires_at
        return expires_at is not None and expires_at <= time.time()


def open_connection(connection: Connection) -> list[str]:
    """Two requests. The connections that were closed for it: at most `CONNECTIONS` stay, the oldest go.

    Raises Unauthorized when the user was erased meanwhile.
    """
    tries = table.attempts()
    while True:
        next(tries)
        try:
            return _open(connection)
        except table.ConditionFailed as failed:
            if failed.index == 0:
                raise Unauthorized("token issued before the erasure of its user") from None


def _open(connection: Connection) -> list[str]:
    caller, now = connection.caller, time.time()
    key = keys.connections(caller.user_id)
    before = table.peek(key, "open", "v")
    listed = _listed(before)
    live = [each for each in listed if float(each.partition(" ")[0]) > now - LONGEST_SECONDS - GRACE_SECONDS]
    kept = live[-(CONNECTIONS - 1) :]
    closed = [each.partition(" ")[2] for each in live if each not in kept]
    ends = min(now + LONGEST_SECONDS, caller.expires_at or now + LONGEST_SECONDS)
    item: dict[str, table.Value | None] = {
        "user": table.number(caller.user_id),
        "exp": _moment(caller.expires_at),
        "iat": _moment(caller.issued_at),
        "jti": table.text(caller.token_id) if caller.token_id is not None else None,
        "ttl": table.number(int(ends) + GRACE_SECONDS),
    }
    version = int(before["v"]["N"]) if before else 0
    table.write(
        accounts.admitted(caller),
        table.update(
            key,
            set_to={
                "open": _texts([*kept, f"{now!r} {connection.connection_id}"]),
                "v": table.number(version + 1),
                "ttl": table.number(int(now) + LONGEST_SECONDS + GRACE_SECONDS),
            },
            condition="#v = :was" if before else "attribute_not_exists(#pk)",
            values={":was": table.number(version)} if before else {},
        ),
        table.put_attributes(
            keys.connection(connection.connection_id), item, condition="attribute_not_exists(#pk)", values={}
        ),
        *(table.delete(keys.connection(each)) for each in closed),
    )
    return closed


def read(connection_id: str) -> Connection | None:
    """One request."""
    item = table.peek(keys.connection(connection_id), *ATTRIBUTES)
    return connection_of(connection_id, item) if item else None


ATTRIBUTES: Final = ("user", "exp", "iat", "jti")
"""The attributes that `connection_of` reads."""


def connection_of(connection_id: str, item: table.Item) -> Connection:
    caller = Caller(
        user_id=int(item["user"]["N"]),
        issued_at=float(item["iat"]["N"]) if "iat" in item else None,
        token_id=item["jti"]["S"] if "jti" in item else None,
        expires_at=float(item["exp"]["N"]) if "exp" in item else None,
    )
    return Connection(connection_id, caller)


def which_exist(connection_ids: Iterable[str]) -> set[str]:
    """One request."""
    wanted = {keys.connection(each): each for each in connection_ids}
    return {wanted[key] for key in table.peek_all(wanted)}


@table.optimistic
def remove(user_id: int, connection_id: str) -> None:
    """Two requests. A connection that was removed before stays so."""
    key = keys.connections(user_id)
    before = table.peek(key, "open", "v")
    listed = _listed(before)
    left = [each for each in listed if each.partition(" ")[2] != connection_id]
    gone = table.delete(keys.connection(connection_id))
    if before is None or left == listed:
        table.write(gone)
        return
    was = {":was": before["v"]}
    table.write(
        table.update(
            key,
            set_to={"open": _texts(left), "v": table.number(int(before["v"]["N"]) + 1)},
            condition="#v = :was",
            values=was,
        ),
        gone,
    )


def erase(user_id: int) -> list[str]:
    """All of a user's, for whom none can be opened any more. Two requests; their ids."""
    listed = [each.partition(" ")[2] for each in _listed(table.peek(keys.connections(user_id), "open"))]
    gone = [table.delete(keys.connection(each)) for each in listed]
    table.write(*gone, table.delete(keys.connections(user_id)))
    return listed


def _listed(item: table.Item | None) -> list[str]:
    """Each with the moment at which it was opened, the oldest first."""
    listed = [each["S"] for each in item["open"]["L"]] if item else []
    return sorted(listed, key=lambda each: float(each.partition(" ")[0]))


def _texts(values: Sequence[str]) -> table.Value:
    return {"L": [table.text(each) for each in values]}


def _moment(seconds: float | None) -> table.Value | None:
    return None if seconds is None else {"N": repr(seconds)}
