"""The operations that ask models: the next turn of a session, and a session with its first turn."""

from typing import Final, NamedTuple

from practice.errors import (
    AgentNotFound,
    ClassHasNoModels,
    ClassNotActive,
    ClassNotFound,
    DailyBudgetSpent,
    ImportInProgress,
    InvalidExamples,
    NoModelAnswered,
    RequestedModelsNotConfigured,
    RequestedModelsNotFound,
    SessionFull,
    SessionHasNoClass,
    SessionNotFound,
    StoreUnavailable,
    TooManyModels,
    TurnNotFinished,
    TurnNotFound,
)
from practice.runtime import queues
from practice.runtime.config import config
from practice.schemas.spending import Reserved
from practice.schemas.turn import IN_PROGRESS, QueuedTurn, StoredTurn, TurnStatus
from practice.schemas.turn_replies import NoModelAnsweredBody, TurnAccepted, TurnAnswer
from practice.schemas.turn_requests import NewRun
from practice.store import turn_state, turns, usage
from practice.store.turn_state import TurnState
from practice.store.turns import Lease
from practice.store.views import View, read_view
from practice.table import keys
from practice.turns.beginning import TurnRequest, open_session, prepare_turn
from practice.turns.worker import answer_turn

LIVE_SECONDS: Final = 1.0
"""How long an HTTP request waits for followers after a turn."""
QUEUE_LEASE: Final = Lease(0, 24 * 3600)
"""A message waits a day at most."""


_CLASS_REFUSES: Final = (ClassNotFound, ClassNotActive, ClassHasNoModels)
CHAT_REFUSES: Final = (
    SessionNotFound,
    TurnNotFound,
    SessionHasNoClass,
    *_CLASS_REFUSES,
    RequestedModelsNotFound,
    TooManyModels,
    TurnNotFinished,
    SessionFull,
    NoModelAnswered,
    DailyBudgetSpent,
)
RUN_REFUSES: Final = (
    *_CLASS_REFUSES,
    RequestedModelsNotConfigured,
    TooManyModels,
    AgentNotFound,
    InvalidExamples,
    ImportInProgress,
    SessionFull,
    NoModelAnswered,
    DailyBudgetSpent,
)


class TurnOutcome(NamedTuple):
    """What the client learns of a turn: answers, that it is running, or that no model answered."""

    turn: StoredTurn
    body: TurnAnswer | TurnAccepted | NoModelAnsweredBody


def chat(session_id: int, request: TurnRequest) -> TurnOutcome:
    """Five requests and one for each model, without those of the models themselves."""
    if request.attempt.resume_id:
        return _resumed(request.attempt.resume_id, request)
    return _queue_or_run(session_id, request)


def run(class_id: int, new: NewRun, request: TurnRequest) -> TurnOutcome:
    """A session and its first turn. The session survives whatever becomes of the turn."""
    if request.attempt.resume_id:
        return _resumed(request.attempt.resume_id, request)
    reserved = open_session(class_id, new, request)
    return _queue_or_run(int(reserved.name), request, reserved)


def _resumed(turn_id: int, request: TurnRequest) -> TurnOutcome:
    """Continues where an attempt with the same key died: asks only the models that have no answer yet."""
    user_id, session_id = request.caller.user_id, keys.session_of(turn_id)
    state = turn_state.read(user_id, turn_id)
    if state is None:
        # Only the session had been opened, or it was deleted since with all that was in it.
        return _queue_or_run(session_id, request, usage.held(user_id, str(session_id)))
    view = read_view(user_id, session_id, with_responses=True)
    if state.status == TurnStatus.QUEUED or (state.status == TurnStatus.RUNNING and request.is_queued):
        return _queued(state.turn, view, request)
    if state.status == TurnStatus.RUNNING and turns.claim(user_id, turn_id, _lease(request)):
        state = _answered(user_id, state, view, request, was_running=True)
    return _to_outcome(view, state, request)


def _queue_or_run(session_id: int, request: TurnRequest, reserved: Reserved | None = None) -> TurnOutcome:
    """`reserved` is what was reserved when the session was opened."""
    status = TurnStatus.QUEUED if request.is_queued else TurnStatus.RUNNING
    lease = QUEUE_LEASE if request.is_queued else _lease(request)
    view, turn = prepare_turn(request, session_id, status=status, lease=lease, reserved=reserved)
    if request.is_queued:
        return _queued(turn, view, request)
    state = TurnState(turn, TurnStatus.RUNNING, [], {})
    state = _answered(request.caller.user_id, state, view, request)
    return _to_outcome(view, state, request)


def _answered(
    user_id: int, state: TurnState, view: View, request: TurnRequest, *, was_running: bool = False
) -> TurnState:
    return answer_turn(
        user_id, state, view, request.deadline, was_running=was_running, live_seconds=LIVE_SECONDS
    )


def _lease(request: TurnRequest) -> Lease:
    """Of a function that answers HTTP: no worker follows it, only a client that tries again."""
    remaining = request.deadline.remaining()
    return Lease(remaining, remaining)


def _to_outcome(view: View, state: TurnState, request: TurnRequest) -> TurnOutcome:
    turn = state.turn
    status, errors = state.shown()
    if status in IN_PROGRESS or (status == TurnStatus.CANCELLED and request.is_queued):
        return _accepted(view, turn, status)
    if not state.answers:
        body = NoModelAnsweredBody(detail=NoModelAnswered.detail, session_id=turn.session_id, errors=errors)
        return TurnOutcome(turn, body)
    answer = TurnAnswer(
        session_id=turn.session_id,
        session_title=view.session.title,
        prompt_text=turn.prompt_text,
        results=[],
        errors=errors,
    )
    budget, results = request.pager.budget(), state.results()
    if not all(budget.take(part.model_dump_json()) for part in (answer, *results)):
        return _accepted(view, turn, status)
    answer.results = results
    return TurnOutcome(turn, answer)


def _queued(turn: StoredTurn, view: View, request: TurnRequest) -> TurnOutcome:
    """Hands the turn to the worker; a second message for the same turn is harmless."""
    user_id = request.caller.user_id
    request.begun(turn)
    message = QueuedTurn(user_id=user_id, turn_id=turn.turn_id)
    if queues.send(config().turn_queue_url, [message.model_dump_json()]):
        if request.attempt.key is None:
            turns.cancel_queued(
                user_id, TurnState(turn, TurnStatus.QUEUED, [], {})
            )  # a retry with a key would send it again
        raise StoreUnavailable("the queue of turns does not take messages")
    return _accepted(view, turn, TurnStatus.QUEUED)


def _accepted(view: View, turn: StoredTurn, status: TurnStatus) -> TurnOutcome:
    body = TurnAccepted(
        session_id=turn.session_id, session_title=view.session.title, turn_id=turn.turn_id, status=status
    )
    return TurnOutcome(turn, body)
