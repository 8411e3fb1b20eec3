"""POST /user/practice/import"""

from http import HTTPStatus

from practice.caller import Caller
from practice.errors import AccountNotEmpty, BodyNotBase64, BodyNotUtf8, ImportInProgress
from practice.http.endpoint import endpoint
from practice.http.inputs import Event
from practice.http.replies import Reply
from practice.runtime.deadline import Deadline
from practice.schemas.transfer import Counts, Import
from practice.store.idempotency import IdempotentAttempt
from practice.transfers import requests

REFUSES = (AccountNotEmpty, ImportInProgress, BodyNotBase64, BodyNotUtf8)


@endpoint(
    "POST /user/practice/import",
    HTTPStatus.CREATED,
    refuses=REFUSES,
    accepted=Import,
    takes="application/x-ndjson",
)
def lambda_handler(
    caller: Caller, event: Event, attempt: IdempotentAttempt, deadline: Deadline
) -> Reply[Counts | Import]:
    """Puts an export back into an empty account; without a body, 202 with a link to upload a larger file to."""
    return requests.restore(caller, event, attempt, deadline)
