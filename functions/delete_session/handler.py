"""DELETE /user/practice/sessions/{session_id}"""

from http import HTTPStatus

from practice.api import endpoint
from practice.auth import Caller
from practice.errors import SessionNotFound
from practice.models.fields import PathId
from practice.preconditions import IfMatch
from practice.store import sessions


@endpoint("DELETE /user/practice/sessions/{session_id}", HTTPStatus.NO_CONTENT, refuses=(SessionNotFound,))
def lambda_handler(caller: Caller, session_id: PathId, if_match: IfMatch) -> None:
    """Deletes a session with its settings, models and responses; examples stay."""
    sessions.remove(caller, session_id, if_match)
