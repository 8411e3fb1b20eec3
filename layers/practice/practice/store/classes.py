"""Bringing the models of a session in line with its class as it is now."""

from collections.abc import Collection
from typing import Final

from practice import table
from practice.errors import SessionFull
from practice.limits import MODELS_BYTES, SESSION_MODELS
from practice.schemas.session_model import StoredModel, StoredModels
from practice.store.views import View, is_live
from practice.table import keys


def sync_with_class(user_id: int, view: View, names: list[str]) -> StoredModels:
    """The next state of the models. One request when some are no longer listed and no response was read yet."""
    current = view.models
    keep = any(model.model_name not in names for model in current.models) and _has_response(user_id, view)
    return current.synced_with(names, keep_unlisted=keep, template=new_model(view, ""))


def new_model(view: View, model_name: str) -> StoredModel:
    """A model with the first free id and the settings' parameters, which count as chosen where they do there."""
    return StoredModel(
        session_model_id=view.models_document.number("next_id"),
        model_name=model_name,
        generation_params=view.settings.generation_params,
        chosen=view.settings.chosen,
    )


def require_models_size(models: StoredModels) -> None:
    """Raises SessionFull when they are more than one document may hold."""
    if len(models.model_dump_json().encode()) > MODELS_BYTES:
        raise SessionFull


def revise_models(document: table.Document, before: StoredModels, after: StoredModels) -> list[table.Write]:
    """Writes what changed; nothing when nothing did.

    Raises SessionFull when the session has handed out all its ids, or its models are more than one document may hold.
    """
    if after == before:
        return []
    if len(after.models) > max(SESSION_MODELS, len(before.models)):
        raise SessionFull
    require_models_size(after)
    attributes: dict[str, table.Value | None] = {}
    condition, values = "", {}
    next_id = document.number("next_id")
    taken = sum(model.session_model_id >= next_id for model in after.models)
    if taken:
        if next_id + taken > keys.end_of(keys.session_of(next_id)):
            raise SessionFull
        condition, values = "#next_id = :next_id_was", {":next_id_was": table.number(next_id)}
        attributes["next_id"] = table.number(next_id + taken)
    attributes["live"] = table.numbers(model.session_model_id for model in after.models)
    return table.revise(document, after, condition=condition, values=values, attributes=attributes)


def unchanged_checks(
    view: View, after: StoredModels, *, written: Collection[keys.Key] = ()
) -> list[table.Write]:
    """Checks for the transaction that writes `after`, apart from the items that it writes under conditions anyway.

    A new model has a copy of the settings' parameters, and one that goes had no response: neither may have changed.
    """
    checks = []
    next_id = view.models_document.number("next_id")
    if view.settings_document.key not in written and any(
        model.session_model_id >= next_id for model in after.models
    ):
        checks.append(table.unchanged(view.settings_document))
    if view.session_document.key not in written and any(
        after.by_id(model.session_model_id) is None for model in view.models.models
    ):
        checks.append(table.check(view.session_document.key, NO_NEW_RESPONSE, no_new_response_values(view)))
    return checks


NO_NEW_RESPONSE: Final = "#activity = :activity_was"
"""Holds while no response was added to the session."""


def no_new_response_values(view: View) -> dict[str, table.Value]:
    return {":activity_was": view.session_document.item["activity"]}


def _has_response(user_id: int, view: View) -> bool:
    if view.live:
        return True
    if "answered" not in view.models_document.item:
        return False
    model_ids = {model.session_model_id for model in view.models.models}
    return any(
        _is_awaited(document) or is_live(document, model_ids)
        # One of the newest rows nearly always answers it. A first page without a limit is a megabyte.
        for document in table.walk(keys.responses(user_id, view.session.session_id), limit=8)
    )


def _is_awaited(document: table.Document) -> bool:
    """The place of an answer that a turn under way will fill."""
    return "turn" in document.item and "of_model" not in document.item
