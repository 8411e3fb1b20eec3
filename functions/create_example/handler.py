"""POST /user/practice/few-shot-examples"""

from http import HTTPStatus

from practice.api import endpoint
from practice.auth import Caller
from practice.errors import ImportInProgress
from practice.models.example import Example
from practice.models.example_requests import NewExample
from practice.preconditions import Versioned
from practice.store import examples
from practice.store.idempotency import Once


@endpoint("POST /user/practice/few-shot-examples", HTTPStatus.CREATED, refuses=(ImportInProgress,))
def lambda_handler(caller: Caller, new: NewExample, once: Once) -> Versioned[Example]:
    """Adds an example to the caller's library."""
    return examples.create(caller, new, once)
