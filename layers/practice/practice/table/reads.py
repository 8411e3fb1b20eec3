"""Reading the table: by key, by neighbourhood, and by the rows of an index. Always strongly consistent."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from practice.runtime.config import config
from practice.table.client import attempts, request
from practice.table.items import (
    Document,
    Item,
    Value,
    document_in,
    key_attributes,
    key_of,
    names_in,
    part_keys,
    text,
)
from practice.table.keys import Index, Key, Span

BATCH: Final = 100
"""Keys a BatchGetItem takes."""
ROWS: Final = 3_500
"""More than a page of 1 MB holds: 3,449 of the shortest responses. DynamoDB cuts a page by its bytes before it comes so far;
the engine of a laptop reads a range to its end, or to this, before it cuts."""


def fetch(keys: Iterable[Key]) -> dict[Key, Document]:
    """The documents that exist, each as of one moment; one request for every hundred keys (and one more for long texts).

    Strongly consistent. A document that is replaced between the request for it and the one for its parts is asked for again.
    """
    wanted = list(dict.fromkeys(keys))
    documents: dict[Key, Document] = {}
    if not wanted:
        return documents
    for _ in attempts():
        items = _items(wanted)
        parts = [key for item in items.values() for key in part_keys(item)]
        extra = _items(parts) if parts else {}
        torn = []
        for key, item in items.items():
            document = document_in(item, extra)
            if document is None:
                torn.append(key)
            else:
                documents[key] = document
        if not torn:
            break
        wanted = torn
    return documents


def get(key: Key) -> Document | None:
    """One document as of one moment. One request (one more for a long text)."""
    return fetch([key]).get(key)


def peek(key: Key, *attributes: str) -> Item | None:
    """Attributes of one item, without its document. One request."""
    return _items([key], ("sk", *attributes)).get(key)


def peek_all(keys: Iterable[Key], *attributes: str) -> dict[Key, Item]:
    """Attributes of several items, without their documents. One request for every hundred."""
    return _items(list(dict.fromkeys(keys)), ("pk", "sk", *attributes))


def fetch_in_order(keys: Sequence[Key], *attributes: str) -> Iterator[Document | None]:
    """A document for each key, None where there is none, asked for as they are taken; beside it the named attributes alone.
    No two keys have one sort key. One request for every hundred keys (more where they exceed 16 MB), and for each text in
    parts one more where `v` is among them, else two.
    """
    for start in range(0, len(keys), BATCH):
        batch = keys[start : start + BATCH]
        found: dict[Key, Item] = {}
        left: Sequence[Key] = list(dict.fromkeys(batch))
        tries = attempts()
        for key in batch:
            while key in left:
                next(tries)
                more, left = _some_items(left, (*_DOCUMENT, *attributes))
                found |= more
            item = found.get(key)
            if item is None:
                yield None
            else:
                yield _whole(item, {}) if "v" in item or "parts" not in item else get(key)


_DOCUMENT: Final = ("sk", "doc", "z", "parts")
"""All that a list needs of a document: a client takes its time by the attribute. The sort key gives the partition, and only
a document in parts needs its version, `v`, to be read."""


def _whole(item: Item, found: Mapping[Key, Item]) -> Document | None:
    """The document an item holds, its parts among `found` or asked for; None when it was deleted meanwhile."""
    key = key_of(item)
    return (
        document_in(item, found)
        or document_in(item, _items(part_keys(item)))
        or get(key)  # it was replaced between the two requests
    )


def _items(keys: Sequence[Key], attributes: Sequence[str] = ()) -> dict[Key, Item]:
    found: dict[Key, Item] = {}
    for start in range(0, len(keys), BATCH):
        left: Sequence[Key] = keys[start : start + BATCH]
        for _ in attempts():
            more, left = _some_items(left, attributes)
            found |= more
            if not left:
                break
    return found


def _some_items(keys: Sequence[Key], attributes: Sequence[str] = ()) -> tuple[dict[Key, Item], list[Key]]:
    """The items of one request, or those attributes of them; and the keys that it left unanswered."""
    table_name = config().table_name
    asked: dict[str, Any] = {"ConsistentRead": True, "Keys": [key_attributes(key) for key in keys]}
    if attributes:
        asked["ProjectionExpression"] = ", ".join(f"#{name}" for name in attributes)
        asked["ExpressionAttributeNames"] = {f"#{name}": name for name in attributes}
    answer = request("batch_get_item", {"RequestItems": {table_name: asked}})
    left = (answer.get("UnprocessedKeys") or {}).get(table_name, {}).get("Keys", [])
    items = answer["Responses"].get(table_name, [])
    if attributes:
        partitions = {key.sk: text(key.pk) for key in keys}
        for item in items:
            item.setdefault("pk", partitions[item["sk"]["S"]])
    return {key_of(item): item for item in items}, [key_of(each) for each in left]


_WITHIN: Final = "pk = :pk AND sk BETWEEN :first AND :last"


def _ends(span: Span) -> dict[str, Value]:
    return {":pk": text(span.pk), ":first": text(span.first), ":last": text(span.last)}


def _query(params: dict[str, Any]) -> dict[str, Any]:
    return request("query", {"TableName": config().table_name, **params})


class Found(NamedTuple):
    documents: list[Document]
    """In the order they were read."""
    next_sk: str | None
    """Where the next page starts (exclusive); None when the span is exhausted."""


def read(span: Span, *, backwards: bool = True, after: str | None = None, limit: int = ROWS) -> Found:
    """One strongly consistent Query: at most 1 MB of neighbouring items."""
    params: dict[str, Any] = {
        "KeyConditionExpression": _WITHIN,
        "ExpressionAttributeValues": _ends(span),
        "ScanIndexForward": not backwards,
        "ConsistentRead": True,
        "Limit": limit,
    }
    if after is not None:
        params["ExclusiveStartKey"] = key_attributes(Key(span.pk, after))
    answer = _query(params)
    items: list[Item] = answer["Items"]
    by_key = {key_of(item): item for item in items}
    documents: list[Document] = []
    for item in items:
        if "v" not in item:
            continue  # a part: its document gathers it
        document = _whole(item, by_key)
        if document is not None:
            documents.append(document)
    last = answer.get("LastEvaluatedKey")
    return Found(documents, last["sk"]["S"] if last else None)


def walk(span: Span, *, backwards: bool = True, limit: int = ROWS) -> Iterator[Document]:
    """All neighbouring items, a page asked for as it is reached.

    `limit` is that of the first page. Each next page may be twice as long, so that a long walk takes few requests.
    """
    after: str | None = None
    while True:
        found = read(span, backwards=backwards, after=after, limit=limit)
        yield from found.documents
        after = found.next_sk
        if after is None:
            return
        limit = min(2 * limit, ROWS)


def read_filtered(span: Span, condition: str, values: Mapping[str, Value]) -> Iterator[Document]:
    """Those of neighbouring items for which the condition holds, strongly consistent; one request for each megabyte."""
    params: dict[str, Any] = {
        "KeyConditionExpression": _WITHIN,
        "FilterExpression": condition,
        "ExpressionAttributeNames": names_in(condition),
        "ExpressionAttributeValues": {**_ends(span), **values},
        "ConsistentRead": True,
    }
    while True:
        answer = _query(params)
        for item in answer["Items"]:
            key = key_of(item)
            document = document_in(item, {}) or get(key)
            if document is not None:
                yield document
        if "LastEvaluatedKey" not in answer:
            return
        params["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


def read_keys(span: Span) -> list[Key]:
    """The keys of the first megabyte of neighbouring items, parts included; empty when there are none. One request."""
    params = {
        "KeyConditionExpression": _WITHIN,
        "ExpressionAttributeValues": _ends(span),
        "ProjectionExpression": "pk, sk",
        "ConsistentRead": True,
    }
    return [key_of(item) for item in _query(params)["Items"]]


_MOST_ROWS: Final = 2**31 - 1


class IndexRow(NamedTuple):
    """One row of a local index."""

    sk: str
    range_key: str


class IndexPage(NamedTuple):
    entries: list[IndexRow]
    more: bool


def read_index(
    index: Index,
    pk: str,
    prefix: str,
    *,
    backwards: bool,
    after: IndexRow | None = None,
    limit: int | None = None,
    equal: Mapping[str, Value] | None = None,
    containing: tuple[str, Value] | None = None,
    sk_of: Callable[[str], str] | None = None,
) -> IndexPage:
    """Rows of a local index, strongly consistent, keys only; where the range key contains the sort key, less is requested.

    One request for each megabyte (some 6,000 rows) until `limit` rows are found that match `equal` or hold `containing`.
    """
    names = {"#range": index.range_key}
    values: dict[str, Value] = {":pk": text(pk)} | ({":prefix": text(prefix)} if prefix else {})
    params: dict[str, Any] = {
        "IndexName": index.name,
        "KeyConditionExpression": "pk = :pk" + (" AND begins_with(#range, :prefix)" if prefix else ""),
        "ScanIndexForward": not backwards,
        "ConsistentRead": True,
        "ProjectionExpression": "#range" if sk_of else "sk, #range",
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": values,
    }
    if equal:
        params["FilterExpression"] = " AND ".join(f"#{name} = :{name}" for name in equal)
        names |= {f"#{name}": name for name in equal}
        values |= {f":{name}": value for name, value in equal.items()}
    elif containing:
        params["FilterExpression"] = f"contains(#{containing[0]}, :contained)"
        names[f"#{containing[0]}"] = containing[0]
        values[":contained"] = containing[1]
    elif limit is not None:
        params["Limit"] = min(limit + 1, _MOST_ROWS)
    if after is not None:
        params["ExclusiveStartKey"] = key_attributes(Key(pk, after.sk)) | {
            index.range_key: text(after.range_key)
        }
    rows: list[IndexRow] = []
    while True:
        answer = _query(params)
        for item in answer["Items"]:
            range_key = item[index.range_key]["S"]
            rows.append(IndexRow(sk_of(range_key) if sk_of else item["sk"]["S"], range_key))
        last = answer.get("LastEvaluatedKey")
        if limit is not None and len(rows) > limit:
            return IndexPage(rows[:limit], more=True)
        if last is None:
            return IndexPage(rows, more=False)
        params["ExclusiveStartKey"] = last
