"""PUT /user/practice/responses/{response_id}/rating"""

from practice.caller import Caller
from practice.errors import ResponseNotFound
from practice.http.endpoint import endpoint
from practice.schemas.fields import PathId
from practice.schemas.rating import NewRating, Rating
from practice.store import ratings
from practice.table import ExpectedVersions, Versioned


@endpoint("PUT /user/practice/responses/{response_id}/rating", refuses=(ResponseNotFound,))
def lambda_handler(
    caller: Caller, response_id: PathId, new: NewRating, expected: ExpectedVersions
) -> Versioned[Rating]:
    """Rates a response; another rating of it is replaced."""
    return ratings.put(caller, response_id, new, expected)
