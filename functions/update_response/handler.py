"""PATCH /user/practice/responses/{response_id}"""

from practice.api import endpoint
from practice.auth import Caller
from practice.errors import ResponseNotFound
from practice.models.fields import PathId
from practice.models.response import Response
from practice.models.response_requests import ResponseChanges
from practice.preconditions import IfMatch, Versioned
from practice.store import responses


@endpoint("PATCH /user/practice/responses/{response_id}", refuses=(ResponseNotFound,))
def lambda_handler(
    caller: Caller, response_id: PathId, changes: ResponseChanges, if_match: IfMatch
) -> Versioned[Response]:
    """Changes the fields that are sent."""
    return responses.change(caller, response_id, changes, if_match)
