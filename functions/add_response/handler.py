"""POST /user/practice/models/{session_model_id}/responses"""

from http import HTTPStatus

from practice.caller import Caller
from practice.errors import ModelNotFound, SessionFull
from practice.http.endpoint import endpoint
from practice.schemas.fields import PathId
from practice.schemas.response import NewResponse, Response
from practice.store import responses
from practice.store.idempotency import IdempotentAttempt
from practice.table import Versioned


@endpoint(
    "POST /user/practice/models/{session_model_id}/responses",
    HTTPStatus.CREATED,
    refuses=(ModelNotFound, SessionFull),
)
def lambda_handler(
    caller: Caller, session_model_id: PathId, new: NewResponse, attempt: IdempotentAttempt
) -> Versioned[Response]:
    """Keeps a response that was made elsewhere."""
    return responses.add(caller, session_model_id, new, attempt)
