"""Which turn a new one follows: the newest that has ended, one that the learner names, or none."""

from collections.abc import Mapping
from enum import Enum
from itertools import islice
from typing import Final

from practice import table
from practice.errors import TurnNotFinished, TurnNotFound
from practice.store.branches import BY_TIME, Node, ancestors, by_time, load, turn_of
from practice.store.turns import Followed, holds_only_models
from practice.store.views import View
from practice.table import keys


class Newest(Enum):
    """In place of the id of a turn: the newest that has ended."""

    NEWEST = "newest"


NEWEST: Final = Newest.NEWEST


def keys_of(user_id: int, view: View, after: int | Newest | None) -> list[keys.Key]:
    """What `find` needs to see, apart from the view."""
    if after is NEWEST:
        return (
            [keys.turn(user_id, turn_of(view.live[0]))] if view.live and "turn" in view.live[0].item else []
        )
    if after is None or keys.session_of(after) != view.session.session_id:
        return []
    return [keys.turn(user_id, after), keys.response(user_id, after)]


def find(
    user_id: int, view: View, after: int | Newest | None, found: Mapping[keys.Key, table.Document]
) -> Node | None:
    """The turn that a new one is to follow. No request, but in rare cases.

    Raises NotFound for one that is not in the session, and Conflict for one that has not ended.
    """
    if after is NEWEST:
        return _newest(user_id, view, found)
    return None if after is None else _named(user_id, view, after, found)


def _named(user_id: int, view: View, turn_id: int, found: Mapping[keys.Key, table.Document]) -> Node:
    """Two requests when the newest responses of the session show no answer of the turn."""
    node = _node(user_id, view, turn_id, found)
    own = found.get(keys.response(user_id, turn_id))
    if node.item is None:
        node.answers = [own] if own and "turn" not in own.item else []
    elif not node.is_shown(view.models):
        node = next(load(user_id, [turn_id]), node)
    if not node.is_shown(view.models):
        raise TurnNotFound
    if not node.has_ended():
        raise TurnNotFinished
    return node


def _newest(user_id: int, view: View, found: Mapping[keys.Key, table.Document]) -> Node | None:
    """Two requests or more when another turn than that of the newest response is under way, or ended without an answer."""
    if "answered" not in view.models_document.item:
        return None
    if view.live:
        node = _node(user_id, view, turn_of(view.live[0]), found)
        next_id = view.models_document.number("next_id")
        if holds_only_models(node.end, next_id, view.models) and node.has_ended():
            return node
    nodes = by_time(user_id, view.session.session_id, view.models, None, 2)
    return next((node for node in nodes if node.has_ended() and node.is_shown(view.models)), None)


def _node(user_id: int, view: View, turn_id: int, found: Mapping[keys.Key, table.Document]) -> Node:
    answers = [each for each in view.live if turn_of(each) == turn_id]
    return Node(turn_id, found.get(keys.turn(user_id, turn_id)), answers)


def follow(user_id: int, view: View, node: Node | None) -> Followed:
    """No request; two where the turns before follow each other by time."""
    session_id = view.session.session_id
    if node is None:
        return Followed.nothing(session_id)
    if node.stored and node.stored.ancestry:
        known, is_whole = node.stored.ancestors(), node.stored.ancestry.is_whole
    else:
        known = list(islice(ancestors(user_id, session_id, view.models, node.turn_id, node.stored), BY_TIME))
        is_whole = len(known) < BY_TIME
    return Followed(node.turn_id, node.end, [node.turn_id, *known], is_whole)
