"""The list of a user's few-shot examples."""

from practice import keys, table
from practice.auth import Caller
from practice.limits import PAGE_SIZE
from practice.models.example import Example
from practice.models.example_page import ExamplePage, ExamplesQuery
from practice.store import accounts, lists

_ORDER = lists.Order("few-shot examples", "by_created", "created", "EXAMPLE#", keys.example)


def page(caller: Caller, query: ExamplesQuery) -> ExamplePage:
    """The index, then the items and the total in one batch: two requests up to 99 examples, whatever the depth."""
    size = query.size or PAGE_SIZE
    is_filtered = query.is_active is not None
    equal = {"is_active": table.flag(bool(query.is_active)) if is_filtered else None}
    rows = lists.rows(caller, _ORDER, size, page=query.page, cursor=query.cursor, equal=equal)
    account, items = lists.items(rows, Example, keys.account(caller.user_id), "examples", "v")
    filled = lists.fill(rows, items)
    return ExamplePage(
        items=filled.items,
        total=rows.total if is_filtered else accounts.total(account, "examples"),
        page=rows.page,
        size=size,
        next_cursor=filled.next_cursor,
    )
