"""DELETE /user/practice/models/{session_model_id}"""

from http import HTTPStatus

from practice.api import endpoint
from practice.auth import Caller
from practice.errors import ModelNotFound
from practice.models.fields import PathId
from practice.preconditions import IfMatch
from practice.store import session_models


@endpoint("DELETE /user/practice/models/{session_model_id}", HTTPStatus.NO_CONTENT, refuses=(ModelNotFound,))
def lambda_handler(caller: Caller, session_model_id: PathId, if_match: IfMatch) -> None:
    """Deletes a model with its responses."""
    session_models.remove(caller, session_model_id, if_match)
