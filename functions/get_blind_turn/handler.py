"""GET /user/practice/sessions/{session_id}/turns/{turn_id}/blind"""

from practice.caller import Caller
from practice.errors import SessionNotFound, TooFewAnswers, TooManyAnswers, TurnNotFinished, TurnNotFound
from practice.http.endpoint import endpoint
from practice.http.paging import Pager
from practice.schemas.ballot import BlindQuery, BlindTurn
from practice.schemas.fields import PathId
from practice.store import votes


@endpoint(
    "GET /user/practice/sessions/{session_id}/turns/{turn_id}/blind",
    refuses=(SessionNotFound, TurnNotFound, TurnNotFinished, TooFewAnswers, TooManyAnswers),
)
def lambda_handler(
    caller: Caller, session_id: PathId, turn_id: PathId, query: BlindQuery, pager: Pager
) -> BlindTurn:
    """The answers of a turn without their models, under labels that never change."""
    return votes.blind_view(caller, session_id, turn_id, pager, query.cursor)
