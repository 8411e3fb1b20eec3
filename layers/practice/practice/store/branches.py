"""Which turn follows which: turns as a tree, whose branches are the conversations of a session.

A turn stores the one it follows and the ids of its nearest ancestors, which never change. One item for each turn, its place
among those that follow the same one, makes siblings neighbours. A response that was added by hand is a turn of its own;
it follows the turn before it in time, as turns do that were begun before there were branches. A turn always has a higher
id than the one it follows.
"""

from collections import deque
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, islice
from typing import Final

from practice import table
from practice.schemas.response import Response
from practice.schemas.session_model import StoredModels
from practice.schemas.turn import IN_PROGRESS, StoredTurn, TurnError, TurnStatus
from practice.store.turn_state import TurnState, build_state
from practice.store.views import is_live
from practice.table import keys

SIBLINGS: Final = 100
"""Listed with one turn."""
BY_TIME: Final = 25
"""Read at once where turns follow each other by time."""
_FEW: Final = 8
"""Answers that are read before it is known how long they are."""
_SHORT_BYTES: Final = 250_000


@dataclass
class Node:
    """A turn, or a response that is a turn of its own, with the documents of its answers that were read."""

    turn_id: int
    item: table.Document | None
    """None for a response that is a turn of its own."""
    answers: list[table.Document]

    @cached_property
    def stored(self) -> StoredTurn | None:
        return StoredTurn.model_validate_json(self.item.text) if self.item else None

    @property
    def after_turn_id(self) -> int | None:
        """The turn it follows; None too where that is a matter of time."""
        return self.stored.after_turn_id if self.stored else None

    @property
    def is_by_time(self) -> bool:
        """Whether it follows the turn before it in time."""
        return self.stored is None or self.stored.ancestry is None

    def exists(self, models: StoredModels) -> bool:
        """Whether it is a turn, deleted or not, that another one may follow by time."""
        return self.item is not None or self.is_shown(models)

    @property
    def end(self) -> int:
        """The first id after its answers."""
        return self.turn_id + (len(self.stored.asked) if self.stored else 1)

    def state(self, models: StoredModels) -> TurnState | None:
        """With the answers whose models are there; None for a response that is a turn of its own."""
        if self.stored is None or self.item is None:
            return None
        live = [each for each in self.answers if is_live(each, _ids(models))]
        answers = [Response.model_validate_json(each.text) for each in live]
        by_id = {each.response_id: each for each in answers}
        return build_state(self.item, self.stored, by_id, live)

    def is_shown(self, models: StoredModels) -> bool:
        """Not one of a turn whose answers were all deleted."""
        if any(is_live(each, _ids(models)) for each in self.answers):
            return True
        status, errors = self._progress()
        return status != TurnStatus.DONE or bool(errors)

    def has_ended(self) -> bool:
        return self._progress()[0] not in IN_PROGRESS

    def _progress(self) -> tuple[TurnStatus, list[TurnError]]:
        """Without a look at the answers, which may be long."""
        if self.item is None or self.stored is None:
            return TurnStatus.DONE, []
        return build_state(self.item, self.stored, {}, []).shown()


def _ids(models: StoredModels) -> set[int]:
    return {model.session_model_id for model in models.models}


def turn_of(response: table.Document) -> int:
    """The turn a response belongs to: its own id when it was added by hand."""
    turn = response.item.get("turn")
    return int(turn["N"]) if turn else keys.number_in(response.key.sk)


# By time


def by_time(
    user_id: int, session_id: int, models: StoredModels, before: int | None, size: int
) -> Iterator[Node]:
    """Turns with an item and responses that are turns of their own, the newest first. Two requests for `size` of them."""
    items = table.walk(keys.turns(user_id, session_id, before), limit=size)
    at_most = max(size, size * len(models.models))
    responses = groupby(table.walk(keys.responses(user_id, session_id, before), limit=at_most), turn_of)
    live = _ids(models)
    item = next(items, None)
    turn_id, group = next(responses, (0, iter(())))
    while item or turn_id:
        if item and keys.number_in(item.key.sk) >= turn_id:
            own_id = keys.number_in(item.key.sk)
            yield Node(own_id, item, list(group) if own_id == turn_id else [])
            item = next(items, None)
            if own_id != turn_id:
                continue
        else:
            for document in group:
                if is_live(document, live):
                    yield Node(keys.number_in(document.key.sk), None, [document])
        turn_id, group = next(responses, (0, iter(())))


def _next_by_time(user_id: int, session_id: int, models: StoredModels, after: int) -> Node | None:
    """Two requests."""
    item = next(table.walk(keys.turns(user_id, session_id, after=after), backwards=False, limit=1), None)
    before = keys.number_in(item.key.sk) if item else None
    span = keys.responses(user_id, session_id, before, after)
    for document in table.walk(span, backwards=False, limit=BY_TIME):
        if "turn" not in document.item and is_live(document, _ids(models)):
            return Node(turn_of(document), None, [document])
    return Node(before, item, []) if item and before else None


# A branch


def after_of(user_id: int, session_id: int, models: StoredModels, node: Node) -> int | None:
    """The turn that another one follows. No request; two where it follows by time."""
    if node.stored and node.stored.ancestry:
        return node.stored.after_turn_id
    before = next(by_time(user_id, session_id, models, node.turn_id, 2), None)
    return before.turn_id if before else None


