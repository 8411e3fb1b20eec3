"""Turns as a learner sees them: one, and a page of them.

A response that was added by POST or queue has no item of a turn: it is a turn of its own, made on reading.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple, TypeVar

from practice import table
from practice.caller import Caller
from practice.errors import SessionNotFound, TurnNotFound
from practice.limits import PAGE_SIZE
from practice.schemas.response import Response
from practice.schemas.session_model import StoredModels
from practice.schemas.turn import Result, TurnModel, TurnStatus
from practice.schemas.turn_replies import Turn, TurnPage, TurnWithSiblings
from practice.schemas.turn_requests import TurnListQuery
from practice.store import branches
from practice.store.branches import Node
from practice.store.paging import Budget, Pager
from practice.store.views import live_responses
from practice.table import keys


@dataclass(frozen=True, slots=True)
class Slice:
    turn: TurnWithSiblings
    next_cursor: str | None


def get(caller: Caller, session_id: int, turn_id: int, pager: Pager, cursor: str | None = None) -> Slice:
    """Three requests; up to four more where turns follow each other by time."""
    before = _position(pager, "get_turn", turn_id, cursor)
    models, node = find(caller.user_id, session_id, turn_id)
    after = branches.after_of(caller.user_id, session_id, models, node)
    siblings = branches.siblings(caller.user_id, session_id, models, node, after)
    kept, complete = _fitting(_turn(node, models, after), pager.budget(), before, is_first=True)
    assert kept is not None
    turn = TurnWithSiblings(
        **dict(kept), siblings=branches.nearest(siblings, turn_id), siblings_total=len(siblings)
    )
    return Slice(turn, None if complete else pager.cursor(_lowest(kept), "get_turn", turn_id))


def whole(caller: Caller, session_id: int, turn_id: int) -> Turn:
    """However large it is. Two requests; two more where turns follow each other by time."""
    models, node = find(caller.user_id, session_id, turn_id)
    return _turn(node, models, branches.after_of(caller.user_id, session_id, models, node))


def find(user_id: int, session_id: int, turn_id: int) -> tuple[StoredModels, Node]:
    """Two requests; one for a response that is a turn of its own. Raises NotFound."""
    models, node = _look_for(user_id, session_id, turn_id)
    if keys.session_of(turn_id) != session_id or not node.is_shown(models):
        raise TurnNotFound
    return models, node


def _look_for(user_id: int, session_id: int, turn_id: int) -> tuple[StoredModels, Node]:
    """The same, with a node of nothing for a turn that is not there."""
    turn_key, models_key = keys.turn(user_id, turn_id), keys.models(user_id, session_id)
    response_key = keys.response(user_id, turn_id)
    found = table.fetch([turn_key, models_key, response_key])
    if models_key not in found:
        raise SessionNotFound
    node = Node(turn_id, found.get(turn_key), [])
    if node.stored:
        answers = table.fetch(keys.response(user_id, each.response_id) for each in node.stored.asked)
        node.answers = list(answers.values())
    elif response_key in found and "turn" not in found[response_key].item:
        node.answers = [found[response_key]]
    return StoredModels.model_validate_json(found[models_key].text), node


def page(caller: Caller, session_id: int, query: TurnListQuery, pager: Pager) -> TurnPage:
    """Ascending; the newest without a cursor, `next_cursor` leads to the older ones.

    Three requests, and one more for each megabyte of answers.
    """
    if query.leaf is not None:
        return _page_of_branch(caller, session_id, query.leaf, query, pager)
    before = _position(pager, "list_turns", session_id, query.cursor)
    document = table.get(keys.models(caller.user_id, session_id))
    if document is None:
        raise SessionNotFound
    models = StoredModels.model_validate_json(document.text)
    size = query.size or PAGE_SIZE
    nodes = branches.by_time(caller.user_id, session_id, models, before, size + 2)
    in_order = (
        (node, older.turn_id if node.is_by_time and older else node.after_turn_id)
        for node, older in _with_next(nodes)
    )
    filled = _fill(in_order, models, size, before, pager)
    cursor = None
    if filled.last:
        position = filled.last.turn_id if filled.is_complete else _lowest(filled.last)
        cursor = pager.cursor(position, "list_turns", session_id)
    return TurnPage(items=filled.items, next_cursor=cursor)


def _page_of_branch(
    caller: Caller, session_id: int, leaf: int, query: TurnListQuery, pager: Pager
) -> TurnPage:
    """A turn with its ancestors. Two requests, and what it takes to read as many turns by their ids."""
    size = query.size or PAGE_SIZE
    if query.cursor is None:
        start, before, is_shown = leaf, None, False
        models, node = find(caller.user_id, session_id, start)
    else:
        position = pager.position(query.cursor, "list_turns", session_id, leaf).split()
        start, before, is_shown = int(position[0]), int(position[1]) or None, position[1] == "0"
        models, node = _look_for(caller.user_id, session_id, start)
    branch = branches.ancestors(caller.user_id, session_id, models, start, node.stored)
    after: dict[int, int | None] = {}

    def ids() -> Iterator[int]:
        for turn_id, older in _with_next(branch if is_shown else chain([start], branch)):
            after[turn_id] = older
            yield turn_id

    nodes = branches.load(caller.user_id, ids(), at_once=min(size + 1, table.BATCH))
    filled = _fill(((each, after[each.turn_id]) for each in nodes), models, size, before, pager)
    cursor = None
    if filled.last:
        lowest = 0 if filled.is_complete else _lowest(filled.last)
        cursor = pager.cursor(f"{filled.last.turn_id} {lowest}", "list_turns", session_id, leaf)
    return TurnPage(items=filled.items, next_cursor=cursor)


Each = TypeVar("Each")


def _with_next(values: Iterable[Each]) -> Iterator[tuple[Each, Each | None]]:
    left = iter(values)
    value = next(left, None)
    while value is not None:
        following = next(left, None)
        yield value, following
        value = following


class _Filled(NamedTuple):
    items: list[Turn]
    """Ascending."""
    last: Turn | None
    """The oldest; None when there are no more before it."""
    is_complete: bool
    """Whether all of that one was shown."""


def _fill(
    newest_first: Iterable[tuple[Node, int | None]],
    models: StoredModels,
    size: int,
    before: int | None,
    pager: Pager,
) -> _Filled:
    """A page of turns, each with the one it follows; of the first the results that come before `before`."""
    budget = pager.budget()
    kept: list[Turn] = []
    is_complete = True
    for node, after in newest_first:
        if not node.is_shown(models):
            continue
        if len(kept) == size:
            break
        part, is_complete = _fitting(_turn(node, models, after), budget, before, is_first=not kept)
        if part is None:
            is_complete = True
            break
        kept.append(part)
        if not is_complete:
            break
    else:
        return _Filled(kept[::-1], None, is_complete)
    return _Filled(kept[::-1], kept[-1], is_complete)


def _turn(node: Node, models: StoredModels, after: int | None) -> Turn:
    state = node.state(models)
    if state is None:
        [response] = live_responses(node.answers, models)
        return _turn_of_its_own(response, models, after)
    status, errors = state.shown()
    turn = state.turn
    return Turn(
        turn_id=turn.turn_id,
        session_id=turn.session_id,
        after_turn_id=after,
        status=status,
        prompt_text=turn.prompt_text,
        created_at=turn.created_at,
        asked=list(turn.asked),
        results=state.results(),
        errors=errors,
        settings=turn.settings,
    )


def _turn_of_its_own(response: Response, models: StoredModels, after: int | None) -> Turn:
    is_primary = response.session_model_id == models.primary_id
    return Turn(
        turn_id=response.response_id,
        session_id=response.session_id,
        after_turn_id=after,
        status=TurnStatus.DONE,
        prompt_text=response.prompt_text,
        created_at=response.created_at,
        asked=[
            TurnModel(
                session_model_id=response.session_model_id,
                model_name=response.model_name,
                response_id=response.response_id,
                is_primary=is_primary,
            )
        ],
        results=[Result.of(response, is_primary=is_primary, generation_params={})],
        errors=[],
        settings=None,
    )


def _fitting(turn: Turn, budget: Budget, before: int | None, *, is_first: bool) -> tuple[Turn | None, bool]:
    """The turn with as many of its last results as there is room for, and whether that is all that was left of it.

    The first of a page has at least one: the limits of its parts leave room for it.
    """
    left = [each for each in turn.results if before is None or each.response_id < before]
    own = turn.model_copy(update={"results": []})
    if not budget.take(own.model_dump_json()) and not is_first:
        return None, False
    kept: list[Result] = []
    for result in reversed(left):
        if not budget.take(result.model_dump_json()) and (kept or not is_first):
            break
        kept.append(result)
    if left and not kept:
        return None, False
    return own.model_copy(update={"results": kept[::-1]}), len(kept) == len(left)


def _lowest(turn: Turn) -> int:
    return turn.results[0].response_id


def _position(pager: Pager, route: str, of: int, cursor: str | None) -> int | None:
    return None if cursor is None else int(pager.position(cursor, route, of))
