"""How much one user may ask for: a token bucket for each, kept by the execution environment that counts it.

No request is made for it, so it is approximate: N environments of a function hold N budgets. It keeps one client
that sends too much from using up the share of the others; the gateway bounds what all of them send together.
"""

import threading
import time
from collections import OrderedDict
from typing import Final

from practice.errors import TooManyRequests
from practice.runtime.config import config
from practice.runtime.snapshots import clear_on_restore

WINDOW_SECONDS: Final = 60
COUNTED_USERS: Final = 10_000
"""Buckets kept at a time, about 2 MB. The user with the oldest last request is dropped first, and starts with a full one."""

JOB_COST: Final = 10
"""What a turn counts as, an export or an import: what asks models or touches the whole account, and may become a job."""


_full_at: OrderedDict[int, float] = OrderedDict()
"""When each user's bucket is full again, by the monotonic clock: all there is to know of it. Least recent first."""
_lock = threading.Lock()


def spend(user_id: int, cost: int) -> None:
    """Counts a request. Raises TooManyRequests when there is no room for it."""
    quota = config().user_requests_per_minute
    if not quota:
        return
    needed = min(cost, quota) * WINDOW_SECONDS / quota
    with _lock:
        now = time.monotonic()
        full_in = max(0.0, _full_at.get(user_id, now) - now) + needed
        if full_in - WINDOW_SECONDS > _ROUNDING:
            raise TooManyRequests(full_in - WINDOW_SECONDS)
        _full_at[user_id] = now + full_in
        _full_at.move_to_end(user_id)
        if len(_full_at) > COUNTED_USERS:
            _full_at.popitem(last=False)


def give_back(user_id: int, cost: int) -> None:
    """For a request that turned out not to be the user's: a revoked token cannot use up what its owner may ask for."""
    quota = config().user_requests_per_minute
    if quota:
        with _lock:
            if user_id in _full_at:
                _full_at[user_id] -= min(cost, quota) * WINDOW_SECONDS / quota


@clear_on_restore
def clear_cache() -> None:
    with _lock:
        _full_at.clear()


_ROUNDING: Final = 1e-6
"""Of sums of floating-point seconds."""
