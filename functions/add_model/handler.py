"""POST /user/practice/sessions/{session_id}/models"""

from http import HTTPStatus

from practice.api import endpoint
from practice.auth import Caller
from practice.errors import (
    ClassNotActive,
    ClassNotFound,
    ModelNotAllowed,
    SessionFull,
    SessionHasNoClass,
    SessionNotFound,
)
from practice.models.fields import PathId
from practice.models.session_model import SessionModel
from practice.models.session_model_requests import NewSessionModel
from practice.preconditions import Versioned
from practice.store import session_models
from practice.store.idempotency import Once


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
    caller: Caller, session_id: PathId, new: NewSessionModel, once: Once
) -> Versioned[SessionModel]:
    """Adds a model of the class, or merges the parameters into the one of that name."""
    return session_models.add(caller, session_id, new, once)
