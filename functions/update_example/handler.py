"""PATCH /user/practice/few-shot-examples/{example_id}"""

from practice.api import endpoint
from practice.auth import Caller
from practice.errors import ExampleNotFound
from practice.models.example import Example
from practice.models.example_requests import ExampleChanges
from practice.models.fields import PathId
from practice.preconditions import IfMatch, Versioned
from practice.store import examples


@endpoint("PATCH /user/practice/few-shot-examples/{example_id}", refuses=(ExampleNotFound,))
def lambda_handler(
    caller: Caller, example_id: PathId, changes: ExampleChanges, if_match: IfMatch
) -> Versioned[Example]:
    """Changes the fields that are sent; `meta` is replaced."""
    return examples.change(caller, example_id, changes, if_match)
