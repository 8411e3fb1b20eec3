"""GET /user/practice/few-shot-examples/{example_id}"""

from practice.caller import Caller
from practice.errors import ExampleNotFound
from practice.http.endpoint import endpoint
from practice.schemas.example import Example
from practice.schemas.fields import PathId
from practice.store import examples
from practice.table import Versioned


@endpoint("GET /user/practice/few-shot-examples/{example_id}", refuses=(ExampleNotFound,))
def lambda_handler(caller: Caller, example_id: PathId) -> Versioned[Example]:
    """An example."""
    return examples.get(caller, example_id)
