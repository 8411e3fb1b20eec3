"""DELETE /user/practice/responses/{response_id}"""

from http import HTTPStatus

from practice.api import endpoint
from practice.auth import Caller
from practice.errors import ResponseNotFound
from practice.models.fields import PathId
from practice.preconditions import IfMatch
from practice.store import responses


@endpoint("DELETE /user/practice/responses/{response_id}", HTTPStatus.NO_CONTENT, refuses=(ResponseNotFound,))
def lambda_handler(caller: Caller, response_id: PathId, if_match: IfMatch) -> None:
    """Deletes a response."""
    responses.remove(caller, response_id, if_match)
