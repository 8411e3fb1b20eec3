"""Turns as a learner sees them: one, a page of them, and the cancelling of one.

A response that was added by POST or queue has no item of a turn: it is a turn of its own, made on reading.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby

from practice import table
from practice.caller import Caller
from practice.errors import SessionNotFound, TurnFinished, TurnNotFound
from practice.limits import PAGE_SIZE
from practice.schemas.page import SliceQuery
from practice.schemas.response import Response
from practice.schemas.session_model import StoredModels
from practice.schemas.turn import Result, StoredTurn, Turn, TurnModel, TurnPage, TurnStatus
from practice.store.paging import Budget, Pager
from practice.store.turns import (
    Answers,
    TurnState,
    build_state,
    cancel_queued,
    cancel_running,
    read,
    read_state,
)
from practice.store.views import live_responses
from practice.table import keys


@dataclass(frozen=True, slots=True)
class Slice:
    turn: Turn
    next_cursor: str | None


def get(caller: Caller, session_id: int, turn_id: int, pager: Pager, cursor: str | None = None) -> Slice:
    """Two requests; one for a response that is a turn of its own."""
    before = _position(pager, "get_turn", turn_id, cursor)
    turn = whole(caller, session_id, turn_id)
    kept, complete = _fitting(turn, pager.budget(), before, is_first=True)
    assert kept is not None
    return Slice(kept, None if complete else pager.cursor(_lowest(kept), "get_turn", turn_id))


def whole(caller: Caller, session_id: int, turn_id: int) -> Turn:
    """However large it is. Two requests; one for a response that is a turn of its own."""
    turn_key, models_key = keys.turn(caller.user_id, turn_id), keys.models(caller.user_id, session_id)
    response_key = keys.response(caller.user_id, turn_id)
    found = table.fetch([turn_key, models_key, response_key])
    if models_key not in found:
        raise SessionNotFound
    if keys.session_of(turn_id) != session_id:
        raise TurnNotFound
    models = StoredModels.model_validate_json(found[models_key].text)
    if turn_key in found:
        state = read_state(caller.user_id, found[turn_key])
        state = _visible(state, _only_live(state.answers.values(), models))
        turn = _turn(state)
    else:
        documents = [found[response_key]] if response_key in found else []
        own = [each for each in live_responses(documents, models) if _turn_of(found[response_key]) == turn_id]
        turn = _turn_of_its_own(own[0], models) if own else None
    if turn is None:
        raise TurnNotFound
    return turn


def page(caller: Caller, session_id: int, query: SliceQuery, pager: Pager) -> TurnPage:
    """Ascending; the newest without a cursor, `next_cursor` leads to the older ones.

    Three requests, and one more for each megabyte of answers.
    """
    before = _position(pager, "list_turns", session_id, query.cursor)
    size = query.size or PAGE_SIZE
    models_key = keys.models(caller.user_id, session_id)
    document = table.get(models_key)
    if document is None:
        raise SessionNotFound
    models = StoredModels.model_validate_json(document.text)
    budget = pager.budget()
    newest_first: list[Turn] = []
    shown: int | None = None
    for turn in _newest_first(caller.user_id, session_id, models, before, size):
        if len(newest_first) == size:
            break
        kept, complete = _fitting(turn, budget, before, is_first=not newest_first)
        if kept is None:
            break
        newest_first.append(kept)
        shown = kept.turn_id if complete else _lowest(kept)
        if not complete:
            break
    else:
        shown = None
    cursor = None if shown is None else pager.cursor(shown, "list_turns", session_id)
    return TurnPage(items=newest_first[::-1], next_cursor=cursor)


@table.optimistic
def cancel(caller: Caller, session_id: int, turn_id: int, pager: Pager) -> None:
    """Five requests. Raises Conflict for a turn that has ended, NotFound for one that is not there."""
    get(caller, session_id, turn_id, pager)
    state = read(caller.user_id, turn_id)
    if state is None or state.status in (TurnStatus.DONE, TurnStatus.FAILED):
        raise TurnFinished
    if state.status == TurnStatus.QUEUED:
        cancel_queued(caller.user_id, state)
    elif state.status == TurnStatus.RUNNING:
        cancel_running(caller.user_id, state)


def _newest_first(
    user_id: int, session_id: int, models: StoredModels, before: int | None, size: int
) -> Iterator[Turn]:
    """Turns with an item and responses that are turns of their own, merged in the order of their ids."""
    items = table.walk(keys.turns(user_id, session_id, before), limit=size + 1)
    at_most = max(size, size * len(models.models)) + 1
    responses = groupby(table.walk(keys.responses(user_id, session_id, before), limit=at_most), _turn_of)
    item = next(items, None)
    turn_id, group = next(responses, (0, iter(())))
    while item or turn_id:
        stored = StoredTurn.model_validate_json(item.text) if item else None
        if stored and item and stored.turn_id >= turn_id:
            documents = list(group) if stored.turn_id == turn_id else []
            answers = {each.response_id: each for each in live_responses(documents, models)}
            state = build_state(item, stored, answers, documents)
            turn = _turn(_visible(state, answers))
            if turn:
                yield turn
            item = next(items, None)
            if stored.turn_id != turn_id:
                continue
        else:
            yield from (_turn_of_its_own(each, models) for each in live_responses(group, models))
        turn_id, group = next(responses, (0, iter(())))


def _turn_of(document: table.Document) -> int:
    """The turn a response belongs to: its own id when it was added by hand."""
    turn = document.item.get("turn")
    return int(turn["N"]) if turn else keys.number_in(document.key.sk)


def _only_live(responses: Iterable[Response], models: StoredModels) -> Answers:
    live = {model.session_model_id for model in models.models}
    return {each.response_id: each for each in responses if each.session_model_id in live}


def _visible(state: TurnState, answers: Answers) -> TurnState:
    return replace(state, answers=answers)


def _turn(state: TurnState) -> Turn | None:
    """None for a settled turn whose answers were all deleted: it is no longer shown."""
    status, errors = state.shown()
    results = state.results()
    if status == TurnStatus.DONE and not results and not errors:
        return None
    turn = state.turn
    return Turn(
        turn_id=turn.turn_id,
        session_id=turn.session_id,
        status=status,
        prompt_text=turn.prompt_text,
        created_at=turn.created_at,
        asked=list(turn.asked),
        results=results,
        errors=errors,
        settings=turn.settings,
    )


def _turn_of_its_own(response: Response, models: StoredModels) -> Turn:
    is_primary = response.session_model_id == models.primary_id
    return Turn(
        turn_id=response.response_id,
        session_id=response.session_id,
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
