"""Responses: kept under their session in the order of time, and found by their id alone."""

import hashlib
import time
from typing import Final, NamedTuple

from practice import table
from practice.caller import Caller
from practice.errors import ModelNotFound, ResponseNotFound, SessionFull, SessionNotFound
from practice.limits import PAGE_SIZE
from practice.runtime import clock
from practice.schemas.fields import same_json
from practice.schemas.page import SliceQuery
from practice.schemas.response import NewResponse, Response, ResponseChanges, ResponsePage
from practice.schemas.session_model import StoredModels
from practice.store import paging
from practice.store.idempotency import IdempotentAttempt
from practice.store.paging import Pager
from practice.store.views import is_live, live_responses, older_cursor
from practice.table import ExpectedVersions, Versioned, keys


class ReservedIds(NamedTuple):
    """Ids that a session has reserved, with their moment."""

    first_id: int
    created_at: str
    models: StoredModels


def add(
    caller: Caller, session_model_id: int, new: NewResponse, attempt: IdempotentAttempt
) -> Versioned[Response]:
    """Two requests: one reserves an id if the model exists, a transaction writes."""
    response = _with_reserved_id(caller.user_id, session_model_id, new)
    answer = Versioned(response, 1)
    try:
        attempt.commit(_insertion(caller.user_id, response), answer)
    except table.ConditionFailed:
        raise ModelNotFound from None
    return answer


INGESTED_SECONDS: Final = 30 * 24 * 3600
"""Longer than a queue keeps a message, its dead letters included."""


def ingest(user_id: int, session_model_id: int, new: NewResponse, dedup_id: str) -> bool:
    """Adds a response once for every `dedup_id`, however often it is asked to; False when it was there. Two requests.

    Raises NotFound for a model that is not the user's, or deleted, unless the response had been added before that.
    """
    key = keys.ingested(user_id, hashlib.sha256(dedup_id.encode()).hexdigest()[:32])
    try:
        response = _with_reserved_id(user_id, session_model_id, new)
        mark = {
            "response": table.number(response.response_id),
            "ttl": table.number(int(time.time()) + INGESTED_SECONDS),
        }
        marked = table.put_attributes(key, mark, condition="attribute_not_exists(#pk)", values={})
        table.write(marked, *_insertion(user_id, response))
    except table.ConditionFailed as failed:
        if failed.index == 0:
            return False
        raise ModelNotFound from None
    except (ModelNotFound, SessionFull):
        if table.fetch([key]):
            return False
        raise
    return True


def _with_reserved_id(user_id: int, session_model_id: int, new: NewResponse) -> Response:
    """With an id and a time of its session's."""
    place = reserve_ids(user_id, session_model_id, 1)
    model = place.models.by_id(session_model_id)
    assert model is not None
    return Response(
        response_id=place.first_id,
        session_model_id=session_model_id,
        session_id=keys.session_of(session_model_id),
        model_name=model.model_name,
        created_at=place.created_at,
        **{name: getattr(new, name) for name in NewResponse.model_fields},
    )


def _insertion(user_id: int, response: Response) -> list[table.Write]:
    """The response, if its model and its session are still there."""
    is_live = {":model": table.number(response.session_model_id)}
    return [
        table.check(keys.models(user_id, response.session_id), "contains(#live, :model)", is_live),
        touch_session(user_id, response.session_id, response.created_at),
        *table.put(keys.response(user_id, response.response_id), response, attributes=of_model(response)),
    ]


def reserve_ids(user_id: int, session_model_id: int, count: int) -> ReservedIds:
    """The next ids of a session with their moment: higher ids always get a later moment.

    So the order of ids is the order of `created_at`, and the table keeps responses sorted as they are shown. One request;
    more when a clock that is ahead wrote before. Raises NotFound when the model does not exist.
    """
    session_id = keys.session_of(session_model_id)
    now = clock.now()
    tries = table.attempts()
    while True:
        next(tries)
        try:
            document = table.write_returning(
                table.update(
                    keys.models(user_id, session_id),
                    set_to={"last": table.text(now)},
                    add={"next_id": count, "answered": count},
                    condition="contains(#live, :model) AND #last < :now AND #next_id <= :most",
                    values={
                        ":model": table.number(session_model_id),
                        ":now": table.text(now),
                        ":most": table.number(keys.end_of(session_id) - count),
                    },
                )
            )
        except table.ConditionFailed as failed:
            if failed.item is None or str(session_model_id) not in failed.item.get("live", {}).get("NS", ()):
                raise ModelNotFound from None
            if int(failed.item["next_id"]["N"]) > keys.end_of(session_id) - count:
                raise SessionFull from None
            now = clock.just_after(failed.item["last"]["S"])
            continue
        models = StoredModels.model_validate_json(document.text)
        return ReservedIds(document.number("next_id") - count, now, models)


