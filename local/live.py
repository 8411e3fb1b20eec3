"""API Gateway's WebSocket API: connections, the routes their messages take, and the service that posts to them.

Its limits are the gateway's, of a message what the contract allows: the server closes a connection with 1009 above 32 KB,
and here with 1003 for a binary one.
"""

import json
import logging
import secrets
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import unquote

from local.functions import FunctionError, Invoker
from local.http import Headers, Request, Response, json_response, message, read_json
from local.template import Route

PATH = "/live"
MESSAGE_BYTES = 32 * 1024
IDLE_SECONDS = 600.0
LONGEST_SECONDS = 7200.0
EXPIRY_SECONDS = 30.0
"""Between two looks for connections that must end."""
UNSUPPORTED_DATA, GOING_AWAY, NORMAL = 1003, 1001, 1000

log = logging.getLogger("local.live")


class Peer(Protocol):
    """The client's end of a connection."""

    def send(self, text: str) -> None:
        """Raises ConnectionError when it is gone, TimeoutError when it does not read."""

    def close(self, code: int) -> None: ...


@dataclass
class Connection:
    connection_id: str
    peer: Peer
    source_ip: str
    connected_at: float = field(default_factory=time.time)
    last_active_at: float = field(default_factory=time.time)
    received: int = 0
    sent: int = 0
    sending: threading.Lock = field(default_factory=threading.Lock, repr=False)


@dataclass(frozen=True)
class Handshake:
    """The answer to a handshake: a connection, or the response that refuses it."""

    connection: Connection | None
    response: Response


