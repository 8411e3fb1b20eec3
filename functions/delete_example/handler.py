"""DELETE /user/practice/few-shot-examples/{example_id}"""

from http import HTTPStatus

from practice.api import endpoint
from practice.auth import Caller
from practice.errors import ExampleNotFound
from practice.models.fields import PathId
from practice.preconditions import IfMatch
from practice.store import examples


@endpoint(
    "DELETE /user/practice/few-shot-examples/{example_id}",
    HTTPStatus.NO_CONTENT,
    refuses=(ExampleNotFound,),
)
def lambda_handler(caller: Caller, example_id: PathId, if_match: IfMatch) -> None:
    """Deletes an example; it disappears from every selection."""
    examples.remove(caller, example_id, if_match)
