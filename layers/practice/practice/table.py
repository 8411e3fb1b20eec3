"""The table: documents in, documents out, and what a request to it costs.

An item of ours is a key, a version `v`, and one JSON document: as text in `doc`, compressed in `z` when it is long, and in
`parts` neighbouring items when even that does not fit. A JSON text comes back exactly as it went in, whatever numbers are
in it, and is one attribute to parse where a native map would be dozens. Beside it stand only the attributes that an index
or a condition needs. Nothing outside this module and `store/` sees an attribute value.
"""

import base64
import os
import random
import re
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from botocore.config import Config as ClientConfig
from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnection
from pydantic import BaseModel

from practice import aws
from practice.config import config
from practice.errors import StorageFull, StoreUnavailable
from practice.keys import Key, Span, part
from practice.limits import KB

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient

Value = dict[str, Any]
"""An attribute value as DynamoDB spells it: `{"S": "text"}`."""
Item = dict[str, Value]

COMPRESSED_ABOVE: Final = 4 * KB
PART_BYTES: Final = 350 * KB
"""An item may have 400 KB, its keys and attribute names included."""
BATCH: Final = 100
"""Keys a BatchGetItem takes."""
DELETIONS: Final = 25
"""Items a BatchWriteItem takes."""
ROWS: Final = 3_500
"""More than a page of 1 MB holds: 3,449 of the shortest responses. DynamoDB cuts a page by its bytes before it comes so far;
the engine of a laptop reads a range to its end, or to this, before it cuts."""

PATIENCE_SECONDS: Final = 8.0
"""How long contention is waited out before the client is asked to come back."""


class ConditionFailed(Exception):
    """A condition did not hold; `item` is what stood there, None when nothing did."""

    def __init__(self, index: int, item: Item | None) -> None:
        super().__init__(f"condition of write {index} failed")
        self.index = index
        self.item = item


@dataclass(slots=True)
class Usage:
    """What one invocation asked of the table."""

    requests: int = 0
    read_units: float = 0.0
    write_units: float = 0.0
    throttles: int = 0
    operations: list[str] = field(default_factory=list)


usage: ContextVar[Usage | None] = ContextVar("usage", default=None)

_READS = frozenset({"Query", "GetItem", "BatchGetItem", "TransactGetItems"})


def _measure(parsed: dict[str, Any], model: Any, **_: Any) -> None:
    spent = usage.get()
    if spent is None:
        return
    spent.requests += 1
    spent.operations.append(model.name)
    consumed = parsed.get("ConsumedCapacity") or ()
    for capacity in (consumed,) if isinstance(consumed, dict) else consumed:
        units = float(capacity.get("CapacityUnits", 0.0))
        if model.name in _READS:
            spent.read_units += units
        else:
            spent.write_units += units


def _ask_for_capacity(params: dict[str, Any], **_: Any) -> None:
    params["ReturnConsumedCapacity"] = "TOTAL"


@lru_cache(maxsize=1)
def client() -> "DynamoDBClient":
    made: DynamoDBClient = aws.client(
        "dynamodb",
        ClientConfig(
            connect_timeout=2,
            read_timeout=5,
            retries={"mode": "standard", "total_max_attempts": 3},
            parameter_validation=False,
            max_pool_connections=10,
        ),
    )
    made.meta.events.register("after-call.dynamodb", _measure)
    made.meta.events.register("provide-client-params.dynamodb", _ask_for_capacity)
    return made


os.register_at_fork(after_in_child=client.cache_clear)  # two processes cannot share a connection

if "AWS_LAMBDA_INITIALIZATION_TYPE" in os.environ:
    client()  # Lambda's init phase has a whole processor, the first call a share of one.


_THROTTLES = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "ThrottlingException",
        "RequestLimitExceeded",
        "LimitExceededException",
    }
)
_PASSING = _THROTTLES | {
    "InternalServerError",
    "InternalFailure",
    "ServiceUnavailable",
    "TransactionInProgressException",
    "IdempotentParameterMismatchException",  # every call has a token of its own: not the caller's doing
    "ReplicatedWriteConflictException",
}
_CONFLICTS = frozenset({"TransactionConflictException", "TransactionConflict"})


class _Contended(Exception):
    """Another transaction holds one of the items: worth another try."""


