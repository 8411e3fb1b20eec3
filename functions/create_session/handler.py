"""POST /user/practice/sessions"""

from http import HTTPStatus

from practice.api import endpoint
from practice.auth import Caller
from practice.errors import (
    AgentNotFound,
    ClassHasNoModels,
    ClassIdRequired,
    ClassNotActive,
    ClassNotFound,
    ImportInProgress,
)
from practice.models.session import Session
from practice.models.session_requests import NewSession
from practice.preconditions import Versioned
from practice.store import sessions
from practice.store.idempotency import Once


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
def lambda_handler(caller: Caller, new: NewSession, once: Once) -> Versioned[Session]:
    """Opens a session, with default settings and one model for each model of its class."""
    return sessions.create(caller, new, once)
