"""EventBridge, source of the catalogue: `ClassUpdated`, `AgentUpdated`, `AgentDeleted`."""

from collections.abc import Mapping
from typing import Any

from practice.events import catalogue
from practice.runtime.log import logged_event


@logged_event("update_catalogue")
def lambda_handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Stores the newest announcement of a class or an agent."""
    return catalogue.handle(event)
