"""Deleting a response, with its vote, its rating and its place among the answers of its turn."""

from practice import table
from practice.caller import Caller
from practice.errors import ResponseNotFound
from practice.store import deleted_answers, responses, withdrawals
from practice.table import ExpectedVersions, keys


def remove(caller: Caller, response_id: int, expected: ExpectedVersions) -> None:
    """Two requests; two more when its turn has a vote, which goes with it, like its rating.

    A response missing on a retry was deleted by the first attempt (its acknowledgement was lost).
    """
    user_id = caller.user_id
    has_vote = False
    for attempt in table.attempts():
        try:
            document, response = responses.read(caller, response_id)
        except ResponseNotFound:
            if attempt:
                return
            raise
        expected.check(document.version)
        writes = _removal(user_id, document)
        if "after" in document.item:
            row = keys.turn_after(user_id, document.number("after"), document.number("turn"))
            gone = {deleted_answers.GONE: deleted_answers.entries(document)}
            writes.append(table.remove_from_set(row, "models", [str(response.session_model_id)], added=gone))
        try:
            if "turn" in document.item:
                turn_id = document.number("turn")
                writes += (
                    withdrawals.withdrawal_of(user_id, turn_id)
                    if has_vote
                    else [withdrawals.no_vote(user_id, turn_id)]
                )
            table.write(*writes)
        except table.ConditionFailed as failed:
            has_vote = has_vote or keys.is_vote(writes[failed.index].key.sk)
            continue
        return


def _removal(user_id: int, document: table.Document) -> list[table.Write]:
    """The response with its parts and its rating, as it was read."""
    parts = [table.delete(key) for key in table.part_keys(document.item)]
    was = {":was": table.number(document.version)}
    if "rated" in document.item:
        rating = keys.rating(user_id, keys.number_in(document.key.sk))
        return [table.delete(document.key, "#v = :was", was), *parts, table.delete(rating)]
    return [table.delete(document.key, "#v = :was AND attribute_not_exists(#rated)", was), *parts]
