"""GET /user/practice/export"""

from http import HTTPStatus

from practice.caller import Caller
from practice.errors import TooManyTransfers
from practice.http.endpoint import endpoint
from practice.http.replies import Reply
from practice.schemas.transfer import Export
from practice.transfers import export_jobs, files


@endpoint(
    "GET /user/practice/export",
    refuses=(TooManyTransfers,),
    accepted=Export,
    gives="application/x-ndjson",
)
def lambda_handler(caller: Caller) -> Reply[str | Export]:
    """Everything of the caller's as NDJSON; 202 with the place of a job when that is too much for one answer."""
    made = export_jobs.export(caller)
    if isinstance(made, Export):
        return Reply(made, HTTPStatus.ACCEPTED, {"location": f"/user/practice/export/{made.export_id}"})
    return Reply(made, HTTPStatus.OK, {"content-type": files.CONTENT_TYPE})
