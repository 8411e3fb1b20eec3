"""GET /user/practice/responses/{response_id}/rating"""

from practice.caller import Caller
from practice.errors import RatingNotFound, ResponseNotFound
from practice.http.endpoint import endpoint
from practice.schemas.fields import PathId
from practice.schemas.rating import Rating
from practice.store import ratings
from practice.table import Versioned


@endpoint("GET /user/practice/responses/{response_id}/rating", refuses=(ResponseNotFound, RatingNotFound))
def lambda_handler(caller: Caller, response_id: PathId) -> Versioned[Rating]:
    """The rating of a response."""
    return ratings.get(caller, response_id)
