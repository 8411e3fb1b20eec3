"""GET /user/practice/sessions"""

from practice.api import endpoint
from practice.auth import Caller
from practice.models.session_page import SessionPage, SessionsQuery
from practice.store import session_pages


@endpoint("GET /user/practice/sessions")
def lambda_handler(caller: Caller, query: SessionsQuery) -> SessionPage:
    """The caller's sessions, newest first."""
    return session_pages.page(caller, query)
