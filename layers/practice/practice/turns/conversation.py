"""The operations that ask models: the next turn of a session, a session with its first turn, a queued turn."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final

from practice import table
from practice.caller import Caller
from practice.errors import (
    ClassHasNoModels,
    ModelNotFound,
    PracticeError,
    RequestedModelsNotConfigured,
    RequestedModelsNotFound,
    RequestInFlight,
    SessionHasNoClass,
    SessionNotFound,
    StoreUnavailable,
)
from practice.errors import NoModelAnswered as Unanswered
from practice.http.preferences import Preferences
from practice.http.replies import Reply
from practice.http.response_size import ResponseBudget
from practice.runtime import queues
from practice.runtime.deadline import Deadline
from practice.runtime.log import logger
from practice.schemas.generation import non_null
from practice.schemas.session_model import StoredModel, StoredModels
from practice.schemas.turn import (
    AskedModel,
    NewRun,
    NewTurn,
    NoModelAnswered,
    QueuedTurn,
    StoredTurn,
    TurnAccepted,
    TurnAnswer,
    TurnSettings,
    TurnStatus,
)
from practice.store import accounts, catalogue, sessions, turns
from practice.store.classes import revise_models, sync_with_class, unchanged_checks
from practice.store.idempotency import IdempotentAttempt
from practice.store.settings import exists_checks, initial_settings
from practice.store.turns import Lease, TurnState
from practice.store.views import View, linked_examples, read_view
from practice.table import keys
from practice.turns.configuration import configuration, model_named
from practice.turns.parameters import chosen
from practice.turns.run import Background, run_turn

MARGIN_SECONDS: Final = 3.0
"""Kept back from a function's time, to settle the turn and to answer."""
QUEUED: Final = Lease(0, 24 * 3600)
"""A message waits a day at most."""
WORKING: Final = Lease(60, 3 * 960)
"""A worker says every third of a minute that it is there; its message comes back twice, after 16 minutes each."""
BEAT_SECONDS: Final = 20.0
PAUSE_SECONDS: Final = 1.0

Answered = Reply[Any]
"""201 with a TurnAnswer, 202 with a TurnAccepted, 502 with a NoModelAnswered."""


def chat(
    caller: Caller,
    session_id: int,
    new: NewTurn,
    *,
    attempt: IdempotentAttempt,
    deadline: Deadline,
    preferences: Preferences,
) -> Answered:
    """Five requests and one for each model, without what the models themselves take."""
    if attempt.resume_id:
        return _resumed(caller, attempt, new, deadline, preferences)
    return _next_turn(caller, session_id, new, attempt, deadline, preferences)


def run(
    caller: Caller,
    class_id: int,
    new: NewRun,
    *,
    attempt: IdempotentAttempt,
    deadline: Deadline,
    preferences: Preferences,
) -> Answered:
    """A session and its first turn. The session survives whatever becomes of the turn."""
    if attempt.resume_id:
        return _resumed(caller, attempt, new, deadline, preferences)
    session_id = _open(caller, class_id, new, attempt)
    return _next_turn(caller, session_id, new, attempt, deadline, preferences)


def _open(caller: Caller, class_id: int, new: NewRun, attempt: IdempotentAttempt) -> int:
    """Three requests at most: class and agent, examples, one transaction."""
    changes = new.settings()
    sent = non_null(changes.generation_params.sent()) if changes.generation_params else {}
    for _ in table.attempts():
        session, settings, models = sessions.new_session(caller, new.session(class_id))
        examples = linked_examples(caller.user_id, changes.few_shot_example_ids or ())
        chosen = initial_settings(settings, changes, examples)
        if new.model_names and not any(models.by_name(name) for name in new.model_names):
            raise RequestedModelsNotConfigured
        first_free = sessions.first_free_id(settings, models)
        writes = sessions.insertion(caller, session, chosen, models.with_params(sent), next_id=first_free)
        writes += exists_checks(caller.user_id, settings, chosen)
        try:
            table.write(*writes, *attempt.resume_with(session.session_id))
        except table.ConditionFailed as failed:
            if failed.index == 0:
                raise accounts.refusal(failed) from None
            if failed.index >= len(writes):
                raise RequestInFlight(1) from None
            continue  # an example was deleted meanwhile
        return session.session_id
    raise AssertionError("attempts() ends by raising")


