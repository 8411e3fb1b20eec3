"""GET /user/practice/sessions/{session_id}/turns/{turn_id}/vote"""

from practice.caller import Caller
from practice.errors import SessionNotFound, VoteNotFound
from practice.http.endpoint import endpoint
from practice.schemas.fields import PathId
from practice.schemas.vote import Vote
from practice.store import votes
from practice.table import Versioned


@endpoint(
    "GET /user/practice/sessions/{session_id}/turns/{turn_id}/vote", refuses=(SessionNotFound, VoteNotFound)
)
def lambda_handler(caller: Caller, session_id: PathId, turn_id: PathId) -> Versioned[Vote]:
    """The vote of a turn, with the models of its answers."""
    return votes.get(caller, session_id, turn_id)
