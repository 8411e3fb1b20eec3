"""GET /user/practice/sessions/{session_id}/turns/{turn_id}"""

from practice.caller import Caller
from practice.errors import SessionNotFound, TurnNotFound
from practice.http.endpoint import endpoint
from practice.http.paging import Pager
from practice.http.replies import Reply
from practice.schemas.fields import PathId
from practice.schemas.turn_replies import TurnWithSiblings
from practice.schemas.turn_requests import TurnQuery
from practice.store import turn_views


@endpoint("GET /user/practice/sessions/{session_id}/turns/{turn_id}", refuses=(SessionNotFound, TurnNotFound))
def lambda_handler(
    caller: Caller, session_id: PathId, turn_id: PathId, query: TurnQuery, pager: Pager
) -> Reply[TurnWithSiblings]:
    """A turn: how far it is, its results so far, what made it.

    Of a turn too big for one answer the last results; the header `x-next-cursor` leads to those before.
    """
    found = turn_views.get(caller, session_id, turn_id, pager, query.cursor)
    return Reply(found.turn, headers={"x-next-cursor": found.next_cursor} if found.next_cursor else None)
