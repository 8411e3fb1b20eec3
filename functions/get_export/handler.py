"""GET /user/practice/export/{export_id}"""

from practice.caller import Caller
from practice.errors import ExportNotFound
from practice.http.endpoint import endpoint
from practice.schemas.fields import PathId
from practice.schemas.transfer import Export
from practice.transfers import jobs


@endpoint("GET /user/practice/export/{export_id}", refuses=(ExportNotFound,))
def lambda_handler(caller: Caller, export_id: PathId) -> Export:
    """How far an export is, and where its file is once it is done."""
    return jobs.get_export(caller, export_id)
