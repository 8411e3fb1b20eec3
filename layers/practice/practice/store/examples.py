"""Few-shot examples: create, read, list, change, delete."""

from practice import table
from practice.caller import Caller
from practice.errors import ExampleNotFound, Invalid, Problem
from practice.limits import PAGE_SIZE
from practice.runtime import clock
from practice.schemas.example import (
    SHARE_BYTES,
    TEXTS_TOO_LONG,
    Example,
    ExampleChanges,
    ExamplePage,
    ExamplesQuery,
    NewExample,
    texts_fit,
)
from practice.schemas.fields import same_json
from practice.store import accounts, paging
from practice.store.idempotency import IdempotentAttempt
from practice.table import ExpectedVersions, Versioned, ids, keys


def create(caller: Caller, new: NewExample, attempt: IdempotentAttempt) -> Versioned[Example]:
    """One request."""
    (example_id,) = ids.new_ids(1)
    now = clock.now()
    example = Example(
        example_id=example_id,
        user_id=caller.user_id,
        title=new.title,
        input_text=new.input_text,
        output_text=new.output_text,
        meta=new.meta or {},
        is_active=new.is_active is not False,
        created_at=now,
        updated_at=now,
    )
    answer = Versioned(example, 1)
    try:
        attempt.commit(insertion(caller, example), answer)
    except table.ConditionFailed as failed:
        if failed.index == 0:
            raise accounts.count_refusal(failed) from None
        raise
    return answer


def insertion(caller: Caller, example: Example) -> list[table.Write]:
    """The example, and its count: the count is the first of the transaction's writes."""
    attributes = {
        "created": table.text(keys.example_at(example.created_at, example.example_id)),
        "is_active": table.flag(example.is_active),
    }
    key = keys.example(caller.user_id, example.example_id)
    return [accounts.count_write(caller, "examples", 1), *table.put(key, example, attributes=attributes)]


def get(caller: Caller, example_id: int) -> Versioned[Example]:
    """One request."""
    document, example = _read(caller, example_id)
    return Versioned(example, document.version)


def _read(caller: Caller, example_id: int) -> tuple[table.Document, Example]:
    key = keys.example(caller.user_id, example_id)
    document = table.get(key)
    if document is None:
        raise ExampleNotFound
    return document, Example.model_validate_json(document.text)


_ORDER = paging.Order("few-shot examples", keys.BY_CREATED, keys.EXAMPLES, keys.example)


def page(caller: Caller, query: ExamplesQuery, pager: paging.Pager) -> ExamplePage:
    """The index, then the items and the total in one batch: two requests up to 99 examples, whatever the depth."""
    size = query.size or PAGE_SIZE
    is_filtered = query.is_active is not None
    equal = {"is_active": table.flag(bool(query.is_active)) if is_filtered else None}
    rows = paging.rows(caller.user_id, pager, _ORDER, size, page=query.page, cursor=query.cursor, equal=equal)
    account, items = paging.items(rows, Example, keys.account(caller.user_id), "examples", "v")
    filled = paging.fill(rows, items)
    return ExamplePage(
        items=filled.items,
        total=rows.total if is_filtered else accounts.total(account, "examples"),
        page=rows.page,
        size=size,
        next_cursor=filled.next_cursor,
    )


@table.optimistic
def change(
    caller: Caller, example_id: int, changes: ExampleChanges, expected: ExpectedVersions
) -> Versioned[Example]:
    """Two requests; one more when the example outgrows its share of a selection."""
    document, before = _read(caller, example_id)
    expected.check(document.version)
    given = {name: getattr(changes, name) for name in changes.model_fields_set}
    if "meta" in given:
        given["meta"] = given["meta"] or {}
    after = before.model_copy(update=given)
    if not texts_fit(after.input_text, after.output_text):
        raise Invalid([Problem("too_long", ("body",), TEXTS_TOO_LONG)])
    if after == before and same_json(after.meta, before.meta):
        return Versioned(before, document.version)
    after.updated_at = clock.just_after(before.updated_at)
    condition: str = ""
    values: dict[str, table.Value] = {}
    if after.shares() > before.shares():
        _require_unselected(caller.user_id, example_id, before)
        condition, values = _no_new_link(document)
    is_active = {"is_active": table.flag(after.is_active)}
    table.write(*table.revise(document, after, condition=condition, values=values, attributes=is_active))
    return Versioned(after, document.version + 1)


def _require_unselected(user_id: int, example_id: int, example: Example) -> None:
    """Raises Invalid: a selection has reserved the example's share, and no more. One request."""
    selections = table.read_index(
        keys.BY_LINKING,
        keys.user(user_id),
        "",
        backwards=False,
        limit=1,
        containing=("examples", table.number(example_id)),
    )
    if selections.entries:
        message = (
            f"A selected example should not grow beyond {example.shares() * SHARE_BYTES} bytes as JSON; "
            "take it out of the selections first"
        )
        raise Invalid([Problem("too_long", ("body",), message)])


def _no_new_link(document: table.Document) -> tuple[str, dict[str, table.Value]]:
    if "linkings" in document.item:
        return "#linkings = :linkings_was", {":linkings_was": document.item["linkings"]}
    return "attribute_not_exists(#linkings)", {}


def remove(caller: Caller, example_id: int, expected: ExpectedVersions) -> None:
    """One transaction; with If-Match one request more. It disappears from every selection with its item."""
    key = keys.example(caller.user_id, example_id)
    uncounted = table.update(keys.account(caller.user_id), add={"examples": -1})
    if expected.versions is None:
        try:
            table.write(table.delete(key, "attribute_exists(#pk)"), uncounted)
        except table.ConditionFailed:
            raise ExampleNotFound from None
        return
    _remove_version(caller, example_id, expected, uncounted)


@table.optimistic
def _remove_version(
    caller: Caller, example_id: int, expected: ExpectedVersions, uncounted: table.Write
) -> None:
    document, _example = _read(caller, example_id)
    expected.check(document.version)
    table.write(table.delete_unchanged(document), uncounted)
