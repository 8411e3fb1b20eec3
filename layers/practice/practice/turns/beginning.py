"""How a turn begins: a session is opened or brought in line with its class, and the turn is written."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

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
from practice.runtime import clock
from practice.runtime.deadline import Deadline
from practice.schemas.example import Example
from practice.schemas.generation import non_null
from practice.schemas.response import Response
from practice.schemas.session_model import StoredModel, StoredModels
from practice.schemas.settings import StoredSettings
from practice.schemas.spending import Reserved, Spending
from practice.schemas.turn import AskedModel, StoredTurn, TurnSettings, TurnStatus
from practice.schemas.turn_requests import NewPrompt, NewRun, NewTurn
from practice.store import accounts, catalogue, next_turn, reservations, sessions, turns, usage
from practice.store.classes import require_models_size, revise_models, sync_with_class, unchanged_checks
from practice.store.history import History
from practice.store.idempotency import IdempotentAttempt
from practice.store.paging import Pager
from practice.store.settings import initial_settings, mark_linked
from practice.store.turn_state import Follower
from practice.store.turns import Lease
from practice.store.usage import Budget, Claim
from practice.store.views import View, examples_in, read_view, versioned_examples
from practice.table import keys
from practice.turns.budgets import capped, estimate, need_estimate, reserving
from practice.turns.configuration import configuration, model_named, thinks
from practice.turns.parameters import chosen
from practice.turns.prompts import compose


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """A prompt on its way to the models of a session."""

    caller: Caller
    new: NewPrompt
    attempt: IdempotentAttempt
    deadline: Deadline
    is_queued: bool
    """Whether a worker runs the turn, and the client reads it later."""
    pager: Pager
    follower: Follower | None = None
    """Who follows the turn from its beginning."""
    begun: Callable[[StoredTurn], None] = lambda turn: None
    """Called before a worker can have a queued turn."""


def open_session(class_id: int, new: NewRun, request: TurnRequest) -> Reserved:
    """A new session, as what its first turn reserves. Three requests at most: class and agent, examples, one transaction.

    Without the budget there is no session.
    """
    lost = table.ms_from_now(request.deadline.remaining())
    return reservations.within_budget(
        request.caller.user_id,
        lambda: _open_session(request.caller, class_id, new, request.attempt, lost),
    )


@table.optimistic  # an example may be deleted meanwhile
def _open_session(
    caller: Caller, class_id: int, new: NewRun, attempt: IdempotentAttempt, lost: table.Value
) -> Reserved:
    changes = new.settings()
    sent = non_null(changes.generation_params.sent()) if changes.generation_params else {}
    opened = sessions.new_session(caller, new.session(class_id))
    session, settings, models = opened.session, opened.settings, opened.models
    found = versioned_examples(caller.user_id, changes.few_shot_example_ids or ())
    examples = {example_id: example.value for example_id, example in found.items()}
    chosen = initial_settings(settings, changes, examples)
    if not _wanted(models.models, new.model_names):
        raise RequestedModelsNotConfigured
    first_free = sessions.first_free_id(settings, models)
    models = models.with_params(sent)
    require_models_size(models)
    writes = sessions.insertion(caller, session, chosen, models, next_id=first_free)
    writes += mark_linked(caller.user_id, settings, chosen, found)
    budgets = usage.budgets_for(opened.practice_class)
    asked = _asked(chosen, models, new.model_names, budgets)
    selected = [examples[link.example_id] for link in chosen.links]
    estimates = _estimates(
        asked,
        TurnSettings.of(chosen, session.knowledge_ids),
        selected,
        lambda _: (),
        new.prompt_text,
        budgets,
    )
    claim = reserving(
        str(session.session_id), session.created_at[:10], opened.practice_class, budgets, estimates
    )
    reservation = usage.reserve(caller.user_id, claim, lost)
    pointing = attempt.resume_with(session.session_id)
    writes += reservation
    try:
        table.write(*writes, *pointing)
    except table.ConditionFailed as failed:
        if failed.index == 0:
            raise accounts.count_refusal(failed) from None
        if failed.index >= len(writes):
            raise RequestInFlight(1) from None
        if usage.is_refused(caller.user_id, claim, writes[failed.index]):
            raise usage.refusal(claim, failed.item or {}) from None
        raise
    return claim.reserved


def prepare_turn(
    request: TurnRequest,
    session_id: int,
    *,
    status: TurnStatus,
    lease: Lease,
    reserved: Reserved | None = None,
) -> tuple[View, StoredTurn]:
    """The session as it was read, and its new turn. Four requests; one more when the models follow their class.

    `reserved` is what was reserved with the session. Raises DailyBudgetSpent.
    """
    user_id = request.caller.user_id
    tries = table.attempts()
    while True:
        next(tries)
        prepare = partial(_prepare_turn, request, session_id, status, lease, reserved)
        try:
            return reservations.within_budget(user_id, prepare)
        except (table.ConditionFailed, ModelNotFound):
            # The session or one of its models has changed or gone, or the reservation was given back.
            reserved = reserved and usage.held(user_id, reserved.name)


def _prepare_turn(
    request: TurnRequest, session_id: int, status: TurnStatus, lease: Lease, reserved: Reserved | None
) -> tuple[View, StoredTurn]:
    user_id = request.caller.user_id
    view = read_view(user_id, session_id, with_responses=True)
    after = _after(request.new)
    now = clock.now()
    day = keys.usage(user_id, now[:10])
    wanted = next_turn.keys_of(user_id, view, after)
    announced = catalogue.look_up(view.session.class_id, None, wanted if reserved else [*wanted, day])
    node = next_turn.find(user_id, view, after, announced.beside)
    if view.session.class_id is None:
        raise SessionHasNoClass
    models = sync_with_class(user_id, view, announced.runnable_names())
    budgets = usage.budgets_for(announced.practice_class)
    asked = _asked(view.settings, models, request.new.model_names, budgets)
    settings = TurnSettings.of(view.settings, view.session.knowledge_ids)
    estimates: list[Spending] = []
    if not reserved and need_estimate(budgets):
        examples = examples_in(user_id, view, settings.few_shot_example_ids)
        estimates = _estimates(
            asked,
            settings,
            examples,
            History.after(user_id, view, node, [each.session_model_id for each in asked]).of_model,
            request.new.prompt_text,
            budgets,
        )

    def claim(name: int, moment: str) -> Claim:
        return reserving(str(name), moment[:10], announced.practice_class, budgets, estimates)

    if not reserved:
        # Before ids are taken from the session, of which it has so many: the transaction decides.
        usage.check(claim(0, now), announced.beside.get(day))
    writes = revise_models(view.models_document, view.models, models)
    if writes:
        table.write(*writes, *unchanged_checks(view, models))
    turn = turns.begin_turn(
        user_id,
        session_id,
        view.session.class_id,
        asked,
        request.new.prompt_text,
        settings,
        status=status,
        lease=lease,
        attempt=request.attempt,
        followed=next_turn.follow(user_id, view, node),
        claim=lambda place: Claim(reserved) if reserved else claim(place.first_id, place.created_at),
        is_held=reserved is not None,
        follower=request.follower,
    )
    return view, turn


def _after(new: NewPrompt) -> int | next_turn.Newest | None:
    if isinstance(new, NewTurn) and "after_turn_id" in new.model_fields_set:
        return new.after_turn_id
    return next_turn.NEWEST


def _estimates(
    asked: Sequence[AskedModel],
    settings: TurnSettings,
    examples: Sequence[Example],
    history: Callable[[int], Iterable[Response]],
    prompt_text: str,
    budgets: Sequence[Budget],
) -> list[Spending]:
    """What each model may take, by the prompt as it will be composed; nothing without a budget that needs it."""
    if not need_estimate(budgets):
        return []
    return [
        estimate(
            each.model_name,
            each.generation_params,
            compose(
                settings,
                examples,
                history(each.session_model_id),
                prompt_text,
                history_tokens=configuration().history_tokens,
                thinks=thinks(each.model_name),
            ),
            has_knowledge=bool(settings.knowledge_ids),
        )
        for each in asked
    ]


def _asked(
    settings: StoredSettings, models: StoredModels, names: Sequence[str] | None, budgets: Sequence[Budget]
) -> list[AskedModel]:
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
    return [_asked_model(settings, models, model, budgets) for model in wanted]


def _wanted(models: Sequence[StoredModel], names: Sequence[str] | None) -> list[StoredModel]:
    """Those that are named, or all without names. Raises TooManyModels above what one turn asks."""
    wanted = [model for model in models if not names or model.model_name in names]
    if len(wanted) > TURN_MODELS:
        raise TooManyModels
    return wanted


def _asked_model(
    settings: StoredSettings, models: StoredModels, model: StoredModel, budgets: Sequence[Budget]
) -> AskedModel:
    configured = model_named(model.model_name)
    return AskedModel(
        session_model_id=model.session_model_id,
        model_name=model.model_name,
        response_id=0,
        is_primary=model.session_model_id == models.primary_id,
        generation_params=capped(configured, chosen(configured, settings, model), budgets).params,
    )
