"""POST /user/practice/sessions/run"""

from http import HTTPStatus

from practice.caller import Caller
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
from practice.http.endpoint import endpoint
from practice.http.preferences import Preferences
from practice.http.replies import Reply
from practice.runtime.deadline import Deadline
from practice.schemas.turn import NewRun, RunQuery, TurnAccepted, TurnAnswer
from practice.store.idempotency import IdempotentAttempt
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
    caller: Caller,
    query: RunQuery,
    new: NewRun,
    attempt: IdempotentAttempt,
    deadline: Deadline,
    preferences: Preferences,
) -> Reply[TurnAnswer]:
    """Opens a session of a class and runs its first turn.

    The session keeps the agent, the knowledge, the style, the parameters and the examples that are sent, and survives
    when no model answers.
    """
    return conversation.run(
        caller, query.class_id, new, attempt=attempt, deadline=deadline, preferences=preferences
    )
