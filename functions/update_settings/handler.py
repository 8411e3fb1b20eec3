"""PATCH /user/practice/sessions/{session_id}/settings"""

from practice.caller import Caller
from practice.errors import InvalidExamples, SessionFull, SessionNotFound
from practice.http.endpoint import endpoint
from practice.schemas.fields import PathId
from practice.schemas.settings import Settings, SettingsChanges
from practice.store import settings
from practice.table import ExpectedVersions, Versioned


@endpoint(
    "PATCH /user/practice/sessions/{session_id}/settings",
    refuses=(SessionNotFound, InvalidExamples, SessionFull),
)
def lambda_handler(
    caller: Caller, session_id: PathId, changes: SettingsChanges, expected: ExpectedVersions
) -> Versioned[Settings]:
    """Merges parameters key by key; a selection of examples replaces the one before."""
    return settings.change(caller, session_id, changes, expected)
