"""DELETE /user/practice/sessions/{session_id}/turns/{turn_id}/vote"""

from http import HTTPStatus

from practice.caller import Caller
from practice.errors import SessionNotFound, VoteNotFound
from practice.http.endpoint import endpoint
from practice.schemas.fields import PathId
from practice.store import votes
from practice.table import ExpectedVersions


@endpoint(
    "DELETE /user/practice/sessions/{session_id}/turns/{turn_id}/vote",
    HTTPStatus.NO_CONTENT,
    refuses=(SessionNotFound, VoteNotFound),
)
def lambda_handler(caller: Caller, session_id: PathId, turn_id: PathId, expected: ExpectedVersions) -> None:
    """Withdraws the vote of a turn: every count is as if it had never been."""
    votes.withdraw(caller, session_id, turn_id, expected)
