"""POST /user/practice/sessions/{session_id}/chat"""

from http import HTTPStatus

from practice.caller import Caller
from practice.http.endpoint import endpoint
from practice.http.inputs import Preferences
from practice.http.paging import Pager
from practice.http.replies import Reply
from practice.http.turn_replies import turn_reply
from practice.runtime.deadline import Deadline
from practice.schemas.fields import PathId
from practice.schemas.turn_replies import TurnAccepted, TurnAnswer
from practice.schemas.turn_requests import NewTurn
from practice.store.idempotency import IdempotentAttempt
from practice.turns import routes
from practice.turns.beginning import TurnRequest


@endpoint(
    "POST /user/practice/sessions/{session_id}/chat",
    HTTPStatus.CREATED,
    refuses=routes.CHAT_REFUSES,
    accepted=TurnAccepted,
)
def lambda_handler(
    caller: Caller,
    session_id: PathId,
    new: NewTurn,
    attempt: IdempotentAttempt,
    deadline: Deadline,
    preferences: Preferences,
    pager: Pager,
) -> Reply[TurnAnswer]:
    """Sends a prompt to the models of a session, all at the same time, and keeps every answer.

    With `Prefer: respond-async`, and when the answers are too big for one reply, the answer is 202 with the turn's
    `Location`. A model that fails is an entry in `errors`; when none answered, the answer is 502.
    """
    request = TurnRequest(caller, new, attempt, deadline, preferences.respond_async, pager)
    return turn_reply(routes.chat(session_id, request))
