"""How a turn begins: a session is opened or brought in line with its class, and the turn is written."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from practice import table
from practice.caller import Caller
from practice.errors import (
    ClassHasNoModels,
    ModelNotFound,
    RequestedModelsNotConfigured,
    RequestedModelsNotFound,
    RequestInFlight,
    SessionHasNoClass,
    TooManyModels,
)
from practice.limits import TURN_MODELS
from practice.runtime.deadline import Deadline
from practice.schemas.generation import non_null
from practice.schemas.session_model import StoredModel, StoredModels
from practice.schemas.turn import AskedModel, NewRun, NewTurn, StoredTurn, TurnSettings, TurnStatus
from practice.store import accounts, catalogue, sessions, turns
from practice.store.classes import revise_models, sync_with_class, unchanged_checks
from practice.store.idempotency import IdempotentAttempt
from practice.store.paging import Pager
from practice.store.settings import initial_settings, mark_linked
from practice.store.turns import Follower, Lease
from practice.store.views import View, read_view, versioned_examples
from practice.turns.configuration import model_named
from practice.turns.parameters import chosen


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """A prompt on its way to the models of a session."""

    caller: Caller
    new: NewTurn
    attempt: IdempotentAttempt
    deadline: Deadline
    is_queued: bool
    """Whether a worker runs the turn, and the client reads it later."""
    pager: Pager
    follower: Follower | None = None
    """Who follows the turn from its beginning."""
    begun: Callable[[StoredTurn], None] = lambda turn: None
    """Called before a worker can have a queued turn."""


def open_session(class_id: int, new: NewRun, request: TurnRequest) -> int:
    """The id of a new session. Three requests at most: class and agent, examples, one transaction."""
    return _open_session(request.caller, class_id, new, request.attempt)


@table.optimistic  # an example may be deleted meanwhile
def _open_session(caller: Caller, class_id: int, new: NewRun, attempt: IdempotentAttempt) -> int:
    changes = new.settings()
    sent = non_null(changes.generation_params.sent()) if changes.generation_params else {}
    session, settings, models = sessions.new_session(caller, new.session(class_id))
    found = versioned_examples(caller.user_id, changes.few_shot_example_ids or ())
    examples = {example_id: example.value for example_id, example in found.items()}
    chosen = initial_settings(settings, changes, examples)
    if not _wanted(models.models, new.model_names):
        raise RequestedModelsNotConfigured
    first_free = sessions.first_free_id(settings, models)
    writes = sessions.insertion(caller, session, chosen, models.with_params(sent), next_id=first_free)
    writes += mark_linked(caller.user_id, settings, chosen, found)
    try:
        table.write(*writes, *attempt.resume_with(session.session_id))
    except table.ConditionFailed as failed:
        if failed.index == 0:
            raise accounts.count_refusal(failed) from None
        if failed.index >= len(writes):
            raise RequestInFlight(1) from None
        raise
    return session.session_id


def prepare_turn(
    request: TurnRequest, session_id: int, *, status: TurnStatus, lease: Lease
) -> tuple[View, StoredTurn]:
    """The session as it was read, and its new turn. Four requests; one more when the models follow their class."""
    tries = table.attempts()
    while True:
        next(tries)
        try:
            return _prepare_turn(request, session_id, status, lease)
        except (table.ConditionFailed, ModelNotFound):
            pass  # the session or one of its models has changed or gone


def _prepare_turn(
    request: TurnRequest, session_id: int, status: TurnStatus, lease: Lease
) -> tuple[View, StoredTurn]:
    user_id = request.caller.user_id
    view = read_view(user_id, session_id, with_responses=True)
    if view.session.class_id is None:
        raise SessionHasNoClass
    names = catalogue.look_up(view.session.class_id, None).runnable_names()
    models = sync_with_class(user_id, view, names)
    asked = _asked(view, models, request.new.model_names)
    writes = revise_models(view.models_document, view.models, models)
    if writes:
        table.write(*writes, *unchanged_checks(view, models))
    turn = turns.begin_turn(
        user_id,
        session_id,
        view.session.class_id,
        asked,
        request.new.prompt_text,
        TurnSettings.of(view.settings, view.session.knowledge_ids),
        status=status,
        lease=lease,
        attempt=request.attempt,
        follower=request.follower,
    )
    return view, turn


def _asked(view: View, models: StoredModels, names: Sequence[str] | None) -> list[AskedModel]:
    """The models that may run and are wanted, the primary first."""
    running = sorted(
        (model for model in models.models if model.runs),
        key=lambda model: model.session_model_id != models.primary_id,
    )
    if not running and not names:
        raise ClassHasNoModels
    wanted = _wanted(running, names)
    if not wanted:
        raise RequestedModelsNotFound
    return [_asked_model(view, models, model) for model in wanted]


def _wanted(models: Sequence[StoredModel], names: Sequence[str] | None) -> list[StoredModel]:
    """Those that are named, or all without names. Raises TooManyModels above what one turn asks."""
    wanted = [model for model in models if not names or model.model_name in names]
    if len(wanted) > TURN_MODELS:
        raise TooManyModels
    return wanted


def _asked_model(view: View, models: StoredModels, model: StoredModel) -> AskedModel:
    return AskedModel(
        session_model_id=model.session_model_id,
        model_name=model.model_name,
        response_id=0,
        is_primary=model.session_model_id == models.primary_id,
        generation_params=chosen(model_named(model.model_name), view.settings, model).params,
    )
