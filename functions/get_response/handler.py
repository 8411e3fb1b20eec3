"""GET /user/practice/responses/{response_id}"""

from practice.caller import Caller
from practice.errors import ResponseNotFound
from practice.http.endpoint import endpoint
from practice.schemas.fields import PathId
from practice.schemas.response import Response
from practice.store import responses
from practice.table import Versioned


@endpoint("GET /user/practice/responses/{response_id}", refuses=(ResponseNotFound,))
def lambda_handler(caller: Caller, response_id: PathId) -> Versioned[Response]:
    """A response."""
    return responses.get(caller, response_id)
