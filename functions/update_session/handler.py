"""PATCH /user/practice/sessions/{session_id}"""

from practice.caller import Caller
from practice.errors import AgentNotFound, SessionFull, SessionNotFound
from practice.http.endpoint import endpoint
from practice.http.paging import Pager
from practice.schemas.fields import PathId
from practice.schemas.session import ResponsesQuery, Session, SessionChanges
from practice.store import sessions
from practice.table import ExpectedVersions, Versioned


@endpoint("PATCH /user/practice/sessions/{session_id}", refuses=(SessionNotFound, AgentNotFound, SessionFull))
def lambda_handler(
    caller: Caller,
    session_id: PathId,
    query: ResponsesQuery,
    changes: SessionChanges,
    expected: ExpectedVersions,
    pager: Pager,
) -> Versioned[Session]:
    """Changes the fields that are sent: absent is unchanged, null clears."""
    with_responses = query.responses is None
    return sessions.change(caller, session_id, changes, expected, pager, with_responses=with_responses)
