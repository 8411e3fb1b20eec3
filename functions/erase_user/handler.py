"""EventBridge, `UserErased`."""

from collections.abc import Mapping
from typing import Any

from practice.events import users
from practice.runtime.log import logged_event


@logged_event("erase_user")
def lambda_handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Closes the user's account and queues the erasure, which `erase_items` does."""
    return users.begin_erasure(event)
