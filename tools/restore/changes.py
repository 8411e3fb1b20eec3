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
        there = item_at(dynamodb, new, {"pk": item["pk"], "sk": item["sk"]})
        if item["sk"]["S"] != "ACCOUNT":
            if there is None or text_in(there, "updated_at") < text_in(item, "updated_at"):
                yield _replacement(dynamodb, new, old, item, there or {})
            continue
        yield from _revocations(dynamodb, new, item, there or {})
        moment = number_in(item, "erased_at")
        if moment > number_in(there or {}, "erased_at") or "erasing" in (there or {}):
            yield _erasure(deployed, int(item["pk"]["S"].partition("#")[2]), moment)


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


def _revocations(dynamodb: Any, new: str, item: Item, there: Item) -> Iterator[Change]:
    key = {"pk": item["pk"], "sk": item["sk"]}
    if number_in(item, "revoked_before") > number_in(there, "revoked_before"):

        def revoke() -> None:
            dynamodb.update_item(
                TableName=new,
                Key=key,
                UpdateExpression="SET #before = :before",
                ExpressionAttributeNames={"#before": "revoked_before"},
                ExpressionAttributeValues={":before": item["revoked_before"]},
            )

        yield Change(f"{item['pk']['S']}: tokens revoked by time", revoke)
    tokens = set(item.get("revoked_tokens", {}).get("SS", ())) - set(
        there.get("revoked_tokens", {}).get("SS", ())
    )
    if tokens:

        def add() -> None:
            dynamodb.update_item(
                TableName=new,
                Key=key,
                UpdateExpression="ADD #tokens :tokens",
                ExpressionAttributeNames={"#tokens": "revoked_tokens"},
                ExpressionAttributeValues={":tokens": {"SS": sorted(tokens)}},
            )

        yield Change(f"{item['pk']['S']}: {len(tokens)} tokens revoked by name", add)


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