def _say(operation: str, params: dict[str, Any]) -> dict[str, Any]:
    """One request. Raises ConditionFailed, _Contended, StorageFull or StoreUnavailable.

    A fault that none of them covers is ours, and stays the ClientError it is.
    """
    try:
        answer: dict[str, Any] = getattr(client(), operation)(TableName=config().table_name, **params)
        return answer
    except ClientError as error:
        raise _named(error) from error
    except (NoConnection, HTTPClientError) as error:
        raise StoreUnavailable(type(error).__name__) from error


def _named(error: ClientError) -> Exception:
    code = error.response["Error"]["Code"]
    if code == "ConditionalCheckFailedException":
        return ConditionFailed(0, error.response.get("Item"))  # type: ignore[arg-type]  # botocore leaves it untyped
    if code in _CONFLICTS:
        return _Contended()
    if code == "ItemCollectionSizeLimitExceededException":
        return StorageFull()
    if code in _PASSING:
        _note_throttle(code)
        return StoreUnavailable(code)
    if code == "TransactionCanceledException":
        return _named_cancellation(error)
    return error


def _named_cancellation(error: ClientError) -> Exception:
    reasons: list[dict[str, Any]] = error.response.get("CancellationReasons", [])  # type: ignore[assignment]
    codes = [reason.get("Code", "None") for reason in reasons]
    # A conflict hides what the conditions would say once the other transaction is through.
    if any(code in _CONFLICTS for code in codes):
        return _Contended()
    for index, reason in enumerate(reasons):
        if reason.get("Code") == "ConditionalCheckFailed":
            return ConditionFailed(index, reason.get("Item"))
    if "ItemCollectionSizeLimitExceeded" in codes:
        return StorageFull()
    if any(code in ("ThrottlingError", "ProvisionedThroughputExceeded") for code in codes):
        _note_throttle("transaction")
        return StoreUnavailable("ThrottlingError")
    return error


def _note_throttle(code: str) -> None:
    spent = usage.get()
    if spent is not None and (code in _THROTTLES or code == "transaction"):
        spent.throttles += 1


def attempts() -> Iterator[int]:
    """Tries of an optimistic write, with growing, jittered pauses; then StoreUnavailable."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    attempt = 0
    while True:
        yield attempt
        attempt += 1
        if time.monotonic() > deadline:
            raise StoreUnavailable("contended")
        # System randomness, since processes restored from one snapshot share the state of the other kind.
        time.sleep(_JITTER.uniform(0, min(0.2, 0.004 * 2**attempt)))


_JITTER: Final = random.SystemRandom()


# Documents


@dataclass(frozen=True, slots=True)
class Document:
    key: Key
    version: int
    content: str | bytes
    """The JSON text; compressed when `is_packed`, empty when the item has none."""
    item: Item
    """The item's other attributes."""
    is_packed: bool = False

    @property
    def text(self) -> str | bytes:
        return zlib.decompress(self.content) if self.is_packed else self.content  # type: ignore[arg-type]  # bytes then

    def number(self, name: str) -> int:
        return int(self.item[name]["N"])

    def string(self, name: str) -> str:
        return str(self.item[name]["S"])


def text(value: str) -> Value:
    return {"S": value}


def number(value: int) -> Value:
    return {"N": str(value)}


def flag(value: bool) -> Value:  # an attribute value like the two above
    return {"BOOL": value}


def numbers(values: Iterable[int]) -> Value | None:
    """A set of numbers; None for an empty one, which DynamoDB does not know."""
    written = [str(value) for value in values]
    return {"NS": written} if written else None


def key_of(item: Item) -> Key:
    return Key(item["pk"]["S"], item["sk"]["S"])


def _body(key: Key, version: int, json_text: str) -> tuple[Item, list[Item]]:
    """The attributes that hold the document, and the items of its parts."""
    if len(json_text) <= COMPRESSED_ABOVE // 4 or len(encoded := json_text.encode()) <= COMPRESSED_ABOVE:
        return {"doc": text(json_text)}, []
    packed = zlib.compress(encoded, 6)
    if len(packed) <= PART_BYTES:
        return ({"z": {"B": packed}} if len(packed) < len(encoded) else {"doc": text(json_text)}), []
    chunks = [packed[start : start + PART_BYTES] for start in range(0, len(packed), PART_BYTES)]
    parts = [_keyed(part(key, version, index)) | {"z": {"B": chunk}} for index, chunk in enumerate(chunks)]
    return {"parts": number(len(chunks))}, parts


