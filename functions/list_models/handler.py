"""GET /user/practice/sessions/{session_id}/models"""

from practice.caller import Caller
from practice.errors import SessionNotFound
from practice.http.endpoint import endpoint
from practice.schemas.fields import PathId
from practice.schemas.session_model import SessionModel
from practice.store import session_models


@endpoint("GET /user/practice/sessions/{session_id}/models", refuses=(SessionNotFound,))
def lambda_handler(caller: Caller, session_id: PathId) -> list[SessionModel]:
    """The models of a session, the primary first."""
    return session_models.all_of(caller, session_id)
