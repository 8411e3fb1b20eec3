"""GET /user/practice/sessions/{session_id}"""

from practice.caller import Caller
from practice.errors import SessionNotFound
from practice.http.endpoint import endpoint
from practice.http.paging import Pager
from practice.schemas.fields import PathId
from practice.schemas.session import ResponsesQuery, Session
from practice.store import views
from practice.table import Versioned


@endpoint("GET /user/practice/sessions/{session_id}", refuses=(SessionNotFound,))
def lambda_handler(
    caller: Caller, session_id: PathId, query: ResponsesQuery, pager: Pager
) -> Versioned[Session]:
    """A session with its settings and its newest responses."""
    return views.get_session(caller, session_id, pager, with_responses=query.responses is None)