def _keyed(key: Key) -> Item:
    return {"pk": text(key.pk), "sk": text(key.sk)}


def _document(item: Item, found: Mapping[Key, Item]) -> Document | None:
    """The document an item holds; None when one of its parts is not among `found`."""
    key = key_of(item)
    version = int(item["v"]["N"]) if "v" in item else 0
    if "doc" in item:
        return Document(key, version, item["doc"]["S"], item)
    if "z" in item:
        return Document(key, version, item["z"]["B"], item, is_packed=True)
    if "parts" in item:
        pieces = [found.get(part_key) for part_key in part_keys(item)]
        if None in pieces:
            return None
        packed = b"".join(piece["z"]["B"] for piece in pieces if piece)
        return Document(key, version, packed, item, is_packed=True)
    return Document(key, version, "", item)


def part_keys(item: Item) -> list[Key]:
    if "parts" not in item:
        return []
    return parts_of(key_of(item), int(item["v"]["N"]), int(item["parts"]["N"]))


def parts_of(key: Key, version: int, count: int) -> list[Key]:
    return [part(key, version, index) for index in range(count)]


def recorded(image: Item) -> Document:
    """The document in an image of a stream record, as Lambda spells it; its text is empty when it is in parts.

    Raises KeyError, TypeError or ValueError when the image is no document's.
    """
    key, version = key_of(image), int(image["v"]["N"])
    content: str | bytes = ""
    if "doc" in image:
        content = image["doc"]["S"]
    elif "z" in image:
        try:
            content = zlib.decompress(base64.b64decode(image["z"]["B"], validate=True))
        except zlib.error as error:
            raise ValueError(str(error)) from None
    return Document(key, version, content, image)


# Reads


def fetch(keys: Iterable[Key]) -> dict[Key, Document]:
    """The documents that exist, each as of one moment; one request for every hundred keys (and one more for long texts).

    Strongly consistent. A document that is replaced between the request for it and the one for its parts is asked for again.
    """
    wanted = list(dict.fromkeys(keys))
    documents: dict[Key, Document] = {}
    for _ in attempts():
        items = _items(wanted)
        extra = _items([key for item in items.values() for key in part_keys(item)])
        torn = []
        for key, item in items.items():
            document = _document(item, extra)
            if document is None:
                torn.append(key)
            else:
                documents[key] = document
        if not torn:
            break
        wanted = torn
    return documents


