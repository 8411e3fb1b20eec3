"""PUT /user/practice/sessions/{session_id}/turns/{turn_id}/vote"""

from practice.caller import Caller
from practice.errors import (
    SessionNotFound,
    TooFewAnswers,
    TooManyAnswers,
    TooManyComparedModels,
    TurnNotFinished,
    TurnNotFound,
)
from practice.http.endpoint import endpoint
from practice.schemas.ballot import NewVote
from practice.schemas.fields import PathId
from practice.schemas.vote import Vote
from practice.store import votes
from practice.table import ExpectedVersions, Versioned


@endpoint(
    "PUT /user/practice/sessions/{session_id}/turns/{turn_id}/vote",
    refuses=(
        SessionNotFound,
        TurnNotFound,
        TurnNotFinished,
        TooFewAnswers,
        TooManyAnswers,
        TooManyComparedModels,
    ),
)
def lambda_handler(
    caller: Caller, session_id: PathId, turn_id: PathId, new: NewVote, expected: ExpectedVersions
) -> Versioned[Vote]:
    """Votes for the best answer of a turn, or for a tie, and reveals the models.

    A turn has one vote; another one replaces it, and is not blind.
    """
    return votes.cast(caller, session_id, turn_id, new, expected)
