"""Changing the table: writes are described first, then made together or not at all."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from pydantic import BaseModel

from practice.runtime.config import config
from practice.table.client import Contended, attempts, request, request_with_retries
from practice.table.items import (
    Document,
    Item,
    Value,
    body_of,
    document_in,
    key_attributes,
    key_of,
    names_in,
    number,
    part_keys,
)
from practice.table.keys import Key
from practice.table.reads import fetch

DELETIONS: Final = 25
"""Items a BatchWriteItem takes."""


class Write(NamedTuple):
    """One action of a transaction, or a request of its own: `Put`, `Update`, `Delete` or `ConditionCheck`."""

    action: str
    params: dict[str, Any]

    @property
    def key(self) -> Key:
        return key_of(self.params.get("Key") or self.params["Item"])


def _conditioned(
    params: dict[str, Any], condition: str | None, values: Mapping[str, Value]
) -> dict[str, Any]:
    if condition is not None:
        params["ConditionExpression"] = condition
        params["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
    expressions = f"{condition or ''} {params.get('UpdateExpression', '')}"
    names = names_in(expressions)
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
    condition: str | None = "attribute_not_exists(#pk)",
    values: Mapping[str, Value] | None = None,
    attributes: Mapping[str, Value | None] | None = None,
) -> list[Write]:
    """A new document, with its parts."""
    body, parts = body_of(key, version, model.model_dump_json())
    present = {name: value for name, value in (attributes or {}).items() if value is not None}
    item = key_attributes(key) | {"v": number(version)} | body | present
    return [
        Write("Put", _conditioned({"Item": item}, condition, values or {})),
        *(Write("Put", {"Item": each}) for each in parts),
    ]


def put_attributes(
    key: Key, attributes: Mapping[str, Value | None], *, condition: str, values: Mapping[str, Value]
) -> Write:
    """An item without a document."""
    present = {name: value for name, value in attributes.items() if value is not None}
    return Write("Put", _conditioned({"Item": key_attributes(key) | present}, condition, values))


def fill(
    key: Key,
    json_text: str,
    *,
    condition: str,
    values: Mapping[str, Value],
    attributes: Mapping[str, Value | None],
) -> list[Write]:
    """The first document of an existing item; its parts share its `ttl`."""
    body, parts = body_of(key, 1, json_text)
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
        "Update", _conditioned({"Key": key_attributes(key), "UpdateExpression": expression}, condition, given)
    )


def count(key: Key, amounts: Mapping[str, int], *, at_most: Mapping[str, int] | None = None) -> Write:
    """Adds to counters of any name, if none of `at_most` is above its bound before; an absent one is 0."""
    bounds = at_most or {}
    names = {name: f"#n{place}" for place, name in enumerate({**amounts, **bounds})}
    added = {name: amount for name, amount in amounts.items() if amount or name not in bounds}
    values = {f":add{names[name][1:]}": number(amount) for name, amount in added.items()}
    conditions = []
    for name, bound in bounds.items():
        values[f":most{names[name][1:]}"] = number(bound)
        within = f"{names[name]} <= :most{names[name][1:]}"
        conditions.append(within if bound < 0 else f"(attribute_not_exists({names[name]}) OR {within})")
    params: dict[str, Any] = {
        "Key": key_attributes(key),
        "UpdateExpression": "ADD " + ", ".join(f"{names[name]} :add{names[name][1:]}" for name in added),
        "ExpressionAttributeNames": {placeholder: name for name, placeholder in names.items()},
        "ExpressionAttributeValues": values,
    }
    if conditions:
        params["ConditionExpression"] = " AND ".join(conditions)
        params["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
    return Write("Update", params)


def add_to_set(
    key: Key,
    name: str,
    texts: Sequence[str],
    *,
    condition: str | None = None,
    values: Mapping[str, Value] | None = None,
) -> Write:
    """Adds texts to a set."""
    params = {"Key": key_attributes(key), "UpdateExpression": f"ADD #{name} :texts"}
    return Write("Update", _conditioned(params, condition, {":texts": {"SS": list(texts)}, **(values or {})}))


def remove_from_set(
    key: Key, name: str, texts: Sequence[str], *, added: Mapping[str, Sequence[str]] | None = None
) -> Write:
    """Removes texts from a set of an item that exists, and adds others to other sets of it."""
    values: dict[str, Value] = {":texts": {"SS": list(texts)}}
    expression = f"DELETE #{name} :texts"
    present = {other: list(more) for other, more in (added or {}).items() if more}
    if present:
        expression += " ADD " + ", ".join(f"#{other} :{other}" for other in present)
        values |= {f":{other}": {"SS": more} for other, more in present.items()}
    params = {"Key": key_attributes(key), "UpdateExpression": expression}
    return Write("Update", _conditioned(params, "attribute_exists(#pk)", values))


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
    body, parts = body_of(document.key, version, model.model_dump_json())
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
        *(Write("Delete", {"Key": key_attributes(key)}) for key in part_keys(document.item)),
    ]


def check(key: Key, condition: str, values: Mapping[str, Value] | None = None) -> Write:
    return Write("ConditionCheck", _conditioned({"Key": key_attributes(key)}, condition, values or {}))


def unchanged(document: Document) -> Write:
    return check(document.key, "#v = :was", {":was": number(document.version)})


def delete(key: Key, condition: str | None = None, values: Mapping[str, Value] | None = None) -> Write:
    return Write("Delete", _conditioned({"Key": key_attributes(key)}, condition, values or {}))


def delete_unchanged(document: Document) -> Write:
    """Deletes a document that still has the version that was read; its parts are deleted apart."""
    return delete(document.key, "#v = :was", {":was": number(document.version)})


def delete_together(keys: Sequence[Key]) -> None:
    """At most `DELETIONS` items, each for itself, whether they exist or not; one request, more when throttled."""
    table_name = config().table_name
    asked: dict[str, Any] = {table_name: [{"DeleteRequest": {"Key": key_attributes(key)}} for key in keys]}
    for _ in attempts():
        try:
            answer = request("batch_write_item", {"RequestItems": asked})
        except Contended:
            continue
        asked = dict(answer.get("UnprocessedItems") or {})
        if not asked:
            return


def write(*writes: Write) -> None:
    """All of it or nothing, in one request; raises ConditionFailed with the index of the first write that may not.

    A transaction carries a token, so one that is sent again after a lost answer is applied once.
    """
    if len(writes) == 1 and writes[0].action in _SINGLE:
        _settle_one(_SINGLE[writes[0].action], writes[0].params)
        return
    table_name = config().table_name
    actions = [{one.action: {"TableName": table_name, **one.params}} for one in writes]
    request_with_retries("transact_write_items", {"TransactItems": actions})


_SINGLE: Final = {"Put": "put_item", "Update": "update_item", "Delete": "delete_item"}


def _settle_one(operation: str, params: dict[str, Any]) -> dict[str, Any]:
    return request_with_retries(operation, {"TableName": config().table_name, **params})


def write_returning(one: Write) -> Document:
    """One update; the document after it (one request more when it is in parts)."""
    answer = _settle_one("update_item", {**one.params, "ReturnValues": "ALL_NEW"})
    item: Item = answer["Attributes"]
    key = key_of(item)
    return document_in(item, {}) or fetch([key])[key]


def write_returning_old(one: Write) -> Item:
    """One update; the item as it was before it, empty when there was none."""
    answer = _settle_one("update_item", {**one.params, "ReturnValues": "ALL_OLD"})
    item: Item = answer.get("Attributes", {})
    return item


def size_of(writes: Iterable[Write]) -> int:
    """Roughly, in bytes: what a transaction of at most 4 MB has to hold."""
    return sum(
        (1 if "BOOL" in value else len(next(iter(value.values())))) + len(name)
        for write in writes
        for name, value in write.params.get("Item", {}).items()
    )
