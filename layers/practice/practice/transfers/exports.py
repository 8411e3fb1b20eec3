"""All of a user as NDJSON lines: examples, then session by session its settings, models, turns, responses and votes.

A line holds what is stored, unchecked: what was stored under other limits is exported too. `schemas/transfer_line.py` says
what an import accepts.
"""

from collections.abc import Iterator
from typing import Any

from pydantic_core import from_json, to_json

from practice import table
from practice.errors import SessionNotFound
from practice.limits import MAX_ID
from practice.runtime import clock
from practice.schemas.example import Example
from practice.schemas.rating import Rating
from practice.schemas.session_model import StoredModels
from practice.schemas.settings import StoredSettings
from practice.schemas.turn import StoredTurn, TurnStatus
from practice.store import accounts, usage_views
from practice.store.views import View, live_responses, read_view
from practice.store.withdrawals import stored
from practice.table import keys

_ENDED = (TurnStatus.DONE, TurnStatus.FAILED, TurnStatus.CANCELLED)


_TURN = StoredTurn.model_fields.keys() - {"session_id", "ancestry", "is_deleted", "reserved"}
_OF_DELETED = {"turn_id", "created_at", "after_turn_id"}
_OF_VOTE: dict[str, Any] = {
    **dict.fromkeys(("turn_id", "blind", "winner", "tie", "created_at", "updated_at"), True),
    "answers": {"__all__": {"label", "response_id"}},
}


def is_importing(user_id: int) -> bool:
    """Whether an import is at work, so that an export holds a part of it. One request."""
    account = accounts.read(user_id)
    return account is not None and "importing" in account.item


def header(*, is_complete: bool) -> str:
    return _line("practice-export", version=2, exported_at=clock.now(), is_complete=is_complete)


def lines(user_id: int, *, is_complete: bool = True) -> Iterator[str]:
    """JSON lines without their line ends, read as they are taken: one request for a hundred examples, two for a session, one
    more each for its ratings and votes if it may have any.

    Each session is as of the moment its own items are read: what is added to it afterwards has later ids and is left out.
    What is deleted meanwhile may be missing, never half there.
    """
    yield header(is_complete=is_complete)
    yield from _usage(user_id)
    examples: set[int] = set()
    for example in _examples(user_id):
        examples.add(example.example_id)
        yield _line("example", **example.model_dump(exclude={"user_id"}))
    for session_id in _session_ids(user_id):
        try:
            view = read_view(user_id, session_id, with_responses=False)
        except SessionNotFound:
            continue
        yield _line("session", **_session(view, examples))
        end = view.models_document.number("next_id")
        compared: set[int] = set()
        yield from _turns(user_id, session_id, end, compared)
        answers: set[int] = set()
        yield from _responses(user_id, session_id, end, view.models, answers)
        if compared:
            yield from _votes(user_id, session_id, compared, answers)


def _usage(user_id: int) -> Iterator[str]:
    """What models took, day by day. No import takes it over: a copy has used nothing."""
    for day in usage_views.all_days(user_id):
        yield _line("usage", **day.model_dump())


def _line(kind: str, **fields: Any) -> str:
    return to_json({"type": kind, **fields}).decode()


def _index(user_id: int, prefix: str) -> list[table.IndexRow]:
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


def _session(view: View, examples: set[int]) -> dict[str, Any]:
    models = view.models_document
    return {
        **view.session.model_dump(exclude={"user_id"}),
        "active_at": keys.moment_in(view.session_document.string("activity")),
        "settings": _settings(view.settings, examples),
        "models": [
            {
                **model.model_dump(exclude={"version"}),
                "is_primary": model.session_model_id == view.models.primary_id,
            }
            for model in view.models.models
        ],
        "deleted_model_names": view.models.deleted_names,
        "next_id": models.number("next_id"),
        "last_answered_at": models.string("last"),
    }


def _settings(settings: StoredSettings, examples: set[int]) -> dict[str, Any]:
    own = settings.model_dump(exclude={"setting_id", "session_id", "links", "version"})
    links = [link.model_dump(exclude={"id"}) for link in settings.links if link.example_id in examples]
    return {**own, "few_shot_links": links}


def _turns(user_id: int, session_id: int, end: int, compared: set[int]) -> Iterator[str]:
    """Those that have ended: of a turn under way the answers alone are there yet.

    Adds to `compared` those that asked several models.
    """
    for document in table.walk(keys.turns(user_id, session_id, end), backwards=False):
        status = TurnStatus(document.string("status"))
        if status not in _ENDED:
            continue
        turn = StoredTurn.model_validate_json(document.text)
        kept = _TURN if turn.ancestry else _TURN - {"after_turn_id"}
        if turn.is_deleted:
            yield _line("deleted_turn", **turn.model_dump(include=kept & _OF_DELETED))
            continue
        if len(turn.asked) > 1:
            compared.add(turn.turn_id)
        errors = from_json(document.string("errors")) if "errors" in document.item else []
        yield _line("turn", **turn.model_dump(include=kept), status=status, errors=errors)


def _responses(
    user_id: int, session_id: int, end: int, models: StoredModels, answers: set[int]
) -> Iterator[str]:
    """Each with its rating. Adds their ids to `answers`."""
    ratings = _ratings(user_id, session_id)
    rated_id, rating = 0, None
    for document in table.walk(keys.responses(user_id, session_id, end), backwards=False):
        for response in live_responses([document], models):
            answers.add(response.response_id)
            fields = response.model_dump(exclude={"session_id"})
            if "rated" in document.item:
                while rated_id < response.response_id:
                    rated_id, rating = next(ratings, (MAX_ID, None))
                if rated_id == response.response_id:
                    fields["rating"] = rating
            yield _line("response", **fields)


def _ratings(user_id: int, session_id: int) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """With the ids of their responses, in their order."""
    for document in table.walk(keys.ratings(user_id, session_id), backwards=False):
        rating = Rating.model_validate_json(document.text)
        yield rating.response_id, rating.model_dump(exclude={"response_id"})


def _votes(user_id: int, session_id: int, turns: set[int], answers: set[int]) -> Iterator[str]:
    """Those on turns and answers that are in the export. Others were cast meanwhile, or an answer was deleted."""
    for document in table.walk(keys.votes(user_id, session_id), backwards=False):
        vote = stored(document)
        if vote and vote.turn_id in turns and answers.issuperset(each.response_id for each in vote.answers):
            yield _line("vote", **vote.model_dump(include=_OF_VOTE))
