"""SQS, erasure queue."""

import os
from collections.abc import Mapping
from typing import Any

from practice.events.batch import each
from practice.events.users import erase
from practice.runtime.deadline import Deadline
from practice.runtime.log import logged_event

MARGIN_SECONDS = 10.0


@logged_event("erase_items")
def lambda_handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Deletes a user's items until none is left, over as many invocations as it takes."""
    deadline = Deadline.of(context).less(MARGIN_SECONDS)
    dead_letters = os.environ["ERASURE_DEAD_LETTERS_URL"]
    return each(event, lambda record: erase(record, deadline), dead_letters, "erase_items")
