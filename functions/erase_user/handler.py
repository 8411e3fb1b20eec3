"""EventBridge: UserErased."""

from collections.abc import Mapping
from typing import Any

from practice.events.users import begin_erasure
from practice.runtime.log import logged_event


@logged_event("erase_user")
def lambda_handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Shuts the user's account and asks for the work, which `erase_items` does."""
    return begin_erasure(event)
