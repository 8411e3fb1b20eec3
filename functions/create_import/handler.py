"""POST /user/practice/import"""

from http import HTTPStatus

from practice.caller import Caller
from practice.errors import AccountNotEmpty, BodyNotBase64, BodyNotUtf8, ImportInProgress, TooManyTransfers
from practice.http.endpoint import endpoint
from practice.http.inputs import Event, body_bytes
from practice.http.replies import Reply
from practice.runtime.deadline import Deadline
from practice.schemas.transfer import Counts, Import
from practice.store.idempotency import IdempotentAttempt
from practice.transfers import import_jobs

REFUSES = (AccountNotEmpty, ImportInProgress, TooManyTransfers, BodyNotBase64, BodyNotUtf8)


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
    made = import_jobs.restore(caller, body_bytes(event), attempt, deadline)
    if isinstance(made, Counts):
        return Reply(made)
    location = f"/user/practice/import/{made.import_id}"
    return Reply(made, HTTPStatus.ACCEPTED, {"location": location})
