"""DELETE /user/practice/responses/{response_id}/rating"""

from http import HTTPStatus

from practice.caller import Caller
from practice.errors import RatingNotFound, ResponseNotFound
from practice.http.endpoint import endpoint
from practice.schemas.fields import PathId
from practice.store import ratings
from practice.table import ExpectedVersions


@endpoint(
    "DELETE /user/practice/responses/{response_id}/rating",
    HTTPStatus.NO_CONTENT,
    refuses=(ResponseNotFound, RatingNotFound),
)
def lambda_handler(caller: Caller, response_id: PathId, expected: ExpectedVersions) -> None:
    """Deletes the rating of a response."""
    ratings.remove(caller, response_id, expected)