def in_order(keys: Sequence[Key], *attributes: str) -> Iterator[Document | None]:
    """A document for each key of one partition, None where there is none, asked for as they are taken; beside it the named
    attributes alone. One request for every hundred keys (more where they exceed 16 MB), and for each text in parts one more
    where `v` is among them, else two.
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
                yield _whole(item, {}) if "v" in item or "parts" not in item else fetch([key]).get(key)


_DOCUMENT: Final = ("sk", "doc", "z", "parts")
"""All that a list needs of a document: a client takes its time by the attribute. The partition is known, and only a document
in parts needs its version, `v`, to be read."""


def _whole(item: Item, found: Mapping[Key, Item]) -> Document | None:
    """The document an item holds, its parts among `found` or asked for; None when it was deleted meanwhile."""
    key = key_of(item)
    return (
        _document(item, found)
        or _document(item, _items(part_keys(item)))
        or fetch([key]).get(key)  # it was replaced between the two requests
    )


def _items(keys: Sequence[Key]) -> dict[Key, Item]:
    found: dict[Key, Item] = {}
    for start in range(0, len(keys), BATCH):
        left: Sequence[Key] = keys[start : start + BATCH]
        for _ in attempts():
            more, left = _some_items(left)
            found |= more
            if not left:
                break
    return found


def _some_items(keys: Sequence[Key], attributes: Sequence[str] = ()) -> tuple[dict[Key, Item], list[Key]]:
    """The items of one request, or of one partition those attributes of them; and the keys that it left unanswered."""
    table_name = config().table_name
    asked: dict[str, Any] = {"ConsistentRead": True, "Keys": [_keyed(key) for key in keys]}
    if attributes:
        asked["ProjectionExpression"] = ", ".join(f"#{name}" for name in attributes)
        asked["ExpressionAttributeNames"] = {f"#{name}": name for name in attributes}
    answer = _say_batch({table_name: asked})
    left = (answer.get("UnprocessedKeys") or {}).get(table_name, {}).get("Keys", [])
    items = answer["Responses"].get(table_name, [])
    if attributes:
        partition = text(keys[0].pk)
        for item in items:
            item["pk"] = partition
    return {key_of(item): item for item in items}, [key_of(each) for each in left]


def _say_batch(asked: dict[str, Any]) -> dict[str, Any]:
    try:
        return client().batch_get_item(RequestItems=asked)  # type: ignore[return-value]
    except ClientError as error:
        raise _named(error) from error
    except (NoConnection, HTTPClientError) as error:
        raise StoreUnavailable(type(error).__name__) from error


class Found(NamedTuple):
    documents: list[Document]
    """In the order they were read."""
    next_sk: str | None
    """Where the next page starts (exclusive); None when the span is exhausted."""


def read(span: Span, *, backwards: bool = True, after: str | None = None, limit: int = ROWS) -> Found:
    """One strongly consistent Query: at most 1 MB of neighbouring items."""
    params: dict[str, Any] = {
        "KeyConditionExpression": "pk = :pk AND sk BETWEEN :first AND :last",
        "ExpressionAttributeValues": {
            ":pk": text(span.pk),
            ":first": text(span.first),
            ":last": text(span.last),
        },
        "ScanIndexForward": not backwards,
        "ConsistentRead": True,
        "Limit": limit,
    }
    if after is not None:
        params["ExclusiveStartKey"] = _keyed(Key(span.pk, after))
    answer = _say("query", params)
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


def find(span: Span, condition: str, values: Mapping[str, Value]) -> Iterator[Document]:
    """Those of neighbouring items for which the condition holds, strongly consistent; one request for each megabyte."""
    given = {":pk": text(span.pk), ":first": text(span.first), ":last": text(span.last), **values}
    params: dict[str, Any] = {
        "KeyConditionExpression": "pk = :pk AND sk BETWEEN :first AND :last",
        "FilterExpression": condition,
        "ExpressionAttributeNames": {f"#{name}": name for name in _NAME.findall(condition)},
        "ExpressionAttributeValues": given,
        "ConsistentRead": True,
    }
    while True:
        answer = _say("query", params)
        for item in answer["Items"]:
            key = key_of(item)
            document = _document(item, {}) or fetch([key]).get(key)
            if document is not None:
                yield document
        if "LastEvaluatedKey" not in answer:
            return
        params["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


def read_keys(span: Span) -> list[Key]:
    """The keys of the first megabyte of neighbouring items, parts included; empty when there are none. One request."""
    params = {
        "KeyConditionExpression": "pk = :pk AND sk BETWEEN :first AND :last",
        "ExpressionAttributeValues": {
            ":pk": text(span.pk),
            ":first": text(span.first),
            ":last": text(span.last),
        },
        "ProjectionExpression": "pk, sk",
        "ConsistentRead": True,
    }
    return [key_of(item) for item in _say("query", params)["Items"]]


_MOST_ROWS: Final = 2**31 - 1


class Entry(NamedTuple):
    """One row of a local index."""

    sk: str
    range_key: str


class Entries(NamedTuple):
    entries: list[Entry]
    more: bool


def read_index(
    index: str,
    pk: str,
    prefix: str,
    *,
    range_name: str,
    backwards: bool,
    after: Entry | None = None,
    limit: int | None = None,
    equal: Mapping[str, Value] | None = None,
    containing: tuple[str, Value] | None = None,
    sk_of: Callable[[str], str] | None = None,
) -> Entries:
    """Rows of a local index, strongly consistent, keys only; those whose range key tells their sort key are asked for less.

    One request for each megabyte (some 6,000 rows) until `limit` rows are found that match `equal` or hold `containing`.
    """
    names = {"#range": range_name}
    values: dict[str, Value] = {":pk": text(pk)} | ({":prefix": text(prefix)} if prefix else {})
    params: dict[str, Any] = {
        "IndexName": index,
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
        params["ExclusiveStartKey"] = _keyed(Key(pk, after.sk)) | {range_name: text(after.range_key)}
    rows: list[Entry] = []
    while True:
        answer = _say("query", params)
        for item in answer["Items"]:
            range_key = item[range_name]["S"]
            rows.append(Entry(sk_of(range_key) if sk_of else item["sk"]["S"], range_key))
        last = answer.get("LastEvaluatedKey")
        if limit is not None and len(rows) > limit:
            return Entries(rows[:limit], more=True)
        if last is None:
            return Entries(rows, more=False)
        params["ExclusiveStartKey"] = last


# Writes


class Write(NamedTuple):
    """One action of a transaction, or a request of its own: `Put`, `Update`, `Delete` or `ConditionCheck`."""

    action: str
    params: dict[str, Any]

    @property
    def key(self) -> Key:
        return key_of(self.params.get("Key") or self.params["Item"])


_NAME = re.compile(r"#(\w+)")


def _conditioned(
    params: dict[str, Any], condition: str | None, values: Mapping[str, Value]
) -> dict[str, Any]:
    if condition is not None:
        params["ConditionExpression"] = condition
        params["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
    expressions = f"{condition or ''} {params.get('UpdateExpression', '')}"
    names = {f"#{name}": name for name in _NAME.findall(expressions)}
    if names:
        params["ExpressionAttributeNames"] = names
    if values:
        params["ExpressionAttributeValues"] = dict(values)
    return params


def put(
    key: Key,
    model: BaseModel,
    *,
    version: int = 1,
    condition: str = "attribute_not_exists(#pk)",
    values: Mapping[str, Value] | None = None,
    attributes: Mapping[str, Value | None] | None = None,
) -> list[Write]:
    """A new document, with its parts."""
    body, parts = _body(key, version, model.model_dump_json())
    present = {name: value for name, value in (attributes or {}).items() if value is not None}
    item = _keyed(key) | {"v": number(version)} | body | present
    return [
        Write("Put", _conditioned({"Item": item}, condition, values or {})),
        *(Write("Put", {"Item": each}) for each in parts),
    ]


def put_attributes(
    key: Key, attributes: Mapping[str, Value | None], *, condition: str, values: Mapping[str, Value]
) -> Write:
    """An item without a document."""
    present = {name: value for name, value in attributes.items() if value is not None}
    return Write("Put", _conditioned({"Item": _keyed(key) | present}, condition, values))


def fill(
    key: Key,
    json_text: str,
    *,
    condition: str,
    values: Mapping[str, Value],
    attributes: Mapping[str, Value | None],
) -> list[Write]:
    """The first document of an item that stands already; its parts share its `ttl`."""
    body, parts = _body(key, 1, json_text)
    lifetime = {"ttl": attributes["ttl"]} if attributes.get("ttl") else {}
    main = update(key, set_to={**body, "v": number(1), **attributes}, condition=condition, values=values)
    return [main, *(Write("Put", {"Item": {**each, **lifetime}}) for each in parts)]


def update(
    key: Key,
    *,
    set_to: Mapping[str, Value | None] | None = None,
    add: Mapping[str, int] | None = None,
    condition: str | None = None,
    values: Mapping[str, Value] | None = None,
) -> Write:
    """Sets attributes (None removes one) and adds to counters, when the condition holds."""
    given = dict(values or {})
    assignments, removals = [], []
    for name, value in (set_to or {}).items():
        if value is None:
            removals.append(f"#{name}")
        else:
            assignments.append(f"#{name} = :{name}")
            given[f":{name}"] = value
    additions = []
    for name, amount in (add or {}).items():
        additions.append(f"#{name} :add_{name}")
        given[f":add_{name}"] = number(amount)
    clauses = [("SET", assignments), ("REMOVE", removals), ("ADD", additions)]
    expression = " ".join(f"{word} {', '.join(terms)}" for word, terms in clauses if terms)
    return Write(
        "Update", _conditioned({"Key": _keyed(key), "UpdateExpression": expression}, condition, given)
    )


def include(key: Key, name: str, texts: Sequence[str]) -> Write:
    """Adds texts to a set."""
    params = {"Key": _keyed(key), "UpdateExpression": f"ADD #{name} :texts"}
    return Write("Update", _conditioned(params, None, {":texts": {"SS": list(texts)}}))


def revise(
    document: Document,
    model: BaseModel,
    *,
    condition: str = "",
    values: Mapping[str, Value] | None = None,
    attributes: Mapping[str, Value | None] | None = None,
) -> list[Write]:
    """The next version of a document, if it is still the one that was read. Attributes not named stay as they are."""
    version = document.version + 1
    body, parts = _body(document.key, version, model.model_dump_json())
    absent: dict[str, Value | None] = {name: None for name in ("doc", "z", "parts") if name in document.item}
    main = update(
        document.key,
        set_to={**absent, **body, "v": number(version), **(attributes or {})},
        condition="#v = :was" + (f" AND {condition}" if condition else ""),
        values={":was": number(document.version), **(values or {})},
    )
    return [
        main,
        *(Write("Put", {"Item": each}) for each in parts),
        *(Write("Delete", {"Key": _keyed(key)}) for key in part_keys(document.item)),
    ]


def check(key: Key, condition: str, values: Mapping[str, Value] | None = None) -> Write:
    return Write("ConditionCheck", _conditioned({"Key": _keyed(key)}, condition, values or {}))


def unchanged(document: Document) -> Write:
    return check(document.key, "#v = :was", {":was": number(document.version)})


def delete(key: Key, condition: str | None = None, values: Mapping[str, Value] | None = None) -> Write:
    return Write("Delete", _conditioned({"Key": _keyed(key)}, condition, values or {}))


def delete_together(keys: Sequence[Key]) -> None:
    """At most `DELETIONS` items, each for itself, whether they are there or not; one request, more when throttled."""
    table_name = config().table_name
    asked: dict[str, Any] = {table_name: [{"DeleteRequest": {"Key": _keyed(key)}} for key in keys]}
    for _ in attempts():
        try:
            answer = client().batch_write_item(RequestItems=asked)
        except ClientError as error:
            named = _named(error)
            if isinstance(named, _Contended):
                continue
            raise named from error
        except (NoConnection, HTTPClientError) as error:
            raise StoreUnavailable(type(error).__name__) from error
        asked = dict(answer.get("UnprocessedItems") or {})
        if not asked:
            return


_SINGLE = {"Put": "put_item", "Update": "update_item", "Delete": "delete_item"}


def write(*writes: Write) -> None:
    """All of it or nothing, in one request; raises ConditionFailed with the index of the first write that may not.

    A transaction carries a token, so one that is sent again after a lost answer is applied once.
    """
    if len(writes) == 1 and writes[0].action in _SINGLE:
        _settled(_SINGLE[writes[0].action], writes[0].params)
        return
    table_name = config().table_name
    actions = [{one.action: {"TableName": table_name, **one.params}} for one in writes]
    for _ in attempts():
        try:
            _say_transaction(actions)
        except _Contended:
            continue
        return


def _say_transaction(actions: list[dict[str, Any]]) -> None:
    try:
        client().transact_write_items(TransactItems=actions)  # type: ignore[arg-type]
    except ClientError as error:
        raise _named(error) from error
    except (NoConnection, HTTPClientError) as error:
        raise StoreUnavailable(type(error).__name__) from error


def write_returning(one: Write) -> Document:
    """One update; the document as it stands after it (one request more when it is in parts)."""
    answer = _settled("update_item", {**one.params, "ReturnValues": "ALL_NEW"})
    item: Item = answer["Attributes"]
    key = key_of(item)
    return _document(item, {}) or fetch([key])[key]


def write_returning_old(one: Write) -> Item:
    """One update; the item as it was before it, empty when there was none."""
    answer = _settled("update_item", {**one.params, "ReturnValues": "ALL_OLD"})
    item: Item = answer.get("Attributes", {})
    return item


def size_of(writes: Iterable[Write]) -> int:
    """Roughly, in bytes: what a transaction of at most 4 MB has to hold."""
    return sum(
        len(next(iter(value.values()))) + len(name)
        for write in writes
        for name, value in write.params.get("Item", {}).items()
    )


def _settled(operation: str, params: dict[str, Any]) -> dict[str, Any]:
    for _ in attempts():
        try:
            return _say(operation, params)
        except _Contended:
            continue
    raise AssertionError("attempts() ends by raising")
