"""The handshake of a live connection."""

from collections.abc import Mapping
from typing import Any, Final

from practice.caller import Caller
from practice.errors import OriginNotAllowed, PracticeError, Unauthorized
from practice.http import rates
from practice.http.auth import authenticate
from practice.http.replies import error_reply
from practice.live.connection import Event, connection_id_of, invocation
from practice.runtime.config import config
from practice.runtime.connections import close
from practice.store import accounts, connections
from practice.store.connections import Connection

PROTOCOL: Final = "practice.v1"
BEARER: Final = "bearer."
"""What a token begins with among the subprotocols: a browser's WebSocket can send no header of its own."""


def connect(event: Event, context: object) -> dict[str, Any]:
    """Four requests; the connections that must close for this one are closed after it is stored."""
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    with invocation("$connect", event, context) as line:
        try:
            caller, protocol = _authenticated(headers)
            line.user_id = caller.user_id
            _accept_origin(headers.get("origin"))
            rates.spend(caller.user_id, 1)
            accounts.admit_now(caller)
            for closed in connections.open_connection(Connection(connection_id_of(event), caller)):
                close(closed)
        except PracticeError as error:
            line.refuse(error)
            reply = error_reply(error)
            return {"statusCode": line.status, "headers": reply.headers, "body": reply.body}
        return {
            "statusCode": 200,
            "headers": {"Sec-WebSocket-Protocol": protocol} if protocol else {},
        }


def _authenticated(headers: Mapping[str, str]) -> tuple[Caller, str | None]:
    """The caller, and the subprotocol to answer with."""
    offered = [each.strip() for each in headers.get("sec-websocket-protocol", "").split(",")]
    protocol = PROTOCOL if PROTOCOL in offered else None
    if "authorization" in headers:
        return authenticate(headers["authorization"]), protocol
    tokens = [each.removeprefix(BEARER) for each in offered if each.startswith(BEARER)]
    if len(tokens) != 1 or protocol is None:
        raise Unauthorized("neither an Authorization header nor a token among the subprotocols")
    return authenticate(f"Bearer {tokens[0]}"), protocol


def _accept_origin(origin: str | None) -> None:
    """Only browsers send one, and they send it with every handshake: CORS does not hold for WebSockets."""
    allowed = config().cors_origins
    if origin is not None and "*" not in allowed and origin not in allowed:
        raise OriginNotAllowed
