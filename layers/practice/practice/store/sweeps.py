"""Removing what a delete left behind.

Every delete of the API is complete for its readers at once; these remove the items below it. Each yields after a bounded
piece of work, may stop there or die anywhere, and finds what is left when it is begun again. What they read, strongly
consistent, is all there is: whatever is written below a session, a model or an example is written in a transaction that
checks that its parent exists, so nothing is added after the delete.
"""

from collections.abc import Iterator, Sequence

from practice import table
from practice.schemas.session_model import StoredModels
from practice.schemas.turn import IN_PROGRESS, StoredTurn, TurnStatus
from practice.store import deleted_answers, ratings, withdrawals
from practice.store.reservations import note_usage_of_deleted
from practice.store.settings import unlink
from practice.table import keys


class NotDeletedYet(Exception):
    """The object to sweep was not deleted. Ids are never reused, so the message is wrong."""


def session(user_id: int, session_id: int) -> Iterator[None]:
    """Everything under a deleted session, its own parts included. Its votes are taken off all counts."""
    _require_deleted(keys.session(user_id, session_id))
    yield from withdrawals.remove_all(user_id, session_id)
    note_usage_of_deleted(user_id, session_id)
    while found := table.read_keys(keys.everything_in(user_id, session_id)):
        yield from _deleted(found)


def model(user_id: int, session_model_id: int) -> Iterator[None]:
    """The responses of a deleted model, their ratings and the votes on them.

    Parts of responses follow, each when the stream shows the deletion of its response.
    """
    session_id = keys.session_of(session_model_id)
    models_key = keys.models(user_id, session_id)
    models = table.get(models_key)
    if models and StoredModels.model_validate_json(models.text).by_id(session_model_id):
        raise NotDeletedYet
    yield from withdrawals.withdraw_all(user_id, session_model_id)
    yield from ratings.remove_all(user_id, session_model_id)
    yield from _delete_awaited_answers(user_id, session_id, session_model_id)
    while True:
        found = table.read_index(
            keys.BY_MODEL,
            keys.user(user_id),
            keys.of_model_prefix(session_model_id),
            backwards=False,
            limit=table.BATCH,
        )
        yield from _deleted([keys.Key(models_key.pk, entry.sk) for entry in found.entries])
        if not found.more:
            return


def _delete_awaited_answers(user_id: int, session_id: int, session_model_id: int) -> Iterator[None]:
    """Where turns under way would put the model's answer, which no check of theirs keeps from coming.

    What an answer took that came counts with its turn.
    """
    span = keys.turns(user_id, session_id)
    under_way = {f":status{n}": table.text(status) for n, status in enumerate(IN_PROGRESS)}
    for document in table.read_filtered(span, f"#status IN ({', '.join(under_way)})", under_way):
        turn = StoredTurn.model_validate_json(document.text)
        for asked in turn.asked:
            if asked.session_model_id == session_model_id:
                try:
                    table.write(
                        table.delete(keys.response(user_id, asked.response_id), "#v = :empty", _EMPTY)
                    )
                except table.ConditionFailed:  # filled, and found below by its model; or deleted
                    place = keys.turn_after(user_id, turn.after_turn_id, turn.turn_id)
                    deleted_answers.note(user_id, asked.response_id, place)
                yield


_EMPTY = {":empty": table.number(0)}


def turns(user_id: int, turn_ids: Sequence[int]) -> Iterator[None]:
    """Empties settled turns without any answer or error left: of each only its place among the turns stays.

    One request for a hundred turns and one for a hundred answers that they had; one for each that is emptied.
    """
    found = table.fetch(keys.turn(user_id, turn_id) for turn_id in turn_ids)
    settled = [
        (each, StoredTurn.model_validate_json(each.text))
        for each in found.values()
        if _ended_without_error(each)
    ]
    left = table.peek_all(
        keys.response(user_id, asked.response_id) for _, turn in settled for asked in turn.asked
    )
    for document, turn in settled:
        if turn.is_deleted or any(keys.response(user_id, asked.response_id) in left for asked in turn.asked):
            continue
        among_siblings = table.delete(keys.turn_after(user_id, turn.after_turn_id, turn.turn_id))
        try:
            table.write(*table.revise(document, turn.emptied()), among_siblings)
        except table.ConditionFailed:
            continue  # deleted with its session, or emptied by another delivery
        yield


def _ended_without_error(document: table.Document) -> bool:
    return (
        document.string("status") == TurnStatus.DONE
        and document.item.get("errors", {}).get("S", "[]") == "[]"
    )


def example_links(user_id: int, example_id: int) -> Iterator[None]:
    """The links to a deleted example, in every selection of its owner."""
    _require_deleted(keys.example(user_id, example_id))
    selections = table.read_index(
        keys.BY_LINKING,
        keys.user(user_id),
        "",
        backwards=False,
        containing=("examples", table.number(example_id)),
    )
    for selection in selections.entries:
        unlink(user_id, keys.session_id_in(selection.sk), example_id)
        yield


def parts(key: keys.Key, version: int, count: int) -> Iterator[None]:
    """The parts of a deleted document, all in one piece: progress is recorded nowhere."""
    _require_deleted(key)
    for _ in _deleted(table.parts_of(key, version, count)):
        pass
    yield from ()


def _require_deleted(key: keys.Key) -> None:
    if table.fetch([key]):
        raise NotDeletedYet


def _deleted(found: Sequence[keys.Key]) -> Iterator[None]:
    for start in range(0, len(found), table.DELETIONS):
        table.delete_together(found[start : start + table.DELETIONS])
        yield
