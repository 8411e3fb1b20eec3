"""POST /user/practice/sessions/run"""

from http import HTTPStatus

from practice.api import Reply, endpoint
from practice.auth import Caller
from practice.deadline import Deadline
from practice.errors import (
    AgentNotFound,
    ClassHasNoModels,
    ClassNotActive,
    ClassNotFound,
    ImportInProgress,
    InvalidExamples,
    NoModelAnswered,
    RequestedModelsNotConfigured,
)
from practice.models.turn import TurnAccepted, TurnAnswer
from practice.models.turn_requests import NewRun, RunQuery
from practice.preferences import Preferences
from practice.store.idempotency import Once
from practice.turns import conversation


@endpoint(
    "POST /user/practice/sessions/run",
    HTTPStatus.CREATED,
    refuses=(
        ClassNotFound,
        ClassNotActive,
        ClassHasNoModels,
        RequestedModelsNotConfigured,
        AgentNotFound,
        InvalidExamples,
        ImportInProgress,
        NoModelAnswered,
    ),
    accepted=TurnAccepted,
)
def lambda_handler(
    caller: Caller, query: RunQuery, new: NewRun, once: Once, deadline: Deadline, preferences: Preferences
) -> Reply[TurnAnswer]:
    """Opens a session of a class and runs its first turn.

    The session keeps the agent, the knowledge, the style, the parameters and the examples that are sent, and survives
    when no model answers.
    """
    return conversation.run(
        caller, query.class_id, new, once=once, deadline=deadline, preferences=preferences
    )
