"""How the outcome of a turn becomes a response."""

from http import HTTPStatus
from typing import Any

from practice.errors import NoModelAnswered
from practice.http.replies import Reply, status_of
from practice.schemas.turn_replies import NoModelAnsweredBody, TurnAnswer
from practice.turns.routes import TurnOutcome


def turn_reply(outcome: TurnOutcome) -> Reply[Any]:
    """201 with the answers, 202 while the turn runs or when it is too big for one response, 502 when no model answered."""
    turn, body = outcome
    if isinstance(body, NoModelAnsweredBody):
        return Reply(body, status_of(NoModelAnswered))
    status = HTTPStatus.CREATED if isinstance(body, TurnAnswer) else HTTPStatus.ACCEPTED
    location = f"/user/practice/sessions/{turn.session_id}/turns/{turn.turn_id}"
    return Reply(body, status, {"location": location})
