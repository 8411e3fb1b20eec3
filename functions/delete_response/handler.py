"""DELETE /user/practice/responses/{response_id}"""

from http import HTTPStatus

from practice.caller import Caller
from practice.errors import ResponseNotFound
from practice.http.endpoint import endpoint
from practice.schemas.fields import PathId
from practice.store import response_removal
from practice.table import ExpectedVersions


@endpoint("DELETE /user/practice/responses/{response_id}", HTTPStatus.NO_CONTENT, refuses=(ResponseNotFound,))
def lambda_handler(caller: Caller, response_id: PathId, expected: ExpectedVersions) -> None:
    """Deletes a response."""
    response_removal.remove(caller, response_id, expected)
