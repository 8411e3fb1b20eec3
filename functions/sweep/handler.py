"""SQS, sweep queue."""

from collections.abc import Mapping
from typing import Any

from practice.events import sweep
from practice.runtime.log import logged_event


@logged_event("sweep")
def lambda_handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Removes the children of deleted sessions, models and examples until its deadline, then queues the rest."""
    return sweep.handle(event, context)
