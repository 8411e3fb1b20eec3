"""GET /user/practice/sessions/{session_id}/turns"""

from practice.caller import Caller
from practice.errors import SessionNotFound
from practice.http.endpoint import endpoint
from practice.http.paging import Pager
from practice.schemas.fields import PathId
from practice.schemas.page import SliceQuery
from practice.schemas.turn import TurnPage
from practice.store import turn_views


@endpoint("GET /user/practice/sessions/{session_id}/turns", refuses=(SessionNotFound,))
def lambda_handler(caller: Caller, session_id: PathId, query: SliceQuery, pager: Pager) -> TurnPage:
    """The newest turns of a session in the order of time, each with its answers side by side.

    The cursor leads to older ones.
    """
    return turn_views.page(caller, session_id, query, pager)
