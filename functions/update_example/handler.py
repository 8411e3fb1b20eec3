"""PATCH /user/practice/few-shot-examples/{example_id}"""

from practice.caller import Caller
from practice.errors import ExampleNotFound
from practice.http.endpoint import endpoint
from practice.schemas.example import Example, ExampleChanges
from practice.schemas.fields import PathId
from practice.store import examples
from practice.table import ExpectedVersions, Versioned


@endpoint("PATCH /user/practice/few-shot-examples/{example_id}", refuses=(ExampleNotFound,))
def lambda_handler(
    caller: Caller, example_id: PathId, changes: ExampleChanges, expected: ExpectedVersions
) -> Versioned[Example]:
    """Changes the fields that are sent; `meta` is replaced."""
    return examples.change(caller, example_id, changes, expected)
