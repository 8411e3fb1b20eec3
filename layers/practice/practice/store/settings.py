"""Settings: read, change. One item a session, made and deleted with it."""

from typing import Any

from practice import table
from practice.caller import Caller
from practice.errors import Invalid, InvalidExamples, Problem
from practice.http.conditional import IfMatch, Versioned
from practice.limits import OBJECT_BYTES, SELECTION_BYTES
from practice.runtime import clock
from practice.schemas.example import Example
from practice.schemas.fields import compact_bytes, escaped_bytes, same_json
from practice.schemas.generation import non_null
from practice.schemas.session_model import StoredModels
from practice.schemas.settings import Link, Settings, SettingsChanges, StoredSettings
from practice.store.classes import revise_models
from practice.store.views import linked_examples, read_view, settings_of
from practice.table import ids, keys


def change(
    caller: Caller, session_id: int, changes: SettingsChanges, if_match: IfMatch
) -> Versioned[Settings]:
    """Three requests at most: the session, the examples, one conditional write.

    Concurrent changes of different keys both survive: whoever comes second merges into what the first one left.
    """
    for _ in table.attempts():
        view = read_view(caller.user_id, session_id, with_responses=False)
        before = view.settings
        selected = [link.example_id for link in before.links]
        examples = linked_examples(caller.user_id, {*selected, *(changes.few_shot_example_ids or ())})
        sent = changes.generation_params.sent() if changes.generation_params else {}
        merged = _merged_models(view.models, non_null(sent))
        given = _merged(before, changes, sent)
        if_match.accept(before.version)
        after = _changed(before, given, changes, examples)
        writes = []
        if after is not before:
            attributes = linking(after) if after.links is not before.links else {}
            writes += table.revise(view.settings_document, after, attributes=attributes)
            writes += exists_checks(caller.user_id, before, after)
        models = revise_models(view.models_document, view.models, merged)
        if writes and sent and not models:
            # A model that is added now has copied the parameters that stood before.
            models = [table.unchanged(view.models_document)]
        writes += models
        try:
            if writes:
                table.write(*writes)
        except table.ConditionFailed:
            continue
        return Versioned(settings_of(after, examples), after.version)
    raise AssertionError("attempts() ends by raising")


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


def exists_checks(user_id: int, before: StoredSettings, after: StoredSettings) -> list[table.Write]:
    """An example that is deleted meanwhile is not linked after the sweep for its links has passed."""
    linked = {link.example_id for link in before.links}
    return [
        table.check(keys.example(user_id, link.example_id), "attribute_exists(#pk)")
        for link in after.links
        if link.example_id not in linked
    ]


def next_version(settings: StoredSettings, now: str) -> StoredSettings:
    return settings.model_copy(update={"updated_at": now, "version": settings.version + 1})


def _merged(before: StoredSettings, changes: SettingsChanges, sent: dict[str, Any]) -> dict[str, Any]:
    """The fields that are sent, as they would stand, the selection left out; raises Invalid for one grown too large."""
    given: dict[str, Any] = {}
    if "style_preset" in changes.model_fields_set:
        given["style_preset"] = changes.style_preset
    if changes.style_params:
        given["style_params"] = before.style_params | changes.style_params
        bounded("style_params", given["style_params"])
    if sent:
        given["generation_params"] = before.generation_params | sent
        bounded("generation_params", given["generation_params"])
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
    if "links" in changed and escaped_bytes(settings_of(after, examples).model_dump_json()) > SELECTION_BYTES:
        message = f"The selected examples should have at most {SELECTION_BYTES} bytes together in an answer"
        raise Invalid([Problem("too_long", ("body", "few_shot_example_ids"), message)])
    return after if changed.keys() == {"chosen"} else next_version(after, now)


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
        bounded("generation_params", model.generation_params)
    return merged


def bounded(name: str, merged: dict[str, object]) -> None:
    """Raises Invalid when an object has become larger by merging than one may be sent."""
    if compact_bytes(merged) > OBJECT_BYTES:
        message = f"Object should have at most {OBJECT_BYTES} bytes as JSON after merging"
        raise Invalid([Problem("too_long", ("body", name), message)])


def unlink(user_id: int, session_id: int, example_id: int) -> None:
    """Takes a deleted example out of a selection; nothing of it was shown any more, so nothing that is shown changes.

    Two requests.
    """
    key = keys.settings(user_id, session_id)
    for _ in table.attempts():
        document = table.fetch([key]).get(key)
        if document is None:
            return
        before = StoredSettings.model_validate_json(document.text)
        links = [link for link in before.links if link.example_id != example_id]
        if links == before.links:
            return
        after = before.model_copy(update={"links": links})
        try:
            table.write(*table.revise(document, after, attributes=linking(after)))
        except table.ConditionFailed:
            continue
        return


def linking(settings: StoredSettings) -> dict[str, table.Value | None]:
    """The row of the sparse index that finds the selections of an example when it is deleted."""
    examples = table.numbers(link.example_id for link in settings.links)
    return {"linking": table.text(f"{settings.session_id:016d}") if examples else None, "examples": examples}
