"""Ids: integers unique over all users, never reused, without an item for each.

A process leases a block of unit numbers with one request to a counter, and then makes ids from it without further requests:
a session takes a whole unit (`SESSION_IDS` numbers: its own and its children's), examples and links share an open one.
One lease serves `UNITS` sessions, so it costs one request in sixteen, and one in the first create of a process. What a
process does not use is lost: 2^38 units last for decades at a million new processes a day.

The counter is spread over `SHARDS` items, so that a thousand processes may start within one second. A lease is taken by
a call and never during import, and what is restored from a snapshot of a process, or forked, leases anew.
"""

import os
import random
import threading
from typing import Final

from practice import table
from practice.limits import MAX_ID, SESSION_IDS
from practice.runtime.snapshots import clear_on_restore
from practice.table import keys

SHARDS: Final = 8
UNITS: Final = 16

_random = random.SystemRandom()


class _Lease:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        self.units: range = range(0)
        self.loose: range = range(0)

    def unit(self) -> int:
        """The first id of a fresh unit. At most one request."""
        if not self.units:
            shard = _random.randrange(SHARDS)
            counter = table.write_returning(table.update(keys.id_block(shard), add={"next": 1}))
            lease = (counter.number("next") - 1) * SHARDS + shard
            self.units = range(lease * UNITS + 1, (lease + 1) * UNITS + 1)
        first, self.units = self.units[0], self.units[1:]
        if first * SESSION_IDS > MAX_ID - SESSION_IDS:
            raise RuntimeError("the id space is used up")
        return first * SESSION_IDS


_lease = _Lease()
os.register_at_fork(after_in_child=_lease.__init__)  # type: ignore[misc]  # a fresh lock too


def new_session_id() -> int:
    with _lease.lock:
        return _lease.unit()


def new_ids(count: int) -> range:
    """`count` increasing ids for things that are no session's children: examples and links."""
    with _lease.lock:
        if len(_lease.loose) < count:
            first = _lease.unit()
            _lease.loose = range(first, first + SESSION_IDS)
        taken, _lease.loose = _lease.loose[:count], _lease.loose[count:]
        return taken


@clear_on_restore
def clear_lease() -> None:
    """A restored process must not hold the numbers of another."""
    with _lease.lock:
        _lease.clear()
