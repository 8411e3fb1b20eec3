"""GET /user/practice/sessions/{session_id}/turns/{turn_id}"""

from practice.api import Reply, endpoint
from practice.auth import Caller
from practice.errors import SessionNotFound, TurnNotFound
from practice.models.fields import PathId
from practice.models.turn import Turn
from practice.models.turn_page import TurnQuery
from practice.store import shown_turns


@endpoint("GET /user/practice/sessions/{session_id}/turns/{turn_id}", refuses=(SessionNotFound, TurnNotFound))
def lambda_handler(caller: Caller, session_id: PathId, turn_id: PathId, query: TurnQuery) -> Reply[Turn]:
    """A turn: how far it is, its results so far, what made it.

    Of a turn too big for one answer the last results; the header `x-next-cursor` leads to those before.
    """
    found = shown_turns.get(caller, session_id, turn_id, query.cursor)
    return Reply(found.turn, headers={"x-next-cursor": found.next_cursor} if found.next_cursor else None)
