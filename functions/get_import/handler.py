"""GET /user/practice/import/{import_id}"""

from practice.caller import Caller
from practice.errors import ImportNotFound
from practice.http.endpoint import endpoint
from practice.schemas.fields import PathId
from practice.schemas.transfer import Import
from practice.transfers import jobs


@endpoint("GET /user/practice/import/{import_id}", refuses=(ImportNotFound,))
def lambda_handler(caller: Caller, import_id: PathId) -> Import:
    """How far an import is; while it waits for its file, where to upload it."""
    return jobs.get_import(caller, import_id)
