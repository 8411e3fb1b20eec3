"""DELETE /user/practice/models/{session_model_id}"""

from http import HTTPStatus

from practice.caller import Caller
from practice.errors import ModelNotFound
from practice.http.endpoint import endpoint
from practice.schemas.fields import PathId
from practice.store import session_models
from practice.table import ExpectedVersions


@endpoint("DELETE /user/practice/models/{session_model_id}", HTTPStatus.NO_CONTENT, refuses=(ModelNotFound,))
def lambda_handler(caller: Caller, session_model_id: PathId, expected: ExpectedVersions) -> None:
    """Deletes a model with its responses."""
    session_models.remove(caller, session_model_id, expected)
