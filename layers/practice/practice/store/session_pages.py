"""The list of a user's sessions."""

from practice import keys, table
from practice.answers import Room
from practice.auth import Caller
from practice.errors import NotFound
from practice.limits import EXPANDED_PAGE_SIZE, PAGE_SIZE
from practice.models.session import OwnSession
from practice.models.session_page import (
    Expansion,
    SessionPage,
    SessionsQuery,
    SessionWithResponses,
    SessionWithSettings,
    Sort,
)
from practice.store import accounts, lists
from practice.store.views import embedded, linked_examples, read_view, settings_of, wire_session

_ORDERS = {
    Sort.CREATED: lists.Order("sessions", "by_created", "created", "SESSION#", keys.session),
    Sort.ACTIVITY: lists.Order("sessions by activity", "by_activity", "activity", "SESSION#", keys.session),
}


def page(caller: Caller, query: SessionsQuery) -> SessionPage:
    """The index, then the items and the total in one batch: two requests up to 99 sessions, whatever the depth.

    With `expand`, one request for each session instead, and one for its examples.
    """
    size = query.size or (EXPANDED_PAGE_SIZE if query.expand else PAGE_SIZE)
    equal = {"class_id": _number(query.class_id), "project_id": _number(query.project_id)}
    is_filtered = query.class_id is not None or query.project_id is not None
    rows = lists.rows(caller, _ORDERS[query.sort], size, page=query.page, cursor=query.cursor, equal=equal)
    account_key = keys.account(caller.user_id)
    filled: lists.Filled[OwnSession]
    if query.expand:
        account = table.fetch([account_key]).get(account_key)
        filled = lists.fill(rows, ((entry, _expanded(caller, entry, query.expand)) for entry in rows.entries))
    else:
        account, items = lists.items(rows, OwnSession, account_key, "sessions")
        filled = lists.fill(rows, items)
    return SessionPage(
        items=filled.items,
        total=rows.total if is_filtered else accounts.total(account, "sessions"),
        page=rows.page,
        size=size,
        next_cursor=filled.next_cursor,
    )


def _expanded(caller: Caller, entry: table.Entry, wanted: frozenset[Expansion]) -> OwnSession | None:
    with_responses = Expansion.RESPONSES in wanted
    try:
        view = read_view(caller.user_id, keys.session_id_in(entry.sk), with_responses=with_responses)
    except NotFound:
        return None  # deleted since the index was read
    own = view.session.model_dump()
    if Expansion.SETTINGS not in wanted:
        room = Room()
        room.spend(view.session.model_dump_json())
        responses, older = embedded(caller, view, room)
        return SessionWithResponses(**own, responses=responses, responses_next_cursor=older)
    if with_responses:
        return wire_session(caller, view)
    examples = linked_examples(caller.user_id, (link.example_id for link in view.settings.links))
    return SessionWithSettings(**own, settings=settings_of(view.settings, examples))


def _number(value: int | None) -> table.Value | None:
    return None if value is None else table.number(value)
