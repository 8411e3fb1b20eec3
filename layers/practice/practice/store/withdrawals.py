"""Withdrawing votes: by their user, and with an answer, a model, a session or a user that is deleted.

Each is one transaction that takes the vote off all counts too.
"""

from collections.abc import Iterator

from practice import table
from practice.schemas.vote import StoredVote
from practice.store.tallies import Tallies
from practice.table import keys


def stored(document: table.Document | None) -> StoredVote | None:
    return StoredVote.model_validate_json(document.text) if document and document.text else None


def counting(user_id: int, before: StoredVote | None, after: StoredVote | None) -> list[table.Write]:
    """The counts that change with the vote. One request, none without a class. Its class never changes."""
    votes = [vote for vote in (after, before) if vote]
    class_id = next((vote.class_id for vote in votes), None)
    if class_id is None:
        return []
    is_imported = all(vote.imported for vote in votes)
    return Tallies.read(user_id, class_id, is_imported=is_imported).writes(before, after)


def withdrawal(user_id: int, document: table.Document, vote: StoredVote) -> list[table.Write]:
    """One request, for the counts."""
    emptied = table.update(
        document.key,
        set_to=dict.fromkeys(("doc", "z")),
        add={"v": 1},
        condition="#v = :was",
        values={":was": table.number(document.version)},
    )
    return [emptied, *counting(user_id, vote, None)]


def no_vote(user_id: int, turn_id: int) -> table.Write:
    """For the transaction that deletes an answer of a turn without a vote."""
    return table.check(keys.vote(user_id, turn_id), "attribute_not_exists(#doc) AND attribute_not_exists(#z)")


def withdrawal_of(user_id: int, turn_id: int) -> list[table.Write]:
    """For the same of a turn with a vote: the vote goes with any of its answers. Two requests."""
    document = table.get(keys.vote(user_id, turn_id))
    vote = stored(document)
    if document is None or vote is None:
        return [no_vote(user_id, turn_id)]
    return withdrawal(user_id, document, vote)


def removal(user_id: int, key: keys.Key) -> list[table.Write]:
    """Deletes the item of a vote, and takes the vote off all counts; nothing when it is gone. Two requests."""
    document = table.get(key)
    if document is None:
        return []
    return [table.delete_unchanged(document), *counting(user_id, stored(document), None)]


def remove_all(user_id: int, session_id: int) -> Iterator[None]:
    """The votes of a deleted session."""
    for document in table.walk(keys.votes(user_id, session_id)):
        if document.text:
            _remove(user_id, document.key)
            yield


@table.optimistic
def _remove(user_id: int, key: keys.Key) -> None:
    writes = removal(user_id, key)
    if writes:
        table.write(*writes)


def withdraw_all(user_id: int, session_model_id: int) -> Iterator[None]:
    """The votes on answers of a deleted model."""
    for document in table.walk(keys.votes(user_id, keys.session_of(session_model_id))):
        if _names(stored(document), session_model_id):
            _withdraw_of(user_id, document.key, session_model_id)
            yield


@table.optimistic
def _withdraw_of(user_id: int, key: keys.Key, session_model_id: int) -> None:
    document = table.get(key)
    vote = stored(document)
    if document and vote and _names(vote, session_model_id):
        table.write(*withdrawal(user_id, document, vote))


def _names(vote: StoredVote | None, session_model_id: int) -> bool:
    return vote is not None and any(each.session_model_id == session_model_id for each in vote.answers)
