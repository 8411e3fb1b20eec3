"""GET /user/practice/responses/{response_id}"""

from practice.api import endpoint
from practice.auth import Caller
from practice.errors import ResponseNotFound
from practice.models.fields import PathId
from practice.models.response import Response
from practice.preconditions import Versioned
from practice.store import responses


@endpoint("GET /user/practice/responses/{response_id}", refuses=(ResponseNotFound,))
def lambda_handler(caller: Caller, response_id: PathId) -> Versioned[Response]:
    """A response."""
    return responses.get(caller, response_id)
