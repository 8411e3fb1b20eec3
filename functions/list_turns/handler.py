"""GET /user/practice/sessions/{session_id}/turns"""

from practice.caller import Caller
from practice.errors import SessionNotFound, TurnNotFound
from practice.http.endpoint import endpoint
from practice.http.paging import Pager
from practice.schemas.fields import PathId
from practice.schemas.turn_replies import TurnPage
from practice.schemas.turn_requests import TurnListQuery
from practice.store import turn_views


@endpoint("GET /user/practice/sessions/{session_id}/turns", refuses=(SessionNotFound, TurnNotFound))
def lambda_handler(caller: Caller, session_id: PathId, query: TurnListQuery, pager: Pager) -> TurnPage:
    """The newest turns of a session in the order of time, each with its answers side by side.

    With `leaf`, those of that turn's branch alone: the turn and its ancestors. The cursor leads to older ones.
    """
    return turn_views.page(caller, session_id, query, pager)
