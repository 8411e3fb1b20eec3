"""SQS, transfer queue."""

import os
from collections.abc import Mapping
from typing import Any

from practice.events.batch import each
from practice.runtime.deadline import Deadline
from practice.runtime.log import logged_event
from practice.transfers.jobs import work


@logged_event("work_transfer")
def lambda_handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Writes the file of an export, or takes in the file of an import."""
    deadline = Deadline.of(context)
    dead_letters = os.environ["TRANSFER_DEAD_LETTERS_URL"]
    return each(event, lambda record: work(record, deadline), dead_letters, "work_transfer")
