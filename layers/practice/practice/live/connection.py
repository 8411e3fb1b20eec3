"""One live connection, as the functions see it: who it belongs to, and the line in the log of each event."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from practice.caller import Caller
from practice.errors import Invalid, PracticeError, StoreUnavailable, Unauthorized
from practice.http.replies import status_of
from practice.runtime import connections, log
from practice.schemas.base import BaseModel
from practice.store import connections as stored

Event = Mapping[str, Any]


def connection_id_of(event: Event) -> str:
    return str(event["requestContext"]["connectionId"])


@dataclass(slots=True)
class Line:
    """What the log has of one event."""

    user_id: int | None = None
    status: int = int(HTTPStatus.OK)
    error: str | None = None
    cause: str | None = None

    def refuse(self, error: Exception) -> None:
        self.error = type(error).__name__
        if isinstance(error, Invalid):
            self.status = int(HTTPStatus.UNPROCESSABLE_ENTITY)
        elif isinstance(error, PracticeError):
            self.status = int(status_of(type(error)))
            if isinstance(error, StoreUnavailable | Unauthorized):
                self.cause = error.reason
        else:
            self.status = int(HTTPStatus.INTERNAL_SERVER_ERROR)
            self.error = None
            self.cause = log.cause_of(error)


@contextmanager
def invocation(route: str, event: Event, context: object) -> Iterator[Line]:
    begun = log.begin_invocation()
    line = Line()
    try:
        yield line
    except Exception as error:
        line.refuse(error)
        raise
    finally:
        if line.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            log.count("live_failures")
        log.log_request(
            begun,
            context,
            route=f"live {route}",
            status=line.status,
            error=line.error,
            request_id=str(event.get("requestContext", {}).get("requestId", "-")),
            user_id=line.user_id,
            cause=line.cause,
        )


class ConnectionClosed(Exception):
    """Nothing can be sent to it any more."""


@dataclass(frozen=True, slots=True)
class Client:
    """Whose message a function handles."""

    connection_id: str
    caller: Caller
    id: str
    """Of the message: every answer carries it."""

    def send(self, message: BaseModel) -> None:
        send(self.connection_id, self.caller.user_id, message)


def send(connection_id: str, user_id: int | None, message: BaseModel) -> None:
    """Raises ConnectionClosed for one that is gone, or where it is unclear whether the message arrived."""
    try:
        connections.post(connection_id, message.model_dump_json())
    except (connections.Gone, connections.Unclear) as error:
        end(connection_id, user_id)
        raise ConnectionClosed from error


def end(connection_id: str, user_id: int | None) -> None:
    """Closes it; with its user it is forgotten too."""
    if user_id is not None:
        stored.remove(user_id, connection_id)
    connections.close(connection_id)
