"""GET /user/practice/sessions/{session_id}/responses"""

from practice.caller import Caller
from practice.errors import SessionNotFound
from practice.http.endpoint import endpoint
from practice.http.paging import Pager
from practice.schemas.fields import PathId
from practice.schemas.page import SliceQuery
from practice.schemas.response import ResponsePage
from practice.store import responses


@endpoint("GET /user/practice/sessions/{session_id}/responses", refuses=(SessionNotFound,))
def lambda_handler(caller: Caller, session_id: PathId, query: SliceQuery, pager: Pager) -> ResponsePage:
    """The newest responses of a session in the order of time; the cursor leads to older ones."""
    return responses.page_of_session(caller, session_id, query, pager)
