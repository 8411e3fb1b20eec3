"""What deleted answers took, kept in the item of their turn among its siblings.

Settling a turn counts it, also when an answer was deleted after the runner that received it had died.
"""

from typing import Final

from practice import table
from practice.table import keys

GONE: Final = "gone"
"""Of the item among siblings: a set of ids of responses, each with what it took."""


def entries(document: table.Document) -> list[str]:
    """Of an answer, for `GONE`; nothing of a response that no model gave here."""
    if "spent" not in document.item:
        return []
    return [f"{keys.number_in(document.key.sk)} {document.string('spent')}"]


def read(item: table.Item) -> dict[int, str]:
    """By the ids of the responses, as JSON."""
    found = (each.partition(" ") for each in item.get(GONE, {}).get("SS", ()))
    return {int(response_id): spent for response_id, _, spent in found}


def note(user_id: int, response_id: int, place: keys.Key) -> None:
    """Of an answer that is going to be deleted. Two requests."""
    document = table.get(keys.response(user_id, response_id))
    noted = entries(document) if document else []
    if noted:
        try:
            table.write(table.add_to_set(place, GONE, noted, condition="attribute_exists(#pk)"))
        except table.ConditionFailed:
            return  # the turn was deleted
