"""SQS, titles queue."""

from collections.abc import Mapping
from typing import Any

from practice.events import titles
from practice.runtime.log import logged_event


@logged_event("write_titles")
def lambda_handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Has a model write a title for each session that still has none."""
    return titles.handle(event)