def _resumed(
    caller: Caller, attempt: IdempotentAttempt, new: NewTurn, deadline: Deadline, preferences: Preferences
) -> Answered:
    """Goes on where an attempt with the same Idempotency-Key died: asks only the models that have no answer yet."""
    assert attempt.resume_id is not None
    session_id = keys.session_of(attempt.resume_id)
    state = turns.read(caller.user_id, attempt.resume_id)
    if state is None:
        # Only the session had been opened, or it was deleted since with all that was in it.
        return _next_turn(caller, session_id, new, attempt, deadline, preferences)
    view = read_view(caller.user_id, session_id, with_responses=True)
    if state.status == TurnStatus.QUEUED:
        return _queued(caller, state.turn, view, attempt)
    if state.status == TurnStatus.RUNNING and turns.claim(
        caller.user_id, attempt.resume_id, _until(deadline)
    ):
        state = _carried_out(caller.user_id, state, view, deadline)
    return _reply(view, state, attempt)


def _next_turn(
    caller: Caller,
    session_id: int,
    new: NewTurn,
    attempt: IdempotentAttempt,
    deadline: Deadline,
    preferences: Preferences,
) -> Answered:
    is_queued = preferences.respond_async
    view, turn = _begun(
        caller,
        session_id,
        new,
        attempt,
        status=TurnStatus.QUEUED if is_queued else TurnStatus.RUNNING,
        lease=QUEUED if is_queued else _until(deadline),
    )
    if is_queued:
        return _queued(caller, turn, view, attempt)
    state = TurnState(turn, TurnStatus.RUNNING, [], {})
    return _reply(view, _carried_out(caller.user_id, state, view, deadline), attempt)


def _until(deadline: Deadline) -> Lease:
    """Of a function that answers HTTP: nobody comes after it, unless a client does."""
    return Lease(deadline.remaining(), deadline.remaining())


def _begun(
    caller: Caller,
    session_id: int,
    new: NewTurn,
    attempt: IdempotentAttempt,
    *,
    status: TurnStatus,
    lease: Lease,
) -> tuple[View, StoredTurn]:
    for _ in table.attempts():
        view = read_view(caller.user_id, session_id, with_responses=True)
        if view.session.class_id is None:
            raise SessionHasNoClass
        names = catalogue.look_up(view.session.class_id, None).runnable_names()
        models = sync_with_class(caller.user_id, view, names)
        asked = _asked(view, models, new.model_names)
        writes = revise_models(view.models_document, view.models, models)
        try:
            if writes:
                table.write(*writes, *unchanged_checks(view, models))
            turn = turns.begin_turn(
                caller.user_id,
                session_id,
                asked,
                new.prompt_text,
                TurnSettings.of(view.settings, view.session.knowledge_ids),
                status=status,
                lease=lease,
                attempt=attempt,
            )
        except (table.ConditionFailed, ModelNotFound):
            continue  # the session or one of its models has changed or gone: seen anew
        return view, turn
    raise AssertionError("attempts() ends by raising")


def _asked(view: View, models: StoredModels, names: Sequence[str] | None) -> list[AskedModel]:
    """The models that may run and are wanted, the primary first."""
    running = sorted(
        (model for model in models.models if model.runs),
        key=lambda model: model.session_model_id != models.primary_id,
    )
    if not running and not names:
        raise ClassHasNoModels
    wanted = [model for model in running if not names or model.model_name in names]
    if not wanted:
        raise RequestedModelsNotFound
    return [_asked_model(view, models, model) for model in wanted]


def _asked_model(view: View, models: StoredModels, model: StoredModel) -> AskedModel:
    return AskedModel(
        session_model_id=model.session_model_id,
        model_name=model.model_name,
        response_id=0,
        is_primary=model.session_model_id == models.primary_id,
        generation_params=chosen(model_named(model.model_name), view.settings, model).params,
    )


