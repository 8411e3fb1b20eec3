"""Settings: read, change. One item a session, made and deleted with it."""

from collections.abc import Mapping
from typing import Any

from practice import table
from practice.caller import Caller
from practice.errors import Invalid, InvalidExamples, Problem
from practice.limits import OBJECT_BYTES, SELECTED_EXAMPLES, SELECTION_BYTES
from practice.runtime import clock
from practice.schemas.example import SHARE_BYTES, Example
from practice.schemas.fields import compact_bytes, same_json
from practice.schemas.generation import non_null
from practice.schemas.session_model import StoredModels
from practice.schemas.settings import Link, Settings, SettingsChanges, StoredSettings
from practice.store.classes import revise_models
from practice.store.views import read_view, settings_of, versioned_examples
from practice.table import ExpectedVersions, Versioned, ids, keys


@table.optimistic
def change(
    caller: Caller, session_id: int, changes: SettingsChanges, expected: ExpectedVersions
) -> Versioned[Settings]:
    """Three requests at most: the session, the examples, one conditional write.

    Concurrent changes of different keys both survive: the second one merges into the result of the first.
    """
    view = read_view(caller.user_id, session_id, with_responses=False)
    before = view.settings
    selected = [link.example_id for link in before.links]
    found = versioned_examples(caller.user_id, {*selected, *(changes.few_shot_example_ids or ())})
    examples = {example_id: example.value for example_id, example in found.items()}
    sent = changes.generation_params.sent() if changes.generation_params else {}
    merged = _merged_models(view.models, non_null(sent))
    given = _merged(before, changes, sent)
    expected.check(before.version)
    after = _changed(before, given, changes, examples)
    writes = []
    if after is not before:
        attributes = link_index_attributes(after) if after.links is not before.links else {}
        writes += table.revise(view.settings_document, after, attributes=attributes)
        writes += mark_linked(caller.user_id, before, after, found)
    models = revise_models(view.models_document, view.models, merged)
    if writes and sent and not models:
        # A model added concurrently would have copied the old parameters, so the models must be unchanged.
        models = [table.unchanged(view.models_document)]
    writes += models
    if writes:
        table.write(*writes)
    return Versioned(settings_of(after, examples), after.version)


def initial_settings(
    before: StoredSettings, changes: SettingsChanges, examples: dict[int, Example]
) -> StoredSettings:
    """The settings of a session that is opened with choices of its own. Raises as a change of them does."""
    sent = changes.generation_params.sent() if changes.generation_params else {}
    after = _changed(before, _merged(before, changes, sent), changes, examples)
    links = [link.model_copy(update={"created_at": before.created_at}) for link in after.links]
    return after.model_copy(
        update={"links": links, "updated_at": before.updated_at, "version": before.version}
    )


def mark_linked(
    user_id: int, before: StoredSettings, after: StoredSettings, examples: Mapping[int, Versioned[Example]]
) -> list[table.Write]:
    """Counts the new links at their examples, which are as they were read.

    An example that is deleted meanwhile is not linked after the sweep for its links has passed. One that grows while it
    is being linked fails at the counter, or this does.
    """
    linked = {link.example_id for link in before.links}
    return [
        table.update(
            keys.example(user_id, link.example_id),
            add={"linkings": 1},
            condition="#v = :was",
            values={":was": table.number(examples[link.example_id].version)},
        )
        for link in after.links
        if link.example_id not in linked
    ]


def next_version(settings: StoredSettings, now: str) -> StoredSettings:
    return settings.model_copy(update={"updated_at": now, "version": settings.version + 1})


def _merged(before: StoredSettings, changes: SettingsChanges, sent: dict[str, Any]) -> dict[str, Any]:
    """The fields that are sent, merged, without the selection. Raises Invalid for one that becomes too large."""
    given: dict[str, Any] = {}
    if "style_preset" in changes.model_fields_set:
        given["style_preset"] = changes.style_preset
    if changes.style_params:
        given["style_params"] = before.style_params | changes.style_params
        require_object_size("style_params", given["style_params"])
    if sent:
        given["generation_params"] = before.generation_params | sent
        require_object_size("generation_params", given["generation_params"])
        given["chosen"] = sorted({*before.chosen, *sent})
    return given


def _changed(
    before: StoredSettings, given: dict[str, Any], changes: SettingsChanges, examples: dict[int, Example]
) -> StoredSettings:
    """The next state, `before` itself when that changes nothing; raises Forbidden for what the caller may not select."""
    now = clock.just_after(before.updated_at)
    changed = {name: value for name, value in given.items() if not same_json(value, getattr(before, name))}
    if "few_shot_example_ids" in changes.model_fields_set:
        links = _links(before.links, changes.few_shot_example_ids or [], examples, now)
        if links != [link for link in before.links if link.example_id in examples]:
            changed["links"] = links
    if not changed:
        return before
    after = before.model_copy(update=changed)
    if "links" in changed and _shares(after, examples) > SELECTED_EXAMPLES:
        message = (
            f"The selected examples should have at most {SELECTION_BYTES} bytes as JSON together, "
            f"where each counts as a multiple of {SHARE_BYTES}"
        )
        raise Invalid([Problem("too_long", ("body", "few_shot_example_ids"), message)])
    return after if changed.keys() == {"chosen"} else next_version(after, now)


def _shares(settings: StoredSettings, examples: dict[int, Example]) -> int:
    return sum(examples[link.example_id].shares() for link in settings.links if link.example_id in examples)


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


def _merged_models(models: StoredModels, sent: dict[str, Any]) -> StoredModels:
    if not sent:
        return models
    merged = models.with_params(sent)
    for model in merged.models:
        require_object_size("generation_params", model.generation_params)
    return merged


def require_object_size(name: str, merged: dict[str, object]) -> None:
    """Raises Invalid when an object has become larger by merging than one may be sent."""
    if compact_bytes(merged) > OBJECT_BYTES:
        message = f"Object should have at most {OBJECT_BYTES} bytes as JSON after merging"
        raise Invalid([Problem("too_long", ("body", name), message)])


@table.optimistic
def unlink(user_id: int, session_id: int, example_id: int) -> None:
    """Takes a deleted example out of a selection; nothing of it was shown any more, so nothing that is shown changes.

    Two requests.
    """
    key = keys.settings(user_id, session_id)
    document = table.get(key)
    if document is None:
        return
    before = StoredSettings.model_validate_json(document.text)
    links = [link for link in before.links if link.example_id != example_id]
    if links == before.links:
        return
    after = before.model_copy(update={"links": links})
    table.write(*table.revise(document, after, attributes=link_index_attributes(after)))


def link_index_attributes(settings: StoredSettings) -> dict[str, table.Value | None]:
    """The row of the sparse index that finds the selections of an example when it is deleted."""
    examples = table.numbers(link.example_id for link in settings.links)
    return {
        "linking": table.text(keys.link_index_key(settings.session_id)) if examples else None,
        "examples": examples,
    }
