"""DELETE /user/practice/sessions/{session_id}/turns/{turn_id}"""

from http import HTTPStatus

from practice.caller import Caller
from practice.errors import SessionNotFound, TurnFinished, TurnNotFound
from practice.http.endpoint import endpoint
from practice.schemas.fields import PathId
from practice.turns import cancelling


@endpoint(
    "DELETE /user/practice/sessions/{session_id}/turns/{turn_id}",
    HTTPStatus.NO_CONTENT,
    refuses=(SessionNotFound, TurnNotFound, TurnFinished),
)
def lambda_handler(caller: Caller, session_id: PathId, turn_id: PathId) -> None:
    """Cancels a turn; it stays readable, as cancelled.

    A queued turn asks no model. Of a running turn the models that have not answered stop within two seconds; the answers
    that are there stay.
    """
    cancelling.cancel(caller, session_id, turn_id)
