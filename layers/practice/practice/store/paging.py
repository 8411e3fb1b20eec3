"""Pages of a user's objects, newest first: by number, or by a cursor whose cost does not grow with depth."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Generic, NamedTuple, Protocol, TypeVar

from pydantic import BaseModel

from practice import table
from practice.table import keys

Model = TypeVar("Model", bound=BaseModel)


class Budget(Protocol):
    """The bytes left of one response."""

    def spend(self, text: str) -> None:
        """For what the response has in any case."""

    def take(self, text: str) -> bool:
        """Whether the text still fits; if so, its bytes are taken."""


class Pager(Protocol):
    """What the edge lends a list: how much one response holds, and cursors bound to the caller."""

    def budget(self) -> Budget: ...

    def cursor(self, position: object, *binding: object) -> str: ...

    def position(self, cursor: str, *binding: object) -> str:
        """Raises Invalid for a cursor that was not made for the same user and binding."""


class Order(NamedTuple):
    """One list of a user: its index, and the keys of its items."""

    name: str
    local_index: keys.Index
    prefix: str
    key: Callable[[int, int], keys.Key]
    backwards: bool = True


class Rows(NamedTuple):
    """The rows of a page, as the index has them."""

    user_id: int
    pager: Pager
    binding: tuple[object, ...]
    entries: list[table.IndexRow]
    more: bool
    total: int | None
    """Counted, on the numbered pages of a filtered list."""
    page: int

    def cursor_after(self, entry: table.IndexRow) -> str:
        return self.pager.cursor(f"{self.page + 1} {entry.range_key}", *self.binding)


def rows(
    user_id: int,
    pager: Pager,
    order: Order,
    size: int | None,
    *,
    page: int | None = None,
    cursor: str | None = None,
    equal: Mapping[str, table.Value | None] | None = None,
) -> Rows:
    """The rows of page `page`, or of what follows `cursor`; all that are left, without a size.

    One request, if the index has not more than some 6,000 rows to pass over.

    A filtered list is counted over the index, since its total is nowhere kept; its cursor pages are not.
    """
    matching = {name: value for name, value in (equal or {}).items() if value is not None}
    binding = (order.name, order.prefix, matching)
    pk = keys.user(user_id)

    def read(after: table.IndexRow | None, limit: int | None) -> table.IndexPage:
        return table.read_index(
            order.local_index,
            pk,
            order.prefix,
            backwards=order.backwards,
            after=after,
            limit=limit,
            equal=matching,
            sk_of=lambda range_key: order.key(user_id, keys.last_number(range_key)).sk,
        )

    if cursor is not None:
        number, after = _position(user_id, pager, order, binding, cursor)
        found = read(after, size)
        return Rows(user_id, pager, binding, found.entries, found.more, None, number)
    number = page or 1
    first, end = ((number - 1) * size, number * size) if size else (0, None)
    found = read(None, None if matching else end)
    return Rows(
        user_id,
        pager,
        binding,
        found.entries[first:end],
        found.more or (end is not None and len(found.entries) > end),
        len(found.entries) if matching else None,
        number,
    )


def _position(
    user_id: int, pager: Pager, order: Order, binding: tuple[object, ...], cursor: str
) -> tuple[int, table.IndexRow]:
    number, _, range_key = pager.position(cursor, *binding).partition(" ")
    key = order.key(user_id, keys.last_number(range_key))
    return int(number), table.IndexRow(key.sk, range_key)


class Filled(NamedTuple, Generic[Model]):
    items: list[Model]
    next_cursor: str | None


def fill(page: Rows, items: Iterable[tuple[table.IndexRow, Model | None]]) -> Filled[Model]:
    """As many items as one answer holds; the cursor continues exactly after the last.

    A row whose item was deleted since the index was read is passed over.
    """
    budget = page.pager.budget()
    kept: list[Model] = []
    last: table.IndexRow | None = None
    for entry, item in items:
        if item is not None:
            if not budget.take(item.model_dump_json()) and kept:
                break
            kept.append(item)
        last = entry
    else:
        if not page.more:
            return Filled(kept, None)
    return Filled(kept, page.cursor_after(last) if last else None)


def items(
    page: Rows, model: type[Model], extra: keys.Key, *attributes: str
) -> tuple[table.Document | None, Iterator[tuple[table.IndexRow, Model | None]]]:
    """The document at `extra`, with those attributes, in one batch with the page's items, read on as they are taken."""
    pk = keys.user(page.user_id)
    documents = table.fetch_in_order(
        [extra, *(keys.Key(pk, entry.sk) for entry in page.entries)], *attributes
    )
    first = next(documents)
    return first, (
        (entry, model.model_validate_json(document.text) if document else None)
        for entry, document in zip(page.entries, documents, strict=True)
    )
