"""Sessions: open, read, list, change, delete."""

from typing import NamedTuple

from practice import table
from practice.caller import Caller
from practice.errors import ClassIdRequired, NotFound, SessionNotFound
from practice.limits import EXPANDED_PAGE_SIZE, PAGE_SIZE
from practice.runtime import clock
from practice.schemas import generation
from practice.schemas.catalogue import PracticeClass
from practice.schemas.fields import same_json
from practice.schemas.session import (
    Expansion,
    NewSession,
    OwnSession,
    Session,
    SessionChanges,
    SessionFields,
    SessionPage,
    SessionsQuery,
    SessionWithResponses,
    SessionWithSettings,
    Sort,
)
from practice.schemas.session_model import StoredModel, StoredModels
from practice.schemas.settings import StoredSettings
from practice.store import accounts, catalogue, paging
from practice.store.classes import (
    NO_NEW_RESPONSE,
    no_new_response_values,
    revise_models,
    sync_with_class,
    unchanged_checks,
)
from practice.store.idempotency import IdempotentAttempt
from practice.store.paging import Pager
from practice.store.settings import link_index_attributes, next_version
from practice.store.views import View, embedded, linked_examples, read_view, settings_of, wire_session
from practice.table import ExpectedVersions, Versioned, ids, keys


def create(caller: Caller, new: NewSession, attempt: IdempotentAttempt) -> Versioned[Session]:
    """Two requests: the class with the agent, and the transaction that writes everything."""
    opened = new_session(caller, new)
    session, settings, models = opened.session, opened.settings, opened.models
    whole = Session(
        **session.model_dump(), settings=settings_of(settings, {}), responses=[], responses_next_cursor=None
    )
    answer = Versioned(whole, 1)
    writes = insertion(caller, session, settings, models, next_id=first_free_id(settings, models))
    try:
        attempt.commit(writes, answer)
    except table.ConditionFailed as failed:
        if failed.index == 0:
            raise accounts.count_refusal(failed) from None
        raise
    return answer


class Opened(NamedTuple):
    """A session before it is written, and its class if that was announced."""

    session: OwnSession
    settings: StoredSettings
    models: StoredModels
    practice_class: PracticeClass | None


def new_session(caller: Caller, new: NewSession) -> Opened:
    """A session as it begins, with the models of its class. One request: the class with the agent."""
    announced = catalogue.look_up(new.class_id, new.agent_id)
    snapshot = announced.snapshot(caller, new.class_id)
    if not new.class_id:
        raise ClassIdRequired
    names = announced.runnable_names()
    session_id = ids.new_session_id()
    now = clock.now()
    session = OwnSession(
        session_id=session_id,
        user_id=caller.user_id,
        created_at=now,
        updated_at=now,
        **_stored(new, set(_FIELDS)),
    )
    settings = StoredSettings(
        setting_id=session_id + 1,
        session_id=session_id,
        created_at=now,
        updated_at=now,
        generation_params=dict(generation.DEFAULTS),
        agent_snapshot=snapshot,
    )
    first_id = session_id + 2
    models = StoredModels(
        primary_id=first_id,
        models=[
            StoredModel(
                session_model_id=model_id, model_name=name, generation_params=settings.generation_params
            )
            for model_id, name in enumerate(names, first_id)
        ],
    )
    return Opened(session, settings, models, announced.practice_class)


def first_free_id(settings: StoredSettings, models: StoredModels) -> int:
    """After those of a new session's settings and models."""
    return settings.setting_id + 1 + len(models.models)


def insertion(
    caller: Caller,
    session: OwnSession,
    settings: StoredSettings,
    models: StoredModels,
    next_id: int,
    *,
    active_at: str | None = None,
    answered: int = 0,
    last_answered_at: str | None = None,
) -> list[table.Write]:
    """All of the session, and its count: the count is the first of the transaction's writes."""
    created = table.text(keys.session_at(session.created_at, session.session_id))
    activity = table.text(keys.session_at(active_at or session.created_at, session.session_id))
    session_attributes = {"created": created, "activity": activity, **filters(session)}
    models_attributes = {
        "next_id": table.number(next_id),
        "last": table.text(last_answered_at or session.created_at),
        "answered": table.number(answered) if answered else None,
        "live": table.numbers(model.session_model_id for model in models.models),
    }
    user_id, session_id = caller.user_id, session.session_id
    return [
        accounts.count_write(caller, "sessions", 1),
        *table.put(keys.session(user_id, session_id), session, attributes=session_attributes),
        *table.put(keys.settings(user_id, session_id), settings, attributes=link_index_attributes(settings)),
        *table.put(keys.models(user_id, session_id), models, attributes=models_attributes),
    ]


_ORDERS = {
    Sort.CREATED: paging.Order("sessions", keys.BY_CREATED, keys.SESSIONS, keys.session),
    Sort.ACTIVITY: paging.Order("sessions by activity", keys.BY_ACTIVITY, keys.SESSIONS, keys.session),
}


def page(caller: Caller, query: SessionsQuery, pager: Pager) -> SessionPage:
    """The index, then the items and the total in one batch: two requests up to 99 sessions, whatever the depth.

    With `expand`, one request for each session instead, and one for its examples.
    """
    size = query.size or (EXPANDED_PAGE_SIZE if query.expand else PAGE_SIZE)
    equal = {"class_id": _number(query.class_id), "project_id": _number(query.project_id)}
    is_filtered = query.class_id is not None or query.project_id is not None
    rows = paging.rows(
        caller.user_id,
        pager,
        _ORDERS[query.sort],
        size,
        page=query.page,
        cursor=query.cursor,
        equal=equal,
    )
    account_key = keys.account(caller.user_id)
    filled: paging.Filled[OwnSession]
    if query.expand:
        account = table.get(account_key)
        filled = paging.fill(
            rows, ((entry, _expanded(caller, entry, query.expand, pager)) for entry in rows.entries)
        )
    else:
        account, items = paging.items(rows, OwnSession, account_key, "sessions")
        filled = paging.fill(rows, items)
    return SessionPage(
        items=filled.items,
        total=rows.total if is_filtered else accounts.total(account, "sessions"),
        page=rows.page,
        size=size,
        next_cursor=filled.next_cursor,
    )


