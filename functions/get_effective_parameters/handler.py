"""GET /user/practice/sessions/{session_id}/effective-parameters"""

from practice.caller import Caller
from practice.errors import SessionNotFound
from practice.http.endpoint import endpoint
from practice.schemas.fields import PathId
from practice.schemas.session_model import EffectiveParameters
from practice.turns import effective


@endpoint("GET /user/practice/sessions/{session_id}/effective-parameters", refuses=(SessionNotFound,))
def lambda_handler(caller: Caller, session_id: PathId) -> EffectiveParameters:
    """What a turn would send to each model now, and who chose each value."""
    return effective.effective_parameters(caller, session_id)
