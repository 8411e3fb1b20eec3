"""POST /user/practice/few-shot-examples"""

from http import HTTPStatus

from practice.caller import Caller
from practice.errors import ImportInProgress
from practice.http.endpoint import endpoint
from practice.schemas.example import Example, NewExample
from practice.store import examples
from practice.store.idempotency import IdempotentAttempt
from practice.table import Versioned


@endpoint("POST /user/practice/few-shot-examples", HTTPStatus.CREATED, refuses=(ImportInProgress,))
def lambda_handler(caller: Caller, new: NewExample, attempt: IdempotentAttempt) -> Versioned[Example]:
    """Adds an example to the caller's library."""
    return examples.create(caller, new, attempt)
