"""POST /user/practice/sessions/{session_id}/models"""

from http import HTTPStatus

from practice.caller import Caller
from practice.errors import (
    ClassNotActive,
    ClassNotFound,
    ModelNotAllowed,
    SessionFull,
    SessionHasNoClass,
    SessionNotFound,
)
from practice.http.endpoint import endpoint
from practice.schemas.fields import PathId
from practice.schemas.session_model import NewSessionModel, SessionModel
from practice.store import session_models
from practice.store.idempotency import IdempotentAttempt
from practice.table import Versioned


@endpoint(
    "POST /user/practice/sessions/{session_id}/models",
    HTTPStatus.CREATED,
    refuses=(
        SessionNotFound,
        ModelNotAllowed,
        SessionHasNoClass,
        ClassNotFound,
        ClassNotActive,
        SessionFull,
    ),
)
def lambda_handler(
    caller: Caller, session_id: PathId, new: NewSessionModel, attempt: IdempotentAttempt
) -> Versioned[SessionModel]:
    """Adds a model of the class, or merges the parameters into the one of that name."""
    return session_models.add(caller, session_id, new, attempt)
