"""The models of a session: list, add, change, delete. One document holds them all."""

from practice import table
from practice.caller import Caller
from practice.errors import ModelNotAllowed, ModelNotFound, SessionHasNoClass, SessionNotFound
from practice.schemas.session_model import (
    NewSessionModel,
    SessionModel,
    SessionModelChanges,
    StoredModel,
    StoredModels,
)
from practice.store import catalogue
from practice.store.classes import new_model, revise_models, sync_with_class, unchanged_checks
from practice.store.idempotency import IdempotentAttempt
from practice.store.settings import require_object_size
from practice.store.views import read_view
from practice.table import ExpectedVersions, Versioned, keys


def all_of(caller: Caller, session_id: int) -> list[SessionModel]:
    """One request."""
    key = keys.models(caller.user_id, session_id)
    document = table.get(key)
    if document is None:
        raise SessionNotFound
    return StoredModels.model_validate_json(document.text).wire(session_id)


@table.optimistic
def add(
    caller: Caller, session_id: int, new: NewSessionModel, attempt: IdempotentAttempt
) -> Versioned[SessionModel]:
    """Adds a model of the class, or merges the parameters into the one that has its name. Three requests."""
    view = read_view(caller.user_id, session_id, with_responses=False)
    if view.session.class_id is None:
        raise SessionHasNoClass
    names = catalogue.look_up(view.session.class_id, None).active_names()
    if new.model_name not in names:
        raise ModelNotAllowed
    models = sync_with_class(caller.user_id, view, names)
    model = models.by_name(new.model_name)
    if model is None:
        free = max(
            [view.models_document.number("next_id")] + [each.session_model_id + 1 for each in models.models]
        )
        model = new_model(view, new.model_name).model_copy(update={"session_model_id": free})
        models = models.with_new(model)
    models = _with(models, model, SessionModelChanges.model_construct(**dict(new)))
    writes = revise_models(view.models_document, view.models, models)
    writes += unchanged_checks(view, models)
    answer = _versioned(models, session_id, model.session_model_id)
    attempt.commit(writes, answer)
    return answer


@table.optimistic
def change(
    caller: Caller, session_model_id: int, changes: SessionModelChanges, expected: ExpectedVersions
) -> Versioned[SessionModel]:
    """Two requests."""
    session_id = keys.session_of(session_model_id)
    document, before, model = read_model(caller, session_model_id)
    after = _with(before, model, changes)
    expected.check(model.version)
    writes = revise_models(document, before, after)
    if writes:
        table.write(*writes)
    return _versioned(after, session_id, session_model_id)


def remove(caller: Caller, session_model_id: int, expected: ExpectedVersions) -> None:
    """Two requests. Its responses are out of sight at once, and swept by the table's stream.

    A model that is missing on a retry was deleted by the first attempt, whose acknowledgement was lost.
    """
    for attempt in table.attempts():
        try:
            document, before, model = read_model(caller, session_model_id)
        except ModelNotFound:
            if attempt:
                return
            raise
        expected.check(model.version)
        try:
            table.write(*revise_models(document, before, before.without(session_model_id)))
        except table.ConditionFailed:
            continue
        return


def read_model(caller: Caller, session_model_id: int) -> tuple[table.Document, StoredModels, StoredModel]:
    """One request; raises NotFound for a model that is not the caller's, or deleted."""
    key = keys.models(caller.user_id, keys.session_of(session_model_id))
    document = table.get(key)
    models = StoredModels.model_validate_json(document.text) if document else StoredModels()
    model = models.by_id(session_model_id)
    if document is None or model is None:
        raise ModelNotFound
    return document, models, model


def _with(models: StoredModels, model: StoredModel, changes: SessionModelChanges) -> StoredModels:
    if changes.generation_params:
        models = models.with_params(changes.generation_params.sent(), model.session_model_id)
        merged = models.by_id(model.session_model_id)
        require_object_size("generation_params", merged.generation_params if merged else {})
    return models.with_primary(model.session_model_id) if changes.is_primary else models


def _versioned(models: StoredModels, session_id: int, session_model_id: int) -> Versioned[SessionModel]:
    model = models.by_id(session_model_id)
    assert model is not None
    return Versioned(models.wire_model(session_id, model), model.version)
