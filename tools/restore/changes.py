"""State that must survive a restore, and items that a restore must not leave behind."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Final

from practice.events.messages import SweepSession
from practice.table import keys, part_keys
from practice.table.ids import SHARDS
from tools.deployed import Deployed
from tools.restore.items import Item, Key, item_at, number_in, scan, text_in, wire_key

AHEAD: Final = 1_000
"""Leases that are skipped after the last one of the old table, because requests may be running while it is read."""
AHEAD_BLINDLY: Final = 1_000_000
"""The same without the old table: 16 million sessions for each of eight counters, 1/2,147 of all ids."""


@dataclass(frozen=True)
class Change:
    says: str
    make: Callable[[], object]


def carry(deployed: Deployed, new: str, old: str | None) -> Iterator[Change]:
    """Changes that bring the new table up to date: ids, erasures, revocations, classes and agents."""
    dynamodb = deployed.client("dynamodb")
    yield from _counters(dynamodb, new, old)
    if old is None:
        return
    for item in scan(dynamodb, old, "#sk IN (:account, :class, :agent)", _CARRIED):
        if item["sk"]["S"] != "ACCOUNT":
            there = item_at(dynamodb, new, {"pk": item["pk"], "sk": item["sk"]})
            if there is None or text_in(there, "updated_at") < text_in(item, "updated_at"):
                yield _replacement(dynamodb, new, old, item, there or {})
            continue
        user_id = int(item["pk"]["S"].split("#")[1])
        there = item_at(dynamodb, new, wire_key(keys.account(user_id))) or {}
        yield from _revocations(dynamodb, new, user_id, item, there)
        moment = number_in(item, "erased_at")
        if moment > number_in(there, "erased_at") or "erasing" in there:
            yield _erasure(deployed, user_id, moment)


_CARRIED: Final = {":account": {"S": "ACCOUNT"}, ":class": {"S": "CLASS"}, ":agent": {"S": "AGENT"}}


def _counters(dynamodb: Any, new: str, old: str | None) -> Iterator[Change]:
    """A restored counter would assign ids a second time."""
    for shard in range(SHARDS):
        key = keys.id_block(shard)
        wire = wire_key(key)
        restored = number_in(item_at(dynamodb, new, wire) or {}, "next", 0)
        before = number_in(item_at(dynamodb, old, wire) or {}, "next", 0) if old else restored
        target = int(before) + (AHEAD if old else AHEAD_BLINDLY)
        if old and restored > before:
            continue  # advanced by an earlier run, and used since

        def move(wire: Key = wire, target: int = target) -> None:
            dynamodb.update_item(
                TableName=new,
                Key=wire,
                UpdateExpression="SET #next = :target",
                ConditionExpression="attribute_not_exists(#next) OR #next < :target",
                ExpressionAttributeNames={"#next": "next"},
                ExpressionAttributeValues={":target": {"N": str(target)}},
            )

        yield Change(f"counter {key.pk}: {restored:.0f} -> {target}", move)


def accounts(deployed: Deployed, table: str) -> Iterator[Change]:
    """Accounts that are still in the partition of their user's items: each moves to its own. Reads every key."""
    dynamodb = deployed.client("dynamodb")
    for item in scan(dynamodb, table, "#sk = :account", {":account": {"S": "ACCOUNT"}}):
        user_id = int(item["pk"]["S"].split("#")[1])
        if item["pk"]["S"] == keys.user(user_id):
            yield _moved(dynamodb, table, user_id, item)


def _moved(dynamodb: Any, table: str, user_id: int, item: Item) -> Change:
    kept = {name: value for name, value in item.items() if name not in ("pk", "sk")}
    counted = {name: kept.pop(name) for name in ("sessions", "examples") if name in kept}
    tokens = _tokens(item)
    kept.pop("revoked_tokens", None)
    added = counted | ({"revoked_tokens": {"SS": sorted(tokens)}} if tokens else {})
    set_to = ", ".join(f"#{name} = if_not_exists(#{name}, :{name})" for name in kept)
    add = ", ".join(f"#{name} :{name}" for name in added)
    update = {
        "TableName": table,
        "Key": wire_key(keys.account(user_id)),
        "UpdateExpression": " ".join(
            f"{word} {terms}" for word, terms in (("SET", set_to), ("ADD", add)) if terms
        ),
        "ExpressionAttributeNames": {f"#{name}": name for name in kept | added},
        "ExpressionAttributeValues": {f":{name}": value for name, value in (kept | added).items()},
    }
    delete = {
        "TableName": table,
        "Key": wire_key(keys.account_of_before(user_id)),
        "ConditionExpression": "attribute_exists(pk)",
    }

    def move() -> None:
        dynamodb.transact_write_items(TransactItems=[{"Update": update}, {"Delete": delete}])

    return Change(f"USER#{user_id}: account", move)


