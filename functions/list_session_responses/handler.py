"""GET /user/practice/sessions/{session_id}/responses"""

from practice.api import endpoint
from practice.auth import Caller
from practice.errors import SessionNotFound
from practice.models.fields import PathId
from practice.models.page import SliceQuery
from practice.models.response_page import ResponsePage
from practice.store import responses


@endpoint("GET /user/practice/sessions/{session_id}/responses", refuses=(SessionNotFound,))
def lambda_handler(caller: Caller, session_id: PathId, query: SliceQuery) -> ResponsePage:
    """The newest responses of a session in the order of time; the cursor leads to older ones."""
    return responses.page_of_session(caller, session_id, query)
