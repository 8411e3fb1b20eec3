"""All of a user as NDJSON lines: examples, then session by session its settings, models, turns and responses."""

from collections.abc import Iterator

from pydantic import BaseModel, TypeAdapter

from practice import table
from practice.errors import SessionNotFound
from practice.runtime import clock
from practice.schemas.example import Example
from practice.schemas.session_model import StoredModels
from practice.schemas.settings import StoredSettings
from practice.schemas.transfer import (
    AskedLine,
    ExampleLine,
    Header,
    LinkLine,
    ModelLine,
    ResponseLine,
    SessionLine,
    SettingsLine,
    TurnLine,
    TurnSettingsLine,
)
from practice.schemas.turn import StoredTurn, TurnError, TurnStatus
from practice.store.views import View, live_responses, read_view
from practice.table import keys

_ERRORS = TypeAdapter(list[TurnError])
_ENDED = (TurnStatus.DONE, TurnStatus.FAILED, TurnStatus.CANCELLED)


def lines(user_id: int) -> Iterator[str]:
    """JSON lines without their line ends, read as they are taken: one request for a hundred examples, two for a session.

    Each session is as of the moment it is read; what is deleted meanwhile may be missing, never half there.
    """
    yield _line(Header(exported_at=clock.now()))
    examples: set[int] = set()
    for example in _examples(user_id):
        examples.add(example.example_id)
        yield _line(
            ExampleLine(
                example_id=example.example_id,
                title=example.title,
                input_text=example.input_text,
                output_text=example.output_text,
                meta=example.meta,
                is_active=example.is_active,
                created_at=example.created_at,
                updated_at=example.updated_at,
            )
        )
    for session_id in _session_ids(user_id):
        try:
            view = read_view(user_id, session_id, with_responses=False)
        except SessionNotFound:
            continue
        yield _line(_session(view, examples))
        yield from _turns(user_id, session_id)
        yield from _responses(user_id, session_id, view.models)


def _line(model: BaseModel) -> str:
    return model.model_dump_json()


def _index(user_id: int, prefix: str) -> list[table.Entry]:
    """Oldest first."""
    pk = keys.user(user_id)
    return table.read_index(keys.BY_CREATED, pk, prefix, backwards=False).entries


def _examples(user_id: int) -> Iterator[Example]:
    entries = _index(user_id, keys.EXAMPLES)
    for start in range(0, len(entries), table.BATCH):
        wanted = [keys.Key(keys.user(user_id), entry.sk) for entry in entries[start : start + table.BATCH]]
        found = table.fetch(wanted)
        for key in wanted:
            if key in found:
                yield Example.model_validate_json(found[key].text)


def _session_ids(user_id: int) -> list[int]:
    return [keys.session_id_in(entry.sk) for entry in _index(user_id, keys.SESSIONS)]


def _session(view: View, examples: set[int]) -> SessionLine:
    models = view.models_document
    own = view.session.model_dump(exclude={"user_id"})
    return SessionLine(
        **own,
        active_at=keys.moment_in(view.session_document.string("activity")),
        settings=_settings(view.settings, examples),
        models=[
            ModelLine(
                session_model_id=model.session_model_id,
                model_name=model.model_name,
                is_primary=model.session_model_id == view.models.primary_id,
                generation_params=model.generation_params,
                chosen=model.chosen,
                runs=model.runs,
            )
            for model in view.models.models
        ],
        deleted_model_names=view.models.deleted_names,
        next_id=models.number("next_id"),
        last_answered_at=models.string("last"),
    )


def _settings(settings: StoredSettings, examples: set[int]) -> SettingsLine:
    return SettingsLine(
        created_at=settings.created_at,
        updated_at=settings.updated_at,
        style_preset=settings.style_preset,
        style_params=settings.style_params,
        generation_params=settings.generation_params,
        chosen=settings.chosen,
        agent_snapshot=settings.agent_snapshot,
        few_shot_links=[
            LinkLine(example_id=link.example_id, sort_order=link.sort_order, created_at=link.created_at)
            for link in settings.links
            if link.example_id in examples
        ],
    )


def _turns(user_id: int, session_id: int) -> Iterator[str]:
    """Those that have ended: what is under way is nothing yet."""
    for document in table.walk(keys.turns(user_id, session_id), backwards=False):
        status = TurnStatus(document.string("status"))
        if status not in _ENDED:
            continue
        turn = StoredTurn.model_validate_json(document.text)
        errors = document.string("errors") if "errors" in document.item else "[]"
        yield _line(
            TurnLine(
                turn_id=turn.turn_id,
                status=status,
                prompt_text=turn.prompt_text,
                created_at=turn.created_at,
                asked=[AskedLine(**asked.model_dump()) for asked in turn.asked],
                errors=_ERRORS.validate_json(errors),
                settings=TurnSettingsLine(**turn.settings.model_dump()),
            )
        )


def _responses(user_id: int, session_id: int, models: StoredModels) -> Iterator[str]:
    for document in table.walk(keys.responses(user_id, session_id), backwards=False):
        for response in live_responses([document], models):
            yield _line(ResponseLine(**response.model_dump(exclude={"session_id"})))
