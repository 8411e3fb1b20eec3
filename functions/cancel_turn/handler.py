"""DELETE /user/practice/sessions/{session_id}/turns/{turn_id}"""

from http import HTTPStatus

from practice.api import endpoint
from practice.auth import Caller
from practice.errors import SessionNotFound, TurnAlreadyStarted, TurnNotFound
from practice.models.fields import PathId
from practice.store import shown_turns


@endpoint(
    "DELETE /user/practice/sessions/{session_id}/turns/{turn_id}",
    HTTPStatus.NO_CONTENT,
    refuses=(SessionNotFound, TurnNotFound, TurnAlreadyStarted),
)
def lambda_handler(caller: Caller, session_id: PathId, turn_id: PathId) -> None:
    """Cancels a turn that waits in the queue; it stays readable, as cancelled."""
    shown_turns.cancel(caller, session_id, turn_id)
