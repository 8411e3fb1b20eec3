"""Copies the lost data of one user from a restored table into the live one."""

from collections.abc import Callable, Iterator
from typing import Any, Final

from practice.schemas.vote import StoredVote
from practice.store.tallies import Tallies
from practice.table import Document, keys
from practice.table.items import document_in, key_of, part_keys
from tools.restore.changes import Change
from tools.restore.items import Item, Key, item_at, of_user, wire_key

TRIES: Final = 20
"""For a vote whose counts others change at the same time."""


def user(dynamodb: Any, restored: str, live: str, user_id: int, only: frozenset[int]) -> Iterator[Change]:
    """Restores the user's sessions and examples that are missing in the live table.

    A session includes its selected examples. Each object is restored atomically: its own item is written last, in one
    transaction with the count of the account, and a vote in one with the counts of its class. Refuses an erased user, and a
    session whose sweep is still running.
    """
    wire = wire_key(keys.account(user_id))
    if "erased_at" in (item_at(dynamodb, live, wire) or {}):
        raise SystemExit("this user's data was erased at their request")
    there = [each["sk"]["S"] for each in of_user(dynamodb, live, user_id)]
    items = of_user(dynamodb, restored, user_id)
    sessions: dict[int, list[Item]] = {}
    examples: dict[int, Item] = {}
    for item in items:
        sk = item["sk"]["S"]
        if sk.startswith("SESSION#"):
            sessions.setdefault(keys.session_id_in(sk), []).append(item)
        elif sk.startswith("EXAMPLE#"):
            examples[keys.number_in(sk)] = item
    gone = {number for number in sessions if keys.session(user_id, number).sk not in there}
    wanted = gone & only if only else gone
    selected = {
        int(number)
        for session_id in wanted
        for item in sessions[session_id]
        for number in item.get("examples", {}).get("NS", ())
    }
    for number, item in examples.items():
        if keys.example(user_id, number).sk not in there and (not only or number in only | selected):
            yield Change(f"example {number}", _with_its_count(dynamodb, live, wire, "examples", item))
    for session_id in sorted(wanted):
        prefix = keys.session(user_id, session_id).sk.removesuffix("5SESSION")
        if any(sk.startswith(prefix) for sk in there):
            raise SystemExit(f"session {session_id} has remaining items: run `orphans`, then try again")
        *below, itself = _itself_last(sessions[session_id], prefix + "5SESSION")

        def bring(below: list[Item] = below, itself: Item = itself) -> None:
            for item in below:
                if keys.is_vote(item["sk"]["S"]):
                    _bring_vote(dynamodb, live, user_id, item)
                else:
                    dynamodb.put_item(TableName=live, Item=item)
            _with_its_count(dynamodb, live, wire, "sessions", itself)()

        yield Change(f"session {session_id}, {len(below)} items below it", bring)


def _bring_vote(dynamodb: Any, live: str, user_id: int, item: Item) -> None:
    """A vote that is there is counted, whenever this ends: a sweep of what remains takes it off the counts again."""
    put = {"TableName": live, "Item": item, "ConditionExpression": "attribute_not_exists(pk)"}
    document = document_in(item, {})
    vote = StoredVote.model_validate_json(document.text) if document and document.text else None
    if vote is None or vote.class_id is None:
        dynamodb.put_item(**put)
        return
    for tries_left in reversed(range(TRIES)):
        counts = Tallies(
            user_id,
            vote.class_id,
            _document_at(dynamodb, live, keys.user_votes(user_id, vote.class_id)),
            _document_at(dynamodb, live, keys.class_votes(vote.class_id)),
        ).writes_of_restored(vote)
        counted = [{each.action: {"TableName": live, **each.params}} for each in counts]
        try:
            dynamodb.transact_write_items(TransactItems=[{"Put": put}, *counted])
            return
        except dynamodb.exceptions.TransactionCanceledException:  # another learner voted in between
            if not tries_left:
                raise


def _document_at(dynamodb: Any, table: str, key: keys.Key) -> Document | None:
    item = item_at(dynamodb, table, wire_key(key))
    if item is None:
        return None
    parts = (item_at(dynamodb, table, wire_key(each)) for each in part_keys(item))
    return document_in(item, {key_of(each): each for each in parts if each})


def _itself_last(items: list[Item], sk: str) -> list[Item]:
    found = sorted(items, key=lambda item: bool(item["sk"]["S"] == sk))
    if found[-1]["sk"]["S"] != sk:
        raise SystemExit(f"{sk} was already deleted at that time")
    return found


def _with_its_count(dynamodb: Any, live: str, account: Key, name: str, item: Item) -> Callable[[], object]:
    counted = {
        "TableName": live,
        "Key": account,
        "UpdateExpression": "ADD #name :one",
        "ConditionExpression": "attribute_not_exists(#erased_at)",
        "ExpressionAttributeNames": {"#name": name, "#erased_at": "erased_at"},
        "ExpressionAttributeValues": {":one": {"N": "1"}},
    }
    put = {"TableName": live, "Item": item, "ConditionExpression": "attribute_not_exists(pk)"}
    return lambda: dynamodb.transact_write_items(TransactItems=[{"Put": put}, {"Update": counted}])
