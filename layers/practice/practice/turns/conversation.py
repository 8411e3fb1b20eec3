"""The operations that ask models: the next turn of a session, a session with its first turn, a queued turn."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final

from practice import keys, queues, table
from practice.answers import Room
from practice.api import Reply
from practice.auth import Caller
from practice.deadline import Deadline
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
from practice.log import logger
from practice.models.generation import non_null
from practice.models.session_model import StoredModel, StoredModels
from practice.models.turn import (
    AskedModel,
    NoModelAnswered,
    QueuedTurn,
    StoredTurn,
    TurnAccepted,
    TurnAnswer,
    TurnSettings,
    TurnStatus,
)
from practice.models.turn_requests import NewRun, NewTurn
from practice.preferences import Preferences
from practice.store import accounts, catalogue, sessions, turns
from practice.store.classes import as_read, in_line_with_class, revise_models
from practice.store.idempotency import Once
from practice.store.settings import born, still_there
from practice.store.turns import Hold, Standing
from practice.store.views import View, linked_examples, read_view
from practice.turns.configuration import configuration, model_named
from practice.turns.parameters import effective
from practice.turns.run import Background, carry_out

MARGIN_SECONDS: Final = 3.0
"""Kept back from a function's time, to settle the turn and to answer."""
QUEUED: Final = Hold(0, 24 * 3600)
"""A message waits a day at most."""
WORKING: Final = Hold(60, 3 * 960)
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
    once: Once,
    deadline: Deadline,
    preferences: Preferences,
) -> Answered:
    """Five requests and one for each model, without what the models themselves take."""
    if once.turn_id:
        return _resumed(caller, once, new, deadline, preferences)
    return _next_turn(caller, session_id, new, once, deadline, preferences)


def run(
    caller: Caller,
    class_id: int,
    new: NewRun,
    *,
    once: Once,
    deadline: Deadline,
    preferences: Preferences,
) -> Answered:
    """A session and its first turn. The session survives whatever becomes of the turn."""
    if once.turn_id:
        return _resumed(caller, once, new, deadline, preferences)
    session_id = _open(caller, class_id, new, once)
    return _next_turn(caller, session_id, new, once, deadline, preferences)


def _open(caller: Caller, class_id: int, new: NewRun, once: Once) -> int:
    """Three requests at most: class and agent, examples, one transaction."""
    changes = new.settings()
    sent = non_null(changes.generation_params.sent()) if changes.generation_params else {}
    for _ in table.attempts():
        session, settings, models = sessions.opened(caller, new.session(class_id))
        examples = linked_examples(caller.user_id, changes.few_shot_example_ids or ())
        chosen = born(settings, changes, examples)
        if new.model_names and not any(models.by_name(name) for name in new.model_names):
            raise RequestedModelsNotConfigured
        first_free = sessions.first_free_id(settings, models)
        writes = sessions.insertion(caller, session, chosen, models.with_params(sent), next_id=first_free)
        writes += still_there(caller.user_id, settings, chosen)
        try:
            table.write(*writes, *once.pointing_to(session.session_id))
        except table.ConditionFailed as failed:
            if failed.index == 0:
                raise accounts.refusal(failed) from None
            if failed.index >= len(writes):
                raise RequestInFlight(1) from None
            continue  # an example was deleted meanwhile
        return session.session_id
    raise AssertionError("attempts() ends by raising")


def _resumed(
    caller: Caller, once: Once, new: NewTurn, deadline: Deadline, preferences: Preferences
) -> Answered:
    """Goes on where an attempt with the same Idempotency-Key died: asks only the models that have no answer yet."""
    assert once.turn_id is not None
    session_id = keys.session_of(once.turn_id)
    standing = turns.read(caller.user_id, once.turn_id)
    if standing is None:
        # Only the session had been opened, or it was deleted since with all that was in it.
        return _next_turn(caller, session_id, new, once, deadline, preferences)
    view = read_view(caller.user_id, session_id, with_responses=True)
    if standing.status == TurnStatus.QUEUED:
        return _queued(caller, standing.turn, view, once)
    if standing.status == TurnStatus.RUNNING and turns.claim(caller.user_id, once.turn_id, _until(deadline)):
        standing = _carried_out(caller.user_id, standing, view, deadline)
    return _reply(view, standing, once)


def _next_turn(
    caller: Caller,
    session_id: int,
    new: NewTurn,
    once: Once,
    deadline: Deadline,
    preferences: Preferences,
) -> Answered:
    is_queued = preferences.respond_async
    view, turn = _begun(
        caller,
        session_id,
        new,
        once,
        status=TurnStatus.QUEUED if is_queued else TurnStatus.RUNNING,
        hold=QUEUED if is_queued else _until(deadline),
    )
    if is_queued:
        return _queued(caller, turn, view, once)
    standing = Standing(turn, TurnStatus.RUNNING, [], {})
    return _reply(view, _carried_out(caller.user_id, standing, view, deadline), once)


