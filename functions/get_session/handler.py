"""GET /user/practice/sessions/{session_id}"""

from practice.api import endpoint
from practice.auth import Caller
from practice.errors import SessionNotFound
from practice.models.fields import PathId
from practice.models.session import ResponsesQuery, Session
from practice.preconditions import Versioned
from practice.store import views


@endpoint("GET /user/practice/sessions/{session_id}", refuses=(SessionNotFound,))
def lambda_handler(caller: Caller, session_id: PathId, query: ResponsesQuery) -> Versioned[Session]:
    """A session with its settings and its newest responses."""
    return views.get_session(caller, session_id, with_responses=query.responses is None)