def _expanded(
    caller: Caller, entry: table.IndexRow, wanted: frozenset[Expansion], pager: Pager
) -> OwnSession | None:
    with_responses = Expansion.RESPONSES in wanted
    try:
        view = read_view(caller.user_id, keys.session_id_in(entry.sk), with_responses=with_responses)
    except NotFound:
        return None  # deleted since the index was read
    own = view.session.model_dump()
    if Expansion.SETTINGS not in wanted:
        budget = pager.budget()
        budget.spend(view.session.model_dump_json())
        responses, older = embedded(view, budget, pager)
        return SessionWithResponses(**own, responses=responses, responses_next_cursor=older)
    if with_responses:
        return wire_session(caller.user_id, view, pager)
    examples = linked_examples(caller.user_id, (link.example_id for link in view.settings.links))
    return SessionWithSettings(**own, settings=settings_of(view.settings, examples))


def _number(value: int | None) -> table.Value | None:
    return None if value is None else table.number(value)


@table.optimistic
def change(
    caller: Caller,
    session_id: int,
    changes: SessionChanges,
    expected: ExpectedVersions,
    pager: Pager,
    *,
    with_responses: bool,
) -> Versioned[Session]:
    """What `get` asks for and one conditional update; a class or a new agent is looked up, with one request more."""
    view = read_view(caller.user_id, session_id, with_responses=with_responses)
    before = view.session
    version = view.session_document.version
    changed = before.model_copy(update=_stored(changes, changes.model_fields_set))
    named_class = changed.class_id if "class_id" in changes.model_fields_set else None
    new_agent = changed.agent_id if changed.agent_id != before.agent_id else None
    announced = catalogue.NOTHING_ANNOUNCED
    if named_class or new_agent:
        announced = catalogue.look_up(named_class, new_agent)
    snapshot = view.settings.agent_snapshot
    if changed.agent_id != before.agent_id:
        snapshot = announced.snapshot(caller, changed.class_id)
    expected.check(version)
    writes: list[table.Write] = []
    if changed != before:
        version += 1
        changed.updated_at = clock.just_after(max(before.updated_at, view.settings.updated_at))
        writes += _revision(view, changed, if_no_new_response=named_class is not None)
    view.session = changed
    if not same_json(snapshot, view.settings.agent_snapshot):
        taken = view.settings.model_copy(update={"agent_snapshot": snapshot})
        view.settings = next_version(taken, changed.updated_at)
        writes += table.revise(view.settings_document, view.settings)
    if named_class:
        written = {write.key for write in writes}
        models = sync_with_class(caller.user_id, view, announced.model_names())
        writes += revise_models(view.models_document, view.models, models)
        writes += unchanged_checks(view, models, written=written)
    if writes:
        table.write(*writes)
    return Versioned(wire_session(caller.user_id, view, pager), version)


def _revision(view: View, changed: OwnSession, *, if_no_new_response: bool) -> list[table.Write]:
    activity = table.text(keys.session_at(changed.updated_at, changed.session_id))
    return table.revise(
        view.session_document,
        changed,
        condition=NO_NEW_RESPONSE if if_no_new_response else "",
        values=no_new_response_values(view) if if_no_new_response else None,
        attributes={"activity": activity, **filters(changed)},
    )


def remove(caller: Caller, session_id: int, expected: ExpectedVersions) -> None:
    """One transaction takes the session, its settings and its models, and with them everything below out of sight.

    The responses are swept afterwards by the table's stream, however many there are.
    """
    if expected.versions is not None:
        _remove_version(caller, session_id, expected)
        return
    try:
        table.write(*_removal(caller, session_id, "attribute_exists(#pk)", {}))
    except table.ConditionFailed:
        raise SessionNotFound from None


@table.optimistic
def _remove_version(caller: Caller, session_id: int, expected: ExpectedVersions) -> None:
    key = keys.session(caller.user_id, session_id)
    document = table.get(key)
    if document is None:
        raise SessionNotFound
    expected.check(document.version)
    table.write(*_removal(caller, session_id, "#v = :was", {":was": table.number(document.version)}))


def _removal(
    caller: Caller, session_id: int, condition: str, values: dict[str, table.Value]
) -> list[table.Write]:
    return [
        table.delete(keys.session(caller.user_id, session_id), condition, values),
        table.delete(keys.settings(caller.user_id, session_id)),
        table.delete(keys.models(caller.user_id, session_id)),
        table.update(keys.account(caller.user_id), add={"sessions": -1}),
    ]


_FIELDS = SessionFields.model_fields


def _stored(fields: SessionFields, names: set[str]) -> dict[str, object]:
    """The client's fields as they are kept: no knowledge is an empty list."""
    given = {name: getattr(fields, name) for name in _FIELDS if name in names}
    if "knowledge_ids" in given:
        given["knowledge_ids"] = given["knowledge_ids"] or []
    return given


def filters(session: OwnSession) -> dict[str, table.Value | None]:
    """What the index needs to know to filter a list."""
    return {"class_id": _number(session.class_id), "project_id": _number(session.project_id)}
