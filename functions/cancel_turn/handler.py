"""DELETE /user/practice/sessions/{session_id}/turns/{turn_id}"""

from http import HTTPStatus

from practice.caller import Caller
from practice.errors import SessionNotFound, TurnAlreadyStarted, TurnNotFound
from practice.http.endpoint import endpoint
from practice.http.paging import Pager
from practice.schemas.fields import PathId
from practice.store import turn_views


@endpoint(
    "DELETE /user/practice/sessions/{session_id}/turns/{turn_id}",
    HTTPStatus.NO_CONTENT,
    refuses=(SessionNotFound, TurnNotFound, TurnAlreadyStarted),
)
def lambda_handler(caller: Caller, session_id: PathId, turn_id: PathId, pager: Pager) -> None:
    """Cancels a turn that waits in the queue; it stays readable, as cancelled."""
    turn_views.cancel(caller, session_id, turn_id, pager)
