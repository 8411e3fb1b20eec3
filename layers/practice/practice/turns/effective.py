"""What a turn of a session would send now, and who chose it."""

from collections.abc import Sequence

from practice.caller import Caller
from practice.schemas.generation import Chooser
from practice.schemas.session_model import EffectiveModel, EffectiveParameters, StoredModel
from practice.schemas.settings import StoredSettings
from practice.store import catalogue, usage
from practice.store.usage import Budget
from practice.store.views import read_view
from practice.turns.budgets import capped
from practice.turns.configuration import model_named
from practice.turns.parameters import chosen, within_limits
from practice.turns.providers import as_sent


def effective_parameters(caller: Caller, session_id: int) -> EffectiveParameters:
    """Two requests. Before there is a prompt: in a window that holds both, a long one leaves less for the cap."""
    view = read_view(caller.user_id, session_id, with_responses=False)
    running = [model for model in view.models.models if model.runs]
    running.sort(key=lambda model: model.session_model_id != view.models.primary_id)
    budgets = usage.budgets_for(catalogue.look_up(view.session.class_id, None).practice_class)
    return EffectiveParameters(models=[_effective(view.settings, model, budgets) for model in running])


def _effective(settings: StoredSettings, model: StoredModel, budgets: Sequence[Budget]) -> EffectiveModel:
    """Nothing, for a model that no provider serves."""
    configured = model_named(model.model_name)
    params, chosen_by = capped(configured, chosen(configured, settings, model), budgets)
    allowed = within_limits(configured, params, 0) if configured else {}
    by_whom = {name: chosen_by.get(name, Chooser.INTERFACE) for name in allowed}
    return EffectiveModel(
        session_model_id=model.session_model_id,
        model_name=model.model_name,
        generation_params=as_sent(configured, allowed) if configured else {},
        chosen_by=as_sent(configured, by_whom) if configured else {},
    )
