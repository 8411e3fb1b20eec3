"""POST /user/practice/sessions"""

from http import HTTPStatus

from practice.caller import Caller
from practice.errors import (
    AgentNotFound,
    ClassHasNoModels,
    ClassIdRequired,
    ClassNotActive,
    ClassNotFound,
    ImportInProgress,
)
from practice.http.endpoint import endpoint
from practice.schemas.session import NewSession, Session
from practice.store import sessions
from practice.store.idempotency import IdempotentAttempt
from practice.table import Versioned


@endpoint(
    "POST /user/practice/sessions",
    HTTPStatus.CREATED,
    refuses=(
        ClassIdRequired,
        ClassNotFound,
        ClassNotActive,
        ClassHasNoModels,
        AgentNotFound,
        ImportInProgress,
    ),
)
def lambda_handler(caller: Caller, new: NewSession, attempt: IdempotentAttempt) -> Versioned[Session]:
    """Opens a session, with default settings and one model for each model of its class."""
    return sessions.create(caller, new, attempt)
