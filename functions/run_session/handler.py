"""POST /user/practice/sessions/run"""

from http import HTTPStatus

from practice.caller import Caller
from practice.http.endpoint import endpoint
from practice.http.inputs import Preferences
from practice.http.paging import Pager
from practice.http.replies import Reply
from practice.http.turn_replies import turn_reply
from practice.runtime.deadline import Deadline
from practice.schemas.turn_replies import TurnAccepted, TurnAnswer
from practice.schemas.turn_requests import NewRun, RunQuery
from practice.store.idempotency import IdempotentAttempt
from practice.turns import routes
from practice.turns.beginning import TurnRequest


@endpoint(
    "POST /user/practice/sessions/run",
    HTTPStatus.CREATED,
    refuses=routes.RUN_REFUSES,
    accepted=TurnAccepted,
)
def lambda_handler(
    caller: Caller,
    query: RunQuery,
    new: NewRun,
    attempt: IdempotentAttempt,
    deadline: Deadline,
    preferences: Preferences,
    pager: Pager,
) -> Reply[TurnAnswer]:
    """Opens a session of a class and runs its first turn.

    The session keeps the agent, the knowledge, the style, the parameters and the examples that are sent, and survives
    when no model answers.
    """
    request = TurnRequest(caller, new, attempt, deadline, preferences.respond_async, pager)
    return turn_reply(routes.run(query.class_id, new, request))
