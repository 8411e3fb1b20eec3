"""POST /user/practice/models/{session_model_id}/responses"""

from http import HTTPStatus

from practice.api import endpoint
from practice.auth import Caller
from practice.errors import ModelNotFound, SessionFull
from practice.models.fields import PathId
from practice.models.response import Response
from practice.models.response_requests import NewResponse
from practice.preconditions import Versioned
from practice.store import responses
from practice.store.idempotency import Once


@endpoint(
    "POST /user/practice/models/{session_model_id}/responses",
    HTTPStatus.CREATED,
    refuses=(ModelNotFound, SessionFull),
)
def lambda_handler(
    caller: Caller, session_model_id: PathId, new: NewResponse, once: Once
) -> Versioned[Response]:
    """Keeps a response that was made elsewhere."""
    return responses.add(caller, session_model_id, new, once)
