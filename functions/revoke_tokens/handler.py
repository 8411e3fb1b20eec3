"""EventBridge: TokensRevoked."""

from collections.abc import Mapping
from typing import Any

from practice.events.users import revoke
from practice.runtime.log import logged_event


@logged_event("revoke_tokens")
def lambda_handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Refuses the tokens named, within a minute."""
    return revoke(event)
