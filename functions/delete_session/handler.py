"""DELETE /user/practice/sessions/{session_id}"""

from http import HTTPStatus

from practice.caller import Caller
from practice.errors import SessionNotFound
from practice.http.endpoint import endpoint
from practice.schemas.fields import PathId
from practice.store import sessions
from practice.table import ExpectedVersions


@endpoint("DELETE /user/practice/sessions/{session_id}", HTTPStatus.NO_CONTENT, refuses=(SessionNotFound,))
def lambda_handler(caller: Caller, session_id: PathId, expected: ExpectedVersions) -> None:
    """Deletes a session with its settings, models and responses; examples stay."""
    sessions.remove(caller, session_id, expected)
