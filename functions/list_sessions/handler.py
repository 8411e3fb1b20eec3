"""GET /user/practice/sessions"""

from practice.caller import Caller
from practice.http.endpoint import endpoint
from practice.http.paging import Pager
from practice.schemas.session import SessionPage, SessionsQuery
from practice.store import sessions


@endpoint("GET /user/practice/sessions")
def lambda_handler(caller: Caller, query: SessionsQuery, pager: Pager) -> SessionPage:
    """The caller's sessions, newest first."""
    return sessions.page(caller, query, pager)
