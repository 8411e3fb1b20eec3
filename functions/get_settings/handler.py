"""GET /user/practice/sessions/{session_id}/settings"""

from practice.caller import Caller
from practice.errors import SessionNotFound
from practice.http.endpoint import endpoint
from practice.schemas.fields import PathId
from practice.schemas.settings import Settings
from practice.store import views
from practice.table import Versioned


@endpoint("GET /user/practice/sessions/{session_id}/settings", refuses=(SessionNotFound,))
def lambda_handler(caller: Caller, session_id: PathId) -> Versioned[Settings]:
    """The settings of a session."""
    return views.get_settings(caller, session_id)
