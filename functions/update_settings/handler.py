"""PATCH /user/practice/sessions/{session_id}/settings"""

from practice.api import endpoint
from practice.auth import Caller
from practice.errors import InvalidExamples, SessionFull, SessionNotFound
from practice.models.fields import PathId
from practice.models.settings import Settings
from practice.models.settings_requests import SettingsChanges
from practice.preconditions import IfMatch, Versioned
from practice.store import settings


@endpoint(
    "PATCH /user/practice/sessions/{session_id}/settings",
    refuses=(SessionNotFound, InvalidExamples, SessionFull),
)
def lambda_handler(
    caller: Caller, session_id: PathId, changes: SettingsChanges, if_match: IfMatch
) -> Versioned[Settings]:
    """Merges parameters key by key; a selection of examples replaces the one before."""
    return settings.change(caller, session_id, changes, if_match)