def _carried_out(user_id: int, state: TurnState, view: View, deadline: Deadline) -> TurnState:
    """One request when examples are selected, one for each answer, one at the end."""
    turn = state.turn
    selected = turn.settings.few_shot_example_ids
    examples = linked_examples(user_id, selected)
    background = Background(
        [examples[example_id] for example_id in selected if example_id in examples],
        [response for response in view.responses if response.response_id < turn.turn_id],
    )
    return run_turn(user_id, state, background, deadline.less(MARGIN_SECONDS))


def _reply(view: View, state: TurnState, attempt: IdempotentAttempt) -> Answered:
    status, errors = state.shown()
    if status in turns.UNDER_WAY or status == TurnStatus.CANCELLED:
        return _accepted(view, state.turn, status, attempt)
    if not state.answers:
        attempt.discard()
        unanswered = NoModelAnswered(
            detail=Unanswered.detail, session_id=state.turn.session_id, errors=errors
        )
        return Reply(unanswered, Unanswered.status)
    answer = TurnAnswer(
        session_id=state.turn.session_id,
        session_title=view.session.title,
        prompt_text=state.turn.prompt_text,
        results=[],
        errors=errors,
    )
    budget = ResponseBudget()
    results = state.results()
    if not all(budget.take(part.model_dump_json()) for part in (answer, *results)):
        return _accepted(view, state.turn, status, attempt)
    answer.results = results
    location = _location(state.turn)
    attempt.keep(answer.model_dump_json(), HTTPStatus.CREATED, location)
    return Reply(answer, HTTPStatus.CREATED, {"location": location})


def _queued(caller: Caller, turn: StoredTurn, view: View, attempt: IdempotentAttempt) -> Answered:
    """Hands the turn to the worker; a second message for the same turn does no harm."""
    message = QueuedTurn(user_id=caller.user_id, turn_id=turn.turn_id)
    if queues.send(configuration().turn_queue_url, [message.model_dump_json()]):
        if attempt.key is None:
            turns.withdraw(caller.user_id, turn)  # a retry with a key would send it again
        raise StoreUnavailable("the queue of turns does not take messages")
    return _accepted(view, turn, TurnStatus.QUEUED, attempt)


def _accepted(view: View, turn: StoredTurn, status: TurnStatus, attempt: IdempotentAttempt) -> Answered:
    accepted = TurnAccepted(
        session_id=turn.session_id, session_title=view.session.title, turn_id=turn.turn_id, status=status
    )
    location = _location(turn)
    attempt.keep(accepted.model_dump_json(), HTTPStatus.ACCEPTED, location)
    return Reply(accepted, HTTPStatus.ACCEPTED, {"location": location})


def _location(turn: StoredTurn) -> str:
    return f"/user/practice/sessions/{turn.session_id}/turns/{turn.turn_id}"


class TurnInProgress(Exception):
    """Another worker has the turn; should it die, the message is needed."""


def work(message: QueuedTurn, deadline: Deadline) -> None:
    """A queued turn, or one whose worker died; nothing for one that is settled or gone.

    Of two workers one waits whether the other is alive. Raises StillUnderWay when it is, for as long as there is time.
    """
    user_id, turn_id = message.user_id, message.turn_id
    while (worker := turns.claim(user_id, turn_id, WORKING)) is None:
        state = turns.read(user_id, turn_id)
        if state is None or state.status not in turns.UNDER_WAY:
            return
        if deadline.remaining() < 2 * WORKING.seconds:
            raise TurnInProgress
        time.sleep(PAUSE_SECONDS)
    state = turns.read(user_id, turn_id)
    if state is None:
        return
    try:
        view = read_view(user_id, keys.session_of(turn_id), with_responses=True)
        with _heartbeat(user_id, turn_id, worker):
            _carried_out(user_id, state, view, deadline)
    except SessionNotFound:
        return  # deleted, and its turns with it


@contextmanager
def _heartbeat(user_id: int, turn_id: int, worker: str) -> Iterator[None]:
    done = threading.Event()

    def beat() -> None:
        while not done.wait(BEAT_SECONDS):
            try:
                turns.prolong(user_id, turn_id, worker, WORKING)
            except PracticeError as error:
                logger.warning("no heartbeat", extra={"cause": type(error).__name__})

    threading.Thread(target=beat, name=f"heartbeat of {turn_id}", daemon=True).start()
    try:
        yield
    finally:
        done.set()
