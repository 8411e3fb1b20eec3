"""EventBridge, `source` of the catalogue: ClassUpdated, AgentUpdated, AgentDeleted."""

from collections.abc import Mapping
from typing import Any

from practice.events.catalogue import handle
from practice.runtime.log import logged_event


@logged_event("update_catalogue")
def lambda_handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Keeps the newest announcement; one that can never be taken goes to the dead-letter queue with its reason."""
    return handle(event)
