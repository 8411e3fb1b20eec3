"""Hooks into requests to AWS, for as long as a test needs them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def hooked(event: str, hook: Callable[..., Any], *clients: Any) -> Iterator[None]:
    """Calls `hook` at this event of botocore, before other hooks: of the table's client, or of these clients."""
    from practice import table

    emitters = [each.meta.events for each in clients or (table.dynamodb(),)]
    for events in emitters:
        events.register_first(event, hook)
    try:
        yield
    finally:
        for events in emitters:
            events.unregister(event, hook)