def touch_session(user_id: int, session_id: int, now: str) -> table.Write:
    """Moves the session to the front of the list by activity, if it is still there."""
    return table.update(
        keys.session(user_id, session_id),
        set_to={"activity": table.text(keys.session_at(now, session_id))},
        condition="attribute_exists(#pk)",
    )


def of_model(response: Response) -> dict[str, table.Value | None]:
    return {"of_model": table.text(keys.of_model(response.session_model_id, response.response_id))}


def get(caller: Caller, response_id: int) -> Versioned[Response]:
    """One request."""
    document, response = read(caller, response_id)
    return Versioned(response, document.version)


def read(caller: Caller, response_id: int) -> tuple[table.Document, Response]:
    """The item and the response, in one request. Raises ResponseNotFound, also when its session or model was deleted."""
    key = keys.response(caller.user_id, response_id)
    models_key = keys.models(caller.user_id, keys.session_of(response_id))
    found = table.fetch([key, models_key])
    if key in found and models_key in found:
        models = StoredModels.model_validate_json(found[models_key].text)
        for response in live_responses([found[key]], models):
            return found[key], response
    raise ResponseNotFound


@table.optimistic
def change(
    caller: Caller, response_id: int, changes: ResponseChanges, expected: ExpectedVersions
) -> Versioned[Response]:
    """Two requests."""
    document, before = read(caller, response_id)
    expected.check(document.version)
    after = before.model_copy(update={name: getattr(changes, name) for name in changes.model_fields_set})
    if after == before and same_json(after.token_usage, before.token_usage):
        return Versioned(before, document.version)
    table.write(*table.revise(document, after))
    return Versioned(after, document.version + 1)


def page_of_session(caller: Caller, session_id: int, query: SliceQuery, pager: Pager) -> ResponsePage:
    """Two requests. Ascending; the newest without a cursor, `next_cursor` leads to the older ones."""
    before: int | None = None
    if query.cursor is not None:
        before = int(pager.position(query.cursor, "list_session_responses", session_id))
    models_key = keys.models(caller.user_id, session_id)
    document = table.get(models_key)
    if document is None:
        raise SessionNotFound
    models = StoredModels.model_validate_json(document.text)
    size = query.size or PAGE_SIZE
    span = keys.responses(caller.user_id, session_id, before)
    budget = pager.budget()
    newest_first: list[Response] = []
    model_ids = {model.session_model_id for model in models.models}
    for document in table.walk(span, limit=size + 1):
        if not is_live(document, model_ids):
            continue
        response = Response.model_validate_json(document.text)
        fits = budget.take(response.model_dump_json())
        if newest_first and (len(newest_first) == size or not fits):
            older = older_cursor(pager, session_id, newest_first[-1].response_id)
            return ResponsePage(items=newest_first[::-1], next_cursor=older)
        newest_first.append(response)
    return ResponsePage(items=newest_first[::-1], next_cursor=None)


def page_of_model(
    caller: Caller, session_model_id: int, query: SliceQuery, pager: Pager
) -> paging.Filled[Response]:
    """Two requests up to 99 responses: the index, then the items with the model. Oldest first."""
    order = paging.Order(
        "list_responses",
        keys.BY_MODEL,
        keys.of_model_prefix(session_model_id),
        keys.response,
        backwards=False,
    )
    rows = paging.rows(caller.user_id, pager, order, query.size, cursor=query.cursor)
    models_key = keys.models(caller.user_id, keys.session_of(session_model_id))
    document, items = paging.items(rows, Response, models_key, "v")
    if document is None or not StoredModels.model_validate_json(document.text).by_id(session_model_id):
        raise ModelNotFound
    return paging.fill(rows, items)
