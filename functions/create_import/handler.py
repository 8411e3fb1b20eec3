"""POST /user/practice/import"""

from http import HTTPStatus

from practice.api import Reply, endpoint
from practice.auth import Caller
from practice.deadline import Deadline
from practice.errors import AccountNotEmpty, BodyNotBase64, BodyNotUtf8, ImportInProgress
from practice.inputs import Event
from practice.models.transfer import Counts, Import
from practice.store.idempotency import Once
from practice.transfers import requests

REFUSES = (AccountNotEmpty, ImportInProgress, BodyNotBase64, BodyNotUtf8)


@endpoint(
    "POST /user/practice/import",
    HTTPStatus.CREATED,
    refuses=REFUSES,
    accepted=Import,
    takes="application/x-ndjson",
)
def lambda_handler(caller: Caller, event: Event, once: Once, deadline: Deadline) -> Reply[Counts | Import]:
    """Puts an export back into an empty account; without a body, 202 with a link to upload a larger file to."""
    return requests.put_back(caller, event, once, deadline)
