"""SQS, transfer queue."""

from collections.abc import Mapping
from typing import Any

from practice.events import transfers
from practice.runtime.log import logged_event


@logged_event("work_transfer")
def lambda_handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Writes the file of an export, or imports an uploaded file."""
    return transfers.handle(event, context)
