"""A message of a client in, messages out: what all actions share.

Nothing is accepted from a connection without an item, whose token has expired or was revoked, or whose user was erased: it
is closed without an answer. Every other refusal is an `error`, and the connection stays.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from pydantic import ValidationError

from practice.errors import Invalid, PracticeError, Problem, Unauthorized
from practice.http import rates
from practice.http.inputs import NOT_AN_OBJECT, listed, problems_of
from practice.http.replies import status_of
from practice.limits import LIVE_ID_CHARACTERS, LIVE_MESSAGE_BYTES
from practice.live.connection import (
    Client,
    ConnectionClosed,
    Event,
    Line,
    connection_id_of,
    end,
    invocation,
    send,
)
from practice.runtime.deadline import Deadline
from practice.schemas.base import BaseModel
from practice.schemas.json_text import parse_json
from practice.schemas.live import LiveError, LiveProblem
from practice.store import accounts, connections

Body = dict[str, Any]
Handle = Callable[[Client, Body, Deadline], None]

PLACES: Final = {
    "session_id": ("path", "session_id"),
    "turn_id": ("path", "turn_id"),
    "class_id": ("query", "class_id"),
    "idempotency_key": ("header", "idempotency-key"),
}
"""Where the HTTP API has what a message has beside the body."""


def handle_message(event: Event, context: object, action: str, cost: int, handle: Handle) -> dict[str, Any]:
    """Two requests, at most one a minute for each user more, before those of the action itself."""
    connection_id = connection_id_of(event)
    with invocation(action, event, context) as line:
        try:
            connection = connections.read(connection_id)
            if connection is None:
                line.refuse(Unauthorized("no such connection"))
                end(connection_id, None)
            else:
                line.user_id = connection.caller.user_id
                _handle(line, connection, event, Deadline.of(context), cost, handle)
        except ConnectionClosed:
            line.error = "ConnectionClosed"
        except PracticeError as error:
            line.refuse(error)
            _answer_blindly(connection_id, _error_message(_id_of(event), error))
    return {"statusCode": 200}


def _answer_blindly(connection_id: str, message: LiveError) -> None:
    """Where the table cannot say whose connection it is."""
    with suppress(ConnectionClosed):
        send(connection_id, None, message)


def _handle(
    line: Line,
    connection: connections.Connection,
    event: Event,
    deadline: Deadline,
    cost: int,
    handle: Handle,
) -> None:
    caller, own_id = connection.caller, _id_of(event)
    try:
        _admit(connection, cost)
        body = _body_of(event)
        client = Client(connection.connection_id, caller, _required(own_id, body))
        handle(client, body, deadline)
    except ConnectionClosed:
        raise
    except Unauthorized as error:
        line.refuse(error)
        end(connection.connection_id, caller.user_id)
    except Exception as error:  # noqa: BLE001  # the last line of defence: a clear 500, its place in the log
        line.refuse(error)
        send(connection.connection_id, caller.user_id, _error_message(own_id, error))


def _admit(connection: connections.Connection, cost: int) -> None:
    if connection.is_expired():
        raise Unauthorized("token expired")
    accounts.admit(connection.caller)
    rates.spend(connection.caller.user_id, cost)


def _body_of(event: Event) -> Body:
    value = parse_json(str(event.get("body") or ""))
    if not isinstance(value, dict):
        raise Invalid([NOT_AN_OBJECT])
    return value


def _id_of(event: Event) -> str | None:
    """None where the message has no valid one."""
    try:
        own_id = _body_of(event).get("id")
    except Invalid:
        return None
    is_valid = isinstance(own_id, str) and len(own_id) <= LIVE_ID_CHARACTERS and _is_text(own_id)
    return own_id if is_valid else None


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value


def _required(own_id: str | None, body: Body) -> str:
    if own_id is not None:
        return own_id
    if "id" not in body:
        raise Invalid([Problem("missing", ("body", "id"), "Field required")])
    message = f"id should be a string of at most {LIVE_ID_CHARACTERS} characters"
    raise Invalid([Problem("string_type", ("body", "id"), message)])


def parsed(model: type[BaseModel], body: Body) -> Any:
    """Raises Invalid with everything that is wrong: first what HTTP has in the path, then query, headers and body."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        problems = []
        for each in problems_of(error, "body"):
            loc = each["loc"]
            assert isinstance(loc, list)
            if len(loc) == 2 and loc[1] in PLACES:
                each["loc"] = list(PLACES[loc[1]])
            problems.append(each)
        order = ["path", "query", "header", "body"]
        raise Invalid(listed(sorted(problems, key=lambda each: order.index(each["loc"][0])))) from None  # type: ignore[index]  # its loc is a list


def _error_message(own_id: str | None, error: Exception) -> LiveError:
    if isinstance(error, Invalid):
        problems = [LiveProblem.model_validate(each) for each in error.problems]
        message = LiveError(id=own_id, status=422, detail=problems)
        while len(message.model_dump_json().encode()) > LIVE_MESSAGE_BYTES:
            problems = problems[: len(problems) // 2]
            message = LiveError(id=own_id, status=422, detail=problems)
        return message
    if isinstance(error, PracticeError):
        return LiveError(id=own_id, status=int(status_of(type(error))), detail=error.detail)
    return LiveError(id=own_id, status=500, detail="internal server error")
