"""GET /user/practice/sessions/{session_id}/turns"""

from practice.api import endpoint
from practice.auth import Caller
from practice.errors import SessionNotFound
from practice.models.fields import PathId
from practice.models.page import SliceQuery
from practice.models.turn_page import TurnPage
from practice.store import shown_turns


@endpoint("GET /user/practice/sessions/{session_id}/turns", refuses=(SessionNotFound,))
def lambda_handler(caller: Caller, session_id: PathId, query: SliceQuery) -> TurnPage:
    """The newest turns of a session in the order of time, each with its answers side by side.

    The cursor leads to older ones.
    """
    return shown_turns.page(caller, session_id, query)
