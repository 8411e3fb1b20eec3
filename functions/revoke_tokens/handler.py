"""EventBridge, `TokensRevoked`."""

from collections.abc import Mapping
from typing import Any

from practice.events import users
from practice.runtime.log import logged_event


@logged_event("revoke_tokens")
def lambda_handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Revokes the tokens that the event names, within a minute."""
    return users.revoke(event)
