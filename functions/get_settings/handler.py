"""GET /user/practice/sessions/{session_id}/settings"""

from practice.api import endpoint
from practice.auth import Caller
from practice.errors import SessionNotFound
from practice.models.fields import PathId
from practice.models.settings import Settings
from practice.preconditions import Versioned
from practice.store import views


@endpoint("GET /user/practice/sessions/{session_id}/settings", refuses=(SessionNotFound,))
def lambda_handler(caller: Caller, session_id: PathId) -> Versioned[Settings]:
    """The settings of a session."""
    return views.get_settings(caller, session_id)
