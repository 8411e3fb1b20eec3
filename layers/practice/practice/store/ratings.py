"""Ratings of answers: put, read, delete.

A rating is an item beside its response. The response is marked as rated, so that deleting it deletes the rating with it.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Final

from practice import table
from practice.caller import Caller
from practice.errors import RatingNotFound, ResponseNotFound
from practice.runtime import clock
from practice.schemas.rating import NewRating, Rating
from practice.schemas.response import Response
from practice.schemas.session_model import StoredModels
from practice.store import accounts
from practice.store.views import live_responses
from practice.table import ExpectedVersions, Versioned, keys

MARK: Final = {"rated": table.flag(True)}
"""Of a response that has or had a rating."""


@table.optimistic
def put(caller: Caller, response_id: int, new: NewRating, expected: ExpectedVersions) -> Versioned[Rating]:
    """Two requests. Replaces the whole rating; an equal one changes nothing."""
    response, document = _read(caller.user_id, response_id)
    expected.check(document.version if document else 0)
    before = Rating.model_validate_json(document.text) if document else None
    now = clock.just_after(before.updated_at) if before else clock.now()
    after = Rating(
        response_id=response_id,
        score=new.score,
        tags=new.tags or [],
        comment=new.comment,
        created_at=before.created_at if before else now,
        updated_at=now,
    )
    if document and before:
        if after == before.model_copy(update={"updated_at": now}):
            return Versioned(before, document.version)
        table.write(*table.revise(document, after))
        return Versioned(after, document.version + 1)
    version = clock.version()  # not that of a rating that was deleted
    try:
        table.write(accounts.admitted(caller), *_insertion(caller.user_id, response, after, version))
    except table.ConditionFailed as failed:
        if failed.index == 0:
            raise accounts.count_refusal(failed) from None
        raise
    return Versioned(after, version)


def _insertion(user_id: int, response: Response, rating: Rating, version: int) -> list[table.Write]:
    """The rating, if its response, the model and the session are still there."""
    model = {":model": table.number(response.session_model_id)}
    return [
        table.check(keys.models(user_id, response.session_id), "contains(#live, :model)", model),
        table.update(
            keys.response(user_id, response.response_id),
            set_to=MARK,
            condition="attribute_exists(#of_model)",
        ),
        *item(user_id, response, rating, version),
    ]


def item(user_id: int, response: Response, rating: Rating, version: int = 1) -> list[table.Write]:
    """The rating alone; its response is to have `MARK`."""
    of_model = {"model": table.number(response.session_model_id)}
    return table.put(keys.rating(user_id, response.response_id), rating, version=version, attributes=of_model)


def get(caller: Caller, response_id: int) -> Versioned[Rating]:
    """One request."""
    _, document = _read(caller.user_id, response_id)
    if document is None:
        raise RatingNotFound
    return Versioned(Rating.model_validate_json(document.text), document.version)


def remove(caller: Caller, response_id: int, expected: ExpectedVersions) -> None:
    """Two requests. A rating missing on a retry was deleted by the first attempt (its acknowledgement was lost)."""
    for attempt in table.attempts():
        _, document = _read(caller.user_id, response_id)
        if document is None:
            if attempt:
                return
            raise RatingNotFound
        expected.check(document.version)
        try:
            table.write(table.delete_unchanged(document))
        except table.ConditionFailed:
            continue
        return


def remove_all(user_id: int, session_model_id: int) -> Iterator[None]:
    """The ratings of a deleted model's responses."""
    span = keys.ratings(user_id, keys.session_of(session_model_id))
    of_model = {":model": table.number(session_model_id)}
    found = table.read_filtered(span, "#model = :model", of_model)
    while some := list(islice(found, table.DELETIONS)):  # a rating has no parts
        table.delete_together([document.key for document in some])
        yield


def _read(user_id: int, response_id: int) -> tuple[Response, table.Document | None]:
    """The response and its rating. One request; raises ResponseNotFound."""
    key, rating_key = keys.response(user_id, response_id), keys.rating(user_id, response_id)
    models_key = keys.models(user_id, keys.session_of(response_id))
    found = table.fetch([key, rating_key, models_key])
    if key in found and models_key in found:
        models = StoredModels.model_validate_json(found[models_key].text)
        for response in live_responses([found[key]], models):
            return response, found.get(rating_key)
    raise ResponseNotFound
