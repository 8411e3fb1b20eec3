"""DELETE /user/practice/few-shot-examples/{example_id}"""

from http import HTTPStatus

from practice.caller import Caller
from practice.errors import ExampleNotFound
from practice.http.endpoint import endpoint
from practice.schemas.fields import PathId
from practice.store import examples
from practice.table import ExpectedVersions


@endpoint(
    "DELETE /user/practice/few-shot-examples/{example_id}",
    HTTPStatus.NO_CONTENT,
    refuses=(ExampleNotFound,),
)
def lambda_handler(caller: Caller, example_id: PathId, expected: ExpectedVersions) -> None:
    """Deletes an example; it disappears from every selection."""
    examples.remove(caller, example_id, expected)
