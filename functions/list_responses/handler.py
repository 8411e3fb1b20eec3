"""GET /user/practice/models/{session_model_id}/responses"""

from practice.caller import Caller
from practice.errors import ModelNotFound
from practice.http.endpoint import endpoint
from practice.http.paging import Pager
from practice.http.replies import Reply
from practice.schemas.fields import PathId
from practice.schemas.page import SliceQuery
from practice.schemas.response import Response
from practice.store import responses


@endpoint("GET /user/practice/models/{session_model_id}/responses", refuses=(ModelNotFound,))
def lambda_handler(
    caller: Caller, session_model_id: PathId, query: SliceQuery, pager: Pager
) -> Reply[list[Response]]:
    """The responses of a model, oldest first; the header `x-next-cursor` leads on when there are more."""
    page = responses.page_of_model(caller, session_model_id, query, pager)
    return Reply(page.items, headers={"x-next-cursor": page.next_cursor} if page.next_cursor else None)
