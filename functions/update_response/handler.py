"""PATCH /user/practice/responses/{response_id}"""

from practice.caller import Caller
from practice.errors import ResponseNotFound
from practice.http.endpoint import endpoint
from practice.schemas.fields import PathId
from practice.schemas.response import Response, ResponseChanges
from practice.store import responses
from practice.table import ExpectedVersions, Versioned


@endpoint("PATCH /user/practice/responses/{response_id}", refuses=(ResponseNotFound,))
def lambda_handler(
    caller: Caller, response_id: PathId, changes: ResponseChanges, expected: ExpectedVersions
) -> Versioned[Response]:
    """Changes the fields that are sent."""
    return responses.change(caller, response_id, changes, expected)