class Live:
    def __init__(self, routes: Iterable[Route], invoker: Invoker) -> None:
        self._functions = {route.path: route.function for route in routes}
        self._invoker = invoker
        self._connections: dict[str, Connection] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._asked = 0
        self._idle = threading.Condition()

    def start(self) -> None:
        threading.Thread(target=self._keep_time, name="live connections", daemon=True).start()

    def _keep_time(self) -> None:
        while not self._closing.wait(EXPIRY_SECONDS):
            self.expire()

    @property
    def is_deployed(self) -> bool:
        return "$connect" in self._functions

    def connect(self, headers: Headers, peer: Peer, source_ip: str = "127.0.0.1") -> Handshake:
        """Asks `$connect`. The connection exists once the function has accepted it."""
        connection = Connection(secrets.token_urlsafe(11) + "=", peer, source_ip)
        event = self._event(connection, "$connect", "CONNECT")
        event["headers"] = {name.title(): value for name, value in headers}
        event["multiValueHeaders"] = {name.title(): [value] for name, value in headers}
        result = self._invoke("$connect", event)
        if not isinstance(result, Mapping) or not 200 <= int(result.get("statusCode", 500)) <= 299:
            status = int(result.get("statusCode", 500)) if isinstance(result, Mapping) else 500
            own = list((result or {}).get("headers", {}).items())
            refusal = message(status, HTTPStatus(status).phrase)
            return Handshake(None, Response(status, [*refusal.headers, *own], refusal.body))
        with self._lock:
            self._connections[connection.connection_id] = connection
        return Handshake(connection, Response(101, list((result.get("headers") or {}).items())))

    def receive(self, connection: Connection, text: str) -> None:
        """One message of the client's, to the function of its route."""
        connection.last_active_at = time.time()
        connection.received += 1
        try:
            action = read_json(text).get("action")
        except (ValueError, AttributeError):
            action = None
        is_route = isinstance(action, str) and action in self._functions and not action.startswith("$")
        route = action if is_route else "$default"
        event = self._event(connection, route, "MESSAGE")
        event["requestContext"]["messageId"] = secrets.token_urlsafe(11) + "="
        result = self._invoke(route, {**event, "body": text})
        if result is None:
            context = event["requestContext"]
            failed = {
                "message": "Internal server error",
                **{name: context[name] for name in ("connectionId", "requestId")},
            }
            self._post(connection, json.dumps(failed))

    def disconnect(self, connection: Connection, code: int = NORMAL) -> None:
        with self._lock:
            if self._connections.pop(connection.connection_id, None) is None:
                return
        event = self._event(connection, "$disconnect", "DISCONNECT")
        event["requestContext"] |= {"disconnectStatusCode": code, "disconnectReason": ""}
        self._invoke("$disconnect", event)

    def end(self, connection: Connection, code: int) -> None:
        """By the gateway's own decision."""
        connection.peer.close(code)
        self.disconnect(connection, code)

    def expire(self) -> None:
        """Ends the connections that are idle or have lasted too long."""
        now = time.time()
        with self._lock:
            over = [
                each
                for each in self._connections.values()
                if now - each.last_active_at > IDLE_SECONDS or now - each.connected_at > LONGEST_SECONDS
            ]
        for each in over:
            self.end(each, GOING_AWAY)

    def close(self) -> None:
        """The stack stops, and asks no function."""
        self._closing.set()
        self.hang_up()

    def hang_up(self, grace: float = 5.0) -> None:
        """Closes all connections, and asks no function; waits a little for those that were asked before."""
        with self._lock:
            connections, self._connections = list(self._connections.values()), {}
        for each in connections:
            each.peer.close(GOING_AWAY)
        with self._idle:
            self._idle.wait_for(lambda: not self._asked, grace)

    def state(self) -> list[dict[str, Any]]:
        with self._lock:
            connections = list(self._connections.values())
        return [
            {
                "connection_id": each.connection_id,
                "connected_seconds": round(time.time() - each.connected_at),
                "received": each.received,
                "sent": each.sent,
            }
            for each in connections
        ]

    def answer(self, request: Request) -> Response:
        """The management API: `@connections/<id>`."""
        place, _, name = request.path.rpartition("/")
        with self._lock:
            connection = self._connections.get(unquote(name))
        if not place.endswith("/@connections"):
            return message(404, "Not Found")
        if request.method == "POST" and len(request.body) > 128 * 1024:
            return _failure(413, "PayloadTooLargeException")
        if connection is None:
            return _failure(410, "GoneException")
        if request.method == "POST":
            if not self._post(connection, request.body.decode()):
                return _failure(410, "GoneException")
            return Response(200)
        if request.method == "DELETE":
            self.end(connection, NORMAL)
            return Response(204)
        shown = {"connectedAt": connection.connected_at, "lastActiveAt": connection.last_active_at}
        return json_response(200, {**shown, "identity": {"sourceIp": connection.source_ip}})

    def _post(self, connection: Connection, text: str) -> bool:
        with connection.sending:
            try:
                connection.peer.send(text)
            except (ConnectionError, TimeoutError):
                return False
        connection.last_active_at = time.time()
        connection.sent += 1
        return True

    def _invoke(self, route: str, event: dict[str, Any]) -> Any:
        """None when the function failed."""
        function = self._functions.get(route)
        if function is None:
            return None
        with self._idle:
            self._asked += 1
        try:
            return self._invoker.invoke(function, event, 29.0)
        except FunctionError as error:
            log.error("%s: %s", function, error.trace or error)  # noqa: TRY400
            return None
        finally:
            with self._idle:
                self._asked -= 1
                self._idle.notify_all()

    def _event(self, connection: Connection, route: str, kind: str) -> dict[str, Any]:
        now = time.time()
        return {
            "requestContext": {
                "routeKey": route,
                "eventType": kind,
                "extendedRequestId": secrets.token_urlsafe(11) + "=",
                "requestTime": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now)),
                "messageDirection": "IN",
                "stage": "live",
                "connectedAt": int(connection.connected_at * 1000),
                "requestTimeEpoch": int(now * 1000),
                "identity": {"sourceIp": connection.source_ip},
                "requestId": secrets.token_urlsafe(11) + "=",
                "domainName": "localhost",
                "connectionId": connection.connection_id,
                "apiId": "local",
            },
            "isBase64Encoded": False,
        }


def _failure(status: int, name: str) -> Response:
    return Response(
        status, [("x-amzn-errortype", name), ("content-type", "application/json")], b'{"message":null}'
    )
