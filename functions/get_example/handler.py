"""GET /user/practice/few-shot-examples/{example_id}"""

from practice.api import endpoint
from practice.auth import Caller
from practice.errors import ExampleNotFound
from practice.models.example import Example
from practice.models.fields import PathId
from practice.preconditions import Versioned
from practice.store import examples


@endpoint("GET /user/practice/few-shot-examples/{example_id}", refuses=(ExampleNotFound,))
def lambda_handler(caller: Caller, example_id: PathId) -> Versioned[Example]:
    """An example."""
    return examples.get(caller, example_id)
