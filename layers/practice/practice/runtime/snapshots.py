"""SnapStart: Lambda initialises one process, and every copy of it begins with all that it kept.

A copy must not hand out ids that another holds, draw the same random numbers, or trust what was true when the snapshot
was taken: that may be weeks ago, and the monotonic clock need not have counted them. A module that keeps such state
registers a hook here that clears it. What only costs time to make (a client, a configuration) stays: that is what a
snapshot is for.
"""

import os
import random
import ssl
from collections.abc import Callable
from typing import Final, TypeVar

from practice.runtime.config import INITIALIZATION_TYPE

Hook = TypeVar("Hook", bound=Callable[[], object])

_hooks: Final[list[Callable[[], object]]] = []


def clear_on_restore(hook: Hook) -> Hook:
    """Decorate a function that every copy calls before its first event."""
    _hooks.append(hook)
    return hook


def after_restore() -> None:
    for hook in _hooks:
        hook()


@clear_on_restore
def _reseed() -> None:
    """botocore draws its pauses between retries from the first generator, TLS uses the second."""
    random.seed()
    ssl.RAND_add(os.urandom(32), 32.0)


if INITIALIZATION_TYPE == "snap-start":
    from snapshot_restore_py import (  # type: ignore[import-not-found]  # only Lambda's own runtime has it
        register_after_restore,
    )

    register_after_restore(after_restore)
