"""PATCH /user/practice/models/{session_model_id}"""

from practice.caller import Caller
from practice.errors import ModelNotFound, SessionFull
from practice.http.endpoint import endpoint
from practice.schemas.fields import PathId
from practice.schemas.session_model import SessionModel, SessionModelChanges
from practice.store import session_models
from practice.table import ExpectedVersions, Versioned


@endpoint("PATCH /user/practice/models/{session_model_id}", refuses=(ModelNotFound, SessionFull))
def lambda_handler(
    caller: Caller, session_model_id: PathId, changes: SessionModelChanges, expected: ExpectedVersions
) -> Versioned[SessionModel]:
    """Makes a model the primary one, and merges its parameters."""
    return session_models.change(caller, session_model_id, changes, expected)
