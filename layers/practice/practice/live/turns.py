"""The actions on turns: run the next one, follow one, cancel one."""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from practice import table
from practice.caller import Caller
from practice.http import idempotency
from practice.http.paging import Pager
from practice.http.replies import json_text
from practice.http.turn_replies import turn_reply
from practice.limits import MAX_ID
from practice.live.action import Body, parsed
from practice.live.connection import Client, ConnectionClosed
from practice.runtime.deadline import Deadline
from practice.schemas.live import Cancel, Chat, Follow, Run, TurnDone, shown_title
from practice.schemas.session import OwnSession
from practice.schemas.turn import IN_PROGRESS, StoredTurn, TurnStatus
from practice.schemas.turn_replies import Turn
from practice.schemas.turn_requests import NewPrompt
from practice.store import followers, turn_views
from practice.store.idempotency import IdempotentAttempt
from practice.store.turn_state import Follower
from practice.table import keys
from practice.turns import cancelling, routes
from practice.turns.beginning import TurnRequest
from practice.turns.live import Live, started
from practice.turns.routes import TurnOutcome

CHAT: Final = "POST /user/practice/sessions/{session_id}/chat"
RUN: Final = "POST /user/practice/sessions/run"
"""The routes whose idempotency keys are shared."""
END_SECONDS: Final = 10.0
"""How long a function sends the messages of a turn that has ended."""


def chat(client: Client, body: Body, deadline: Deadline) -> None:
    new: Chat = parsed(Chat, body)
    session_id = min(new.session_id, MAX_ID + 1)
    event = {"pathParameters": {"session_id": str(new.session_id)}}
    attempt = _claim(client, new.idempotency_key, event, CHAT, body, "session_id", deadline)
    _run(client, new, attempt, deadline, lambda request: routes.chat(session_id, request))


def run(client: Client, body: Body, deadline: Deadline) -> None:
    new: Run = parsed(Run, body)
    event = {"rawQueryString": f"class_id={new.class_id}"}
    attempt = _claim(client, new.idempotency_key, event, RUN, body, "class_id", deadline)
    _run(client, new, attempt, deadline, lambda request: routes.run(new.class_id, new, request))


def _claim(
    client: Client,
    key: str | None,
    event: dict[str, Any],
    route: str,
    body: Body,
    name: str,
    deadline: Deadline,
) -> IdempotentAttempt:
    """As the HTTP API claims the key for the same request."""
    own = {"action", "id", "idempotency_key", name}
    sent = {field: value for field, value in body.items() if field not in own}
    headers = {} if key is None else {"idempotency-key": key}
    event = {"headers": headers, "body": json.dumps(sent), **event}
    return idempotency.claim(client.caller, event, route, deadline.remaining())


def _run(
    client: Client,
    new: NewPrompt,
    attempt: IdempotentAttempt,
    deadline: Deadline,
    begin: Callable[[TurnRequest], TurnOutcome],
) -> None:
    if attempt.replay:
        session_id, turn_id = _turn_at(attempt.replay.location)
        _follow(client, session_id, turn_id)
        return
    is_new = attempt.resume_id is None
    follower = Follower(client.connection_id, client.id)
    request = TurnRequest(
        client.caller,
        new,
        attempt,
        deadline,
        is_queued=True,
        pager=Pager(client.caller.user_id),
        follower=follower if is_new else None,
        begun=lambda turn: _greet(client, turn) if is_new else None,
    )
    try:
        outcome = begin(request)
        reply = turn_reply(outcome)
        reply.body = json_text(reply.body)
        idempotency.keep_success(attempt, reply)
    except Exception as failure:
        attempt.release(failure)
        raise
    if not is_new:  # a dead attempt began it, and may have been followed by another connection
        _follow(client, outcome.turn.session_id, outcome.turn.turn_id)


def _turn_at(location: str | None) -> tuple[int, int]:
    assert location is not None, "a turn's answer has its location"
    *_, session_id, _, turn_id = location.split("/")
    return int(session_id), int(turn_id)


def _greet(client: Client, turn: StoredTurn | Turn) -> None:
    """Before a worker can send anything of the turn. A client that has left does not fail the turn."""
    with suppress(ConnectionClosed):
        client.send(started(client.id, turn.turn_id, turn.session_id, turn.asked))


def follow(client: Client, body: Body, deadline: Deadline) -> None:
    message: Follow = parsed(Follow, body)
    _follow(client, min(message.session_id, MAX_ID + 1), min(message.turn_id, MAX_ID + 1))


def _follow(client: Client, session_id: int, turn_id: int) -> None:
    """Four requests for a turn under way, three for one that has ended.

    Raises NotFound, TooManyFollowers.
    """
    turn = turn_views.whole(client.caller, session_id, turn_id)
    follower = Follower(client.connection_id, client.id)
    if turn.status in IN_PROGRESS:
        followers.admit(client.caller.user_id, turn_id, follower)
        _greet(client, turn)
        if followers.follow(client.caller.user_id, turn_id, follower):
            return
        turn = turn_views.whole(client.caller, session_id, turn_id)
        is_greeted = True
    else:
        is_greeted = False
    live = Live.of_turn(client.caller.user_id, turn, _title(client.caller, session_id))
    live.add(follower, greets=not is_greeted)
    live.finish(END_SECONDS)


def _title(caller: Caller, session_id: int) -> str | None:
    document = table.get(keys.session(caller.user_id, session_id))
    return OwnSession.model_validate_json(document.text).title if document else None


def cancel(client: Client, body: Body, deadline: Deadline) -> None:
    """The turn ends as cancelled from here on, even where its runner has not stopped yet."""
    message: Cancel = parsed(Cancel, body)
    session_id, turn_id = min(message.session_id, MAX_ID + 1), min(message.turn_id, MAX_ID + 1)
    cancelling.cancel(client.caller, session_id, turn_id)
    title = shown_title(_title(client.caller, session_id))
    client.send(TurnDone(id=client.id, turn_id=turn_id, status=TurnStatus.CANCELLED, session_title=title))
