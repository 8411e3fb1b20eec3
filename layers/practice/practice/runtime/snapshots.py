"""SnapStart: Lambda initialises one process, and every copy of it begins with all that it kept.

A copy must not give out ids that another holds, nor draw the same random numbers, nor trust what was true when the
snapshot was taken: that may be weeks ago, and the monotonic clock need not have counted them. Whoever keeps such a thing
says here how to forget it. What only costs time to make (a client, a configuration) stays: that is what a snapshot is for.
"""

import os
import random
import ssl
from collections.abc import Callable
from typing import Final, TypeVar

Forget = TypeVar("Forget", bound=Callable[[], object])

_forgets: Final[list[Callable[[], object]]] = []


def clear_on_restore(forget: Forget) -> Forget:
    """Has the function called in every copy, before its first event."""
    _forgets.append(forget)
    return forget


def after_restore() -> None:
    for forget in _forgets:
        forget()


@clear_on_restore
def _reseed() -> None:
    """The generators within the process: botocore's pauses between retries are drawn from one, TLS from the other."""
    random.seed()
    ssl.RAND_add(os.urandom(32), 32.0)


if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":
    from snapshot_restore_py import (  # type: ignore[import-not-found]  # only Lambda's own runtime has it
        register_after_restore,
    )

    register_after_restore(after_restore)