def _tokens(account: Item) -> set[str]:
    """With the moment of their revocation, which accounts in the partition of the items do not know."""
    is_of_before = not account["pk"]["S"].endswith("#ACCOUNT")
    return {f"0 {each}" if is_of_before else each for each in account.get("revoked_tokens", {}).get("SS", ())}


def _revocations(dynamodb: Any, new: str, user_id: int, item: Item, there: Item) -> Iterator[Change]:
    key = wire_key(keys.account(user_id))
    if number_in(item, "revoked_before") > number_in(there, "revoked_before"):

        def revoke() -> None:
            dynamodb.update_item(
                TableName=new,
                Key=key,
                UpdateExpression="SET #before = :before",
                ExpressionAttributeNames={"#before": "revoked_before"},
                ExpressionAttributeValues={":before": item["revoked_before"]},
            )

        yield Change(f"USER#{user_id}: tokens revoked by time", revoke)
    tokens = _tokens(item) - (_tokens(there) if there else set())
    if tokens:

        def add() -> None:
            dynamodb.update_item(
                TableName=new,
                Key=key,
                UpdateExpression="ADD #tokens :tokens",
                ExpressionAttributeNames={"#tokens": "revoked_tokens"},
                ExpressionAttributeValues={":tokens": {"SS": sorted(tokens)}},
            )

        yield Change(f"USER#{user_id}: {len(tokens)} tokens revoked by name", add)


def _replacement(dynamodb: Any, new: str, old: str, item: Item, there: Item) -> Change:
    """Writes the item with its parts and deletes old parts. Parts come first: they are read only through their item."""

    def put() -> None:
        parts = part_keys(item)
        for key in parts:
            part = item_at(dynamodb, old, wire_key(key))
            if part is None:
                raise SystemExit(f"{key.pk}: part {key.sk} is missing in {old}; try again")
            dynamodb.put_item(TableName=new, Item=part)
        dynamodb.put_item(TableName=new, Item=item)
        for key in part_keys(there):
            if key not in parts:
                dynamodb.delete_item(TableName=new, Key=wire_key(key))

    return Change(item["pk"]["S"], put)


def _erasure(deployed: Deployed, user_id: int, moment: float) -> Change:
    """Publishes the same event again; a consumer that already handled it reports superseded."""
    asked_at = datetime.fromtimestamp(moment, UTC).isoformat()
    entry = {
        "EventBusName": deployed.parameter("EventBusName"),
        "Source": deployed.parameter("CatalogueSource"),
        "DetailType": "UserErased",
        "Detail": json.dumps({"version": 1, "user_id": user_id, "updated_at": asked_at}),
    }

    def tell() -> None:
        answer = deployed.client("events").put_events(Entries=[entry])
        if answer["FailedEntryCount"]:
            raise SystemExit(f"the bus rejected the erasure of user {user_id}")

    return Change(f"USER#{user_id}: erased, requested at {asked_at}", tell)


def orphans(deployed: Deployed, table: str) -> Iterator[Change]:
    """Sessions with remaining items but without their own item: deleted and not yet swept. Reads every key."""
    dynamodb, sqs = deployed.client("dynamodb"), deployed.client("sqs")
    found = scan(
        dynamodb, table, "begins_with(#sk, :session)", {":session": {"S": "SESSION#"}}, keys_only=True
    )
    places = ((item["pk"]["S"], item["sk"]["S"]) for item in found)
    for (owner, session_id), group in groupby(places, lambda each: (each[0], keys.session_id_in(each[1]))):
        if any(sk.split("#")[2] == "5SESSION" for _, sk in group):
            continue
        sweep = SweepSession(user_id=int(owner.partition("#")[2]), session_id=session_id).model_dump_json()

        def send(body: str = sweep) -> None:
            sqs.send_message(QueueUrl=deployed.physical("SweepQueue"), MessageBody=body)

        yield Change(f"{owner} session {session_id}", send)
