"""PATCH /user/practice/sessions/{session_id}"""

from practice.caller import Caller
from practice.errors import AgentNotFound, SessionFull, SessionNotFound
from practice.http.conditional import IfMatch, Versioned
from practice.http.endpoint import endpoint
from practice.schemas.fields import PathId
from practice.schemas.session import ResponsesQuery, Session, SessionChanges
from practice.store import sessions


@endpoint("PATCH /user/practice/sessions/{session_id}", refuses=(SessionNotFound, AgentNotFound, SessionFull))
def lambda_handler(
    caller: Caller, session_id: PathId, query: ResponsesQuery, changes: SessionChanges, if_match: IfMatch
) -> Versioned[Session]:
    """Changes the fields that are sent: absent is unchanged, null clears."""
    with_responses = query.responses is None
    return sessions.change(caller, session_id, changes, if_match, with_responses=with_responses)
