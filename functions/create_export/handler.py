"""GET /user/practice/export"""

from practice.caller import Caller
from practice.errors import ImportInProgress
from practice.http.endpoint import endpoint
from practice.http.replies import Reply
from practice.schemas.transfer import Export
from practice.transfers import requests


@endpoint(
    "GET /user/practice/export",
    refuses=(ImportInProgress,),
    accepted=Export,
    gives="application/x-ndjson",
)
def lambda_handler(caller: Caller) -> Reply[str | Export]:
    """Everything of the caller's as NDJSON; 202 with the place of a job when that is too much for one answer."""
    return requests.export(caller)
