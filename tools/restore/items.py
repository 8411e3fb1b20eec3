"""Reads items of a table by its name."""

from collections.abc import Iterator, Mapping
from typing import Any

from practice.table import keys

Item = dict[str, Any]
Key = dict[str, Any]


def wire_key(key: keys.Key) -> Key:
    return {"pk": {"S": key.pk}, "sk": {"S": key.sk}}


def item_at(dynamodb: Any, table: str, key: Key) -> Item | None:
    item: Item | None = dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True).get("Item")
    return item


def of_user(dynamodb: Any, table: str, user_id: int) -> list[Item]:
    pages = dynamodb.get_paginator("query").paginate(
        TableName=table,
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": keys.user(user_id)}},
        ConsistentRead=True,
    )
    return [item for page in pages for item in page["Items"]]


def scan(
    dynamodb: Any, table: str, condition: str, values: Mapping[str, Any], *, keys_only: bool = False
) -> Iterator[Item]:
    """Reads the whole table, at half a read unit per 4 KB."""
    asked: dict[str, Any] = {
        "TableName": table,
        "FilterExpression": condition,
        "ExpressionAttributeNames": {"#sk": "sk"},
        "ExpressionAttributeValues": dict(values),
    }
    if keys_only:
        asked |= {"ProjectionExpression": "#pk, #sk", "ExpressionAttributeNames": {"#pk": "pk", "#sk": "sk"}}
    for page in dynamodb.get_paginator("scan").paginate(**asked):
        yield from page["Items"]


def number_in(item: Item, name: str, absent: float = -1.0) -> float:
    return float(item[name]["N"]) if name in item else absent


def text_in(item: Item, name: str) -> str:
    return str(item[name]["S"]) if name in item else ""
