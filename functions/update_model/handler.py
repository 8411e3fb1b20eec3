"""PATCH /user/practice/models/{session_model_id}"""

from practice.api import endpoint
from practice.auth import Caller
from practice.errors import ModelNotFound, SessionFull
from practice.models.fields import PathId
from practice.models.session_model import SessionModel
from practice.models.session_model_requests import SessionModelChanges
from practice.preconditions import IfMatch, Versioned
from practice.store import session_models


@endpoint("PATCH /user/practice/models/{session_model_id}", refuses=(ModelNotFound, SessionFull))
def lambda_handler(
    caller: Caller, session_model_id: PathId, changes: SessionModelChanges, if_match: IfMatch
) -> Versioned[SessionModel]:
    """Makes a model the primary one, and merges its parameters."""
    return session_models.change(caller, session_model_id, changes, if_match)