def _until(deadline: Deadline) -> Hold:
    """Of a function that answers HTTP: nobody comes after it, unless a client does."""
    return Hold(deadline.remaining(), deadline.remaining())


def _begun(
    caller: Caller, session_id: int, new: NewTurn, once: Once, *, status: TurnStatus, hold: Hold
) -> tuple[View, StoredTurn]:
    for _ in table.attempts():
        view = read_view(caller.user_id, session_id, with_responses=True)
        if view.session.class_id is None:
            raise SessionHasNoClass
        names = catalogue.look_up(view.session.class_id, None).runnable_names()
        models = in_line_with_class(caller.user_id, view, names)
        asked = _asked(view, models, new.model_names)
        writes = revise_models(view.models_document, view.models, models)
        try:
            if writes:
                table.write(*writes, *as_read(view, models))
            turn = turns.begin(
                caller.user_id,
                session_id,
                asked,
                new.prompt_text,
                TurnSettings.of(view.settings, view.session.knowledge_ids),
                status=status,
                hold=hold,
                once=once,
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
        generation_params=effective(model_named(model.model_name), view.settings, model),
    )


def _carried_out(user_id: int, standing: Standing, view: View, deadline: Deadline) -> Standing:
    """One request when examples are selected, one for each answer, one at the end."""
    turn = standing.turn
    selected = turn.settings.few_shot_example_ids
    examples = linked_examples(user_id, selected)
    background = Background(
        [examples[example_id] for example_id in selected if example_id in examples],
        [response for response in view.responses if response.response_id < turn.turn_id],
    )
    return carry_out(user_id, standing, background, deadline.less(MARGIN_SECONDS))


def _reply(view: View, standing: Standing, once: Once) -> Answered:
    status, errors = standing.shown()
    if status in turns.UNDER_WAY or status == TurnStatus.CANCELLED:
        return _accepted(view, standing.turn, status, once)
    if not standing.answers:
        once.forget()
        unanswered = NoModelAnswered(
            detail=Unanswered.detail, session_id=standing.turn.session_id, errors=errors
        )
        return Reply(unanswered, Unanswered.status)
    answer = TurnAnswer(
        session_id=standing.turn.session_id,
        session_title=view.session.title,
        prompt_text=standing.turn.prompt_text,
        results=[],
        errors=errors,
    )
    room = Room()
    results = standing.results()
    if not all(room.take(part.model_dump_json()) for part in (answer, *results)):
        return _accepted(view, standing.turn, status, once)
    answer.results = results
    location = _location(standing.turn)
    once.keep(answer.model_dump_json(), HTTPStatus.CREATED, location)
    return Reply(answer, HTTPStatus.CREATED, {"location": location})


def _queued(caller: Caller, turn: StoredTurn, view: View, once: Once) -> Answered:
    """Hands the turn to the worker; a second message for the same turn does no harm."""
    message = QueuedTurn(user_id=caller.user_id, turn_id=turn.turn_id)
    if queues.send(configuration().turn_queue_url, [message.model_dump_json()]):
        if once.key is None:
            turns.withdraw(caller.user_id, turn)  # a retry with a key would send it again
        raise StoreUnavailable("the queue of turns does not take messages")
    return _accepted(view, turn, TurnStatus.QUEUED, once)


def _accepted(view: View, turn: StoredTurn, status: TurnStatus, once: Once) -> Answered:
    accepted = TurnAccepted(
        session_id=turn.session_id, session_title=view.session.title, turn_id=turn.turn_id, status=status
    )
    location = _location(turn)
    once.keep(accepted.model_dump_json(), HTTPStatus.ACCEPTED, location)
    return Reply(accepted, HTTPStatus.ACCEPTED, {"location": location})


def _location(turn: StoredTurn) -> str:
    return f"/user/practice/sessions/{turn.session_id}/turns/{turn.turn_id}"


class StillUnderWay(Exception):
    """Another worker has the turn; should it die, the message is needed."""


def work(message: QueuedTurn, deadline: Deadline) -> None:
    """A queued turn, or one whose worker died; nothing for one that is settled or gone.

    Of two workers one waits whether the other is alive. Raises StillUnderWay when it is, for as long as there is time.
    """
    user_id, turn_id = message.user_id, message.turn_id
    while (worker := turns.claim(user_id, turn_id, WORKING)) is None:
        standing = turns.read(user_id, turn_id)
        if standing is None or standing.status not in turns.UNDER_WAY:
            return
        if deadline.remaining() < 2 * WORKING.seconds:
            raise StillUnderWay
        time.sleep(PAUSE_SECONDS)
    standing = turns.read(user_id, turn_id)
    if standing is None:
        return
    try:
        view = read_view(user_id, keys.session_of(turn_id), with_responses=True)
        with _heartbeat(user_id, turn_id, worker):
            _carried_out(user_id, standing, view, deadline)
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
