"""POST /user/practice/sessions/{session_id}/chat"""

from http import HTTPStatus

from practice.api import Reply, endpoint
from practice.auth import Caller
from practice.deadline import Deadline
from practice.errors import (
    ClassHasNoModels,
    ClassNotActive,
    ClassNotFound,
    NoModelAnswered,
    RequestedModelsNotFound,
    SessionFull,
    SessionHasNoClass,
    SessionNotFound,
)
from practice.models.fields import PathId
from practice.models.turn import TurnAccepted, TurnAnswer
from practice.models.turn_requests import NewTurn
from practice.preferences import Preferences
from practice.store.idempotency import Once
from practice.turns import conversation


@endpoint(
    "POST /user/practice/sessions/{session_id}/chat",
    HTTPStatus.CREATED,
    refuses=(
        SessionNotFound,
        SessionHasNoClass,
        ClassNotFound,
        ClassNotActive,
        ClassHasNoModels,
        RequestedModelsNotFound,
        SessionFull,
        NoModelAnswered,
    ),
    accepted=TurnAccepted,
)
def lambda_handler(
    caller: Caller, session_id: PathId, new: NewTurn, once: Once, deadline: Deadline, preferences: Preferences
) -> Reply[TurnAnswer]:
    """Sends a prompt to the models of a session, all at the same time, and keeps every answer.

    With `Prefer: respond-async`, and when the answers are too big for one reply, the answer is 202 with the turn's
    `Location`. A model that fails is an entry in `errors`; when none answered, the answer is 502.
    """
    return conversation.chat(caller, session_id, new, once=once, deadline=deadline, preferences=preferences)
