"""$disconnect: a live connection has ended."""

from typing import Any

from practice.live.connection import Event, connection_id_of, invocation
from practice.store import connections


def lambda_handler(event: Event, context: object) -> dict[str, Any]:
    """Forgets the connection. The turns that it followed go on.

    Three requests. API Gateway sends this event when it can: one that is lost is made up for by time.
    """
    with invocation("$disconnect", event, context) as line:
        connection = connections.read(connection_id_of(event))
        if connection:
            line.user_id = connection.caller.user_id
            connections.remove(connection.caller.user_id, connection.connection_id)
    return {"statusCode": 200}
