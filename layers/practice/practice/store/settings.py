"""Settings: read, change. One item a session, made and deleted with it."""

from practice import clock, ids, keys, table
from practice.auth import Caller
from practice.errors import Invalid, InvalidExamples, Problem, SessionNotFound
from practice.limits import OBJECT_BYTES
from practice.models.example import Example
from practice.models.fields import compact_bytes
from practice.models.generation import non_null
from practice.models.session_model import StoredModels
from practice.models.settings import Link, Settings, SettingsChanges, StoredSettings
from practice.preconditions import IfMatch, Versioned
from practice.store.classes import revise_models
from practice.store.views import View, linked_examples, read_view, settings_of


def get(caller: Caller, session_id: int) -> Versioned[Settings]:
    """One request, and one for the selected examples."""
    key = keys.settings(caller.user_id, session_id)
    document = table.fetch([key]).get(key)
    if document is None:
        raise SessionNotFound
    stored = StoredSettings.model_validate_json(document.text)
    examples = linked_examples(caller.user_id, (link.example_id for link in stored.links))
    return Versioned(settings_of(stored, examples), stored.version)


def change(
    caller: Caller, session_id: int, changes: SettingsChanges, if_match: IfMatch
) -> Versioned[Settings]:
    """Three requests at most: the session, the examples, one conditional write.

    Concurrent changes of different keys both survive: whoever comes second merges into what the first one left.
    """
    for _ in table.attempts():
        view = read_view(caller.user_id, session_id, with_responses=False)
        if_match.accept(view.settings.version)
        before = view.settings
        wanted = _wanted(before, changes)
        examples = linked_examples(caller.user_id, {*wanted, *(link.example_id for link in before.links)})
        after = _changed(before, changes, wanted, examples)
        models = _merged_models(view, changes)
        writes = []
        if after != before:
            if after.model_copy(update={"chosen": before.chosen}) != before:
                after = next_version(after, clock.just_after(before.updated_at))
            attributes = linking(after) if after.links != before.links else {}
            writes += table.revise(view.settings_document, after, attributes=attributes)
        writes += revise_models(view.models_document, view.models, models)
        try:
            if writes:
                table.write(*writes)
        except table.ConditionFailed:
            continue
        return Versioned(settings_of(after, examples), after.version)
    raise AssertionError("attempts() ends by raising")


def next_version(settings: StoredSettings, now: str) -> StoredSettings:
    return settings.model_copy(update={"updated_at": now, "version": settings.version + 1})


def _wanted(before: StoredSettings, changes: SettingsChanges) -> list[int]:
    if "few_shot_example_ids" in changes.model_fields_set:
        return changes.few_shot_example_ids or []
    return [link.example_id for link in before.links]


def _changed(
    before: StoredSettings, changes: SettingsChanges, wanted: list[int], examples: dict[int, Example]
) -> StoredSettings:
    """The next state; raises Forbidden for a selection the caller may not make, Invalid for an object grown too large."""
    after = before.model_copy()
    if "style_preset" in changes.model_fields_set:
        after.style_preset = changes.style_preset
    if changes.style_params:
        after.style_params = before.style_params | changes.style_params
        bounded("style_params", after.style_params)
    sent = changes.generation_params.sent() if changes.generation_params else {}
    if sent:
        after.generation_params = before.generation_params | sent
        after.chosen = sorted({*before.chosen, *sent})
        bounded("generation_params", after.generation_params)
    if "few_shot_example_ids" in changes.model_fields_set:
        after.links = _links(before.links, wanted, examples, clock.now())
    return after


def _links(before: list[Link], wanted: list[int], examples: dict[int, Example], now: str) -> list[Link]:
    """The selection in its new order; an example that was selected keeps its link."""
    known = {link.example_id: link for link in before if link.example_id in examples}
    for example_id in wanted:
        if example_id not in known and not (example_id in examples and examples[example_id].is_active):
            raise InvalidExamples
    fresh = iter(ids.new_ids(count) if (count := sum(each not in known for each in wanted)) else ())
    return [
        known[example_id].model_copy(update={"sort_order": order})
        if example_id in known
        else Link(id=next(fresh), example_id=example_id, sort_order=order, created_at=now)
        for order, example_id in enumerate(wanted)
    ]


def _merged_models(view: View, changes: SettingsChanges) -> StoredModels:
    sent = non_null(changes.generation_params.sent()) if changes.generation_params else {}
    if not sent:
        return view.models
    merged = view.models.with_params(sent)
    for model in merged.models:
        bounded("generation_params", model.generation_params)
    return merged


def bounded(name: str, merged: dict[str, object]) -> None:
    """Raises Invalid when an object has become larger by merging than one may be sent."""
    if compact_bytes(merged) > OBJECT_BYTES:
        message = f"Object should have at most {OBJECT_BYTES} bytes as JSON after merging"
        raise Invalid([Problem("too_long", ("body", name), message)])


def linking(settings: StoredSettings) -> dict[str, table.Value | None]:
    """The row of the sparse index that finds the selections of an example when it is deleted."""
    examples = table.numbers(link.example_id for link in settings.links)
    return {"linking": table.text(f"{settings.session_id:016d}") if examples else None, "examples": examples}