def ancestors(
    user_id: int, session_id: int, models: StoredModels, turn_id: int, stored: StoredTurn | None
) -> Iterator[int]:
    """The ids of a turn's ancestors, from the nearest on.

    One request for every hundred of them. Two for every 25 on stretches where turns follow by time, or where such turns
    alternate with others.
    """
    older: Iterator[Node] | None = None
    """The walk by time below `turn_id`, kept from one stretch to the next."""
    while True:
        while stored and stored.ancestry:
            known = stored.ancestors()
            yield from known
            if stored.ancestry.is_whole:
                return
            is_near = turn_id - known[-1] <= BY_TIME  # a distant ancestor costs one read, the walk to it many
            turn_id = known[-1]
            passed = islice(older, BY_TIME) if older and is_near else ()
            node = next((each for each in passed if each.turn_id <= turn_id), None)
            if node is None:
                item = table.get(keys.turn(user_id, turn_id))
                stored, older = StoredTurn.model_validate_json(item.text) if item else None, None
            else:
                if node.turn_id < turn_id:  # the ancestor is gone, a response: the next by time follows
                    yield node.turn_id
                turn_id, stored = node.turn_id, node.stored
        older = older or by_time(user_id, session_id, models, turn_id, BY_TIME)
        for node in older:
            yield node.turn_id
            if not node.is_by_time:
                turn_id, stored = node.turn_id, node.stored
                break
        else:
            return


def load(
    user_id: int, turn_ids: Iterable[int], wanted: Container[int] | None = None, at_once: int = 50
) -> Iterator[Node]:
    """Those that are there, with their answers: all, or those of the wanted models.

    One request for the first `at_once` turns, then for twice as many, up to a hundred; and one for each hundred of their
    answers, or less when these are long.
    """
    left = iter(turn_ids)
    most = _FEW
    while some := list(islice(left, at_once)):
        items = table.fetch(keys.turn(user_id, each) for each in some)
        nodes = deque(Node(each, items.get(keys.turn(user_id, each)), []) for each in some)
        while nodes:
            places = {node.turn_id: _places(user_id, node, wanted) for node in nodes}
            taken = [nodes.popleft()]
            size = len(places[taken[0].turn_id])
            while nodes and size + len(places[nodes[0].turn_id]) <= most:
                size += len(places[nodes[0].turn_id])
                taken.append(nodes.popleft())
            found = table.fetch(key for node in taken for key in places[node.turn_id])
            for node in taken:
                node.answers = [found[key] for key in places[node.turn_id] if key in found]
                if node.item or any("turn" not in each.item for each in node.answers):
                    yield node
            is_short = sum(len(each.content) for each in found.values()) < _SHORT_BYTES
            most = min(4 * most, table.BATCH) if is_short else _FEW
        at_once = min(2 * at_once, table.BATCH)  # many may be gone: those are passed over


def _places(user_id: int, node: Node, wanted: Container[int] | None) -> list[keys.Key]:
    """Of its answers."""
    if node.stored is None:
        return [keys.response(user_id, node.turn_id)]
    asked = [each for each in node.stored.asked if wanted is None or each.session_model_id in wanted]
    return [keys.response(user_id, each.response_id) for each in asked]


# Siblings


def siblings(user_id: int, session_id: int, models: StoredModels, node: Node, after: int | None) -> list[int]:
    """All turns that follow the same one, `after`, the oldest first. One request; up to four more, where one may follow
    it by time."""
    live, shown, unsure = _ids(models), {node.turn_id}, []
    is_next = False
    for row in table.walk(keys.turns_after(user_id, session_id, after), backwards=False):
        turn_id = keys.last_number(row.key.sk)
        is_next |= "next" in row.item
        left = {int(each) for each in row.item.get("models", {}).get("SS", ())}
        if left & live:
            shown.add(turn_id)
        else:
            unsure.append(turn_id)
    shown |= {each.turn_id for each in load(user_id, unsure, ()) if _is_shown_without_answers(each, models)}
    if not is_next and not node.is_by_time:
        by_itself = _following_by_time(user_id, session_id, models, after)
        if by_itself:
            shown.add(by_itself.turn_id)
    return sorted(shown)


def _is_shown_without_answers(node: Node, models: StoredModels) -> bool:
    return node.item is not None and node.is_shown(models)


def _following_by_time(user_id: int, session_id: int, models: StoredModels, after: int | None) -> Node | None:
    """The turn that is next in time, if that is why it follows the other one."""
    if after is not None and not any(each.exists(models) for each in load(user_id, [after], ())):
        return None
    node = _next_by_time(user_id, session_id, models, after or session_id)
    if node is None or not node.is_by_time:
        return None
    return next((each for each in load(user_id, [node.turn_id]) if each.is_shown(models)), None)


def nearest(turn_ids: Sequence[int], turn_id: int) -> list[int]:
    """A hundred of them around one."""
    first = max(0, min(turn_ids.index(turn_id) - SIBLINGS // 2, len(turn_ids) - SIBLINGS))
    return list(turn_ids[first : first + SIBLINGS])
