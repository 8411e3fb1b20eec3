"""Who runs a turn: the function that was asked, or a worker that takes it from the queue."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from practice import table
from practice.errors import DailyBudgetSpent, PracticeError, SessionNotFound
from practice.runtime.deadline import Deadline
from practice.runtime.log import logger
from practice.schemas.turn import IN_PROGRESS, ErrorCode, QueuedTurn
from practice.store import catalogue, followers, reservations, turn_state, turns, usage
from practice.store.history import History
from practice.store.turn_state import TurnState
from practice.store.turns import LONGEST_LEASE_SECONDS, Lease
from practice.store.views import View, examples_in, read_view
from practice.table import keys
from practice.turns.live import Live
from practice.turns.run import PromptContext, run_turn

MARGIN_SECONDS: Final = 3.0
"""Kept back from a function's time, to settle the turn and to answer."""
WORKER_LEASE: Final = Lease(LONGEST_LEASE_SECONDS, 3 * 960)
"""A worker renews its lease every third of a minute; its message comes back twice, after 16 minutes each."""
BEAT_SECONDS: Final = 20.0
PAUSE_SECONDS: Final = 1.0
NO_BUDGET: Final = "the budget of the day was spent when the turn was resumed"
LIVE_SECONDS: Final = 20.0
"""How long a worker waits for followers after a turn."""


def answer_turn(
    user_id: int,
    state: TurnState,
    view: View,
    deadline: Deadline,
    *,
    was_running: bool = False,
    live_seconds: float,
) -> TurnState:
    """One request when examples are selected, one for each answer, one at the end; two more when the turn has followers,
    and more for a history that is not among the newest responses of the session.

    `was_running`: another runner may have sent pieces of answers. Followers have `live_seconds` to take the rest.
    A turn whose reservation was given back is held anew: two requests more.
    """
    turn = state.turn
    if state.is_released:
        state = _held_anew(user_id, state, deadline)
    background = PromptContext(
        examples_in(user_id, view, turn.settings.few_shot_example_ids),
        History.before(user_id, view, turn).of_model,
    )
    live = Live.of_state(user_id, state, view.session.title)
    for follower in state.followers:
        live.add(follower, was_sent=was_running)
    try:
        state = run_turn(user_id, state, background, deadline.less(MARGIN_SECONDS), live)
        live.end(state, min(live_seconds, deadline.remaining() - 1))
    except SessionNotFound as error:
        live.refuse(error, min(live_seconds, deadline.remaining() - 1))
        raise
    finally:
        live.stop()
    return state


def _send_the_rest(user_id: int, state: TurnState) -> None:
    """Of a turn that has ended while its runner was dead, or before one began."""
    if not (state.followers and followers.claim(user_id, state.turn.turn_id)):
        return
    view = read_view(user_id, state.turn.session_id, with_responses=False)
    live = Live.of_state(user_id, state, view.session.title)
    for follower in state.followers:
        live.add(follower, was_sent=True)
    live.end(state, LIVE_SECONDS)


def _held_anew(user_id: int, state: TurnState, deadline: Deadline) -> TurnState:
    """Its models without an answer have failed when a budget does not hold it any more."""
    budgets = usage.budgets_for(catalogue.look_up(state.turn.class_id, None).practice_class)
    try:
        return reservations.within_budget(
            user_id, lambda: reservations.renew(user_id, state, budgets, deadline.remaining())
        )
    except DailyBudgetSpent:
        refused = [asked.error(ErrorCode.DAILY_BUDGET_SPENT, NO_BUDGET) for asked in state.pending()]
        return replace(state, errors=[*state.errors, *refused])


class TurnInProgress(Exception):
    """Another worker has the turn; should it die, the message is needed."""


def run_queued_turn(message: QueuedTurn, deadline: Deadline) -> None:
    """A queued turn, or one whose worker died; nothing for one that is settled or deleted.

    While another worker holds the lease, waits for it to lapse. Raises TurnInProgress when too little time is left.
    """
    user_id, turn_id = message.user_id, message.turn_id
    while (claim := turns.claim(user_id, turn_id, WORKER_LEASE)) is None:
        found = table.peek(keys.turn(user_id, turn_id), "status")  # its answers may have megabytes
        if found is None:
            return
        if found["status"]["S"] not in IN_PROGRESS:
            if state := turn_state.read(user_id, turn_id):
                _send_the_rest(user_id, state)
            return
        if deadline.remaining() < 2 * WORKER_LEASE.seconds:
            raise TurnInProgress
        time.sleep(PAUSE_SECONDS)
    state = turn_state.read(user_id, turn_id)
    if state is None:
        return
    try:
        view = read_view(user_id, keys.session_of(turn_id), with_responses=True)
        with _heartbeat(user_id, turn_id, claim.worker):
            answer_turn(
                user_id, state, view, deadline, was_running=claim.was_running, live_seconds=LIVE_SECONDS
            )
    except SessionNotFound:
        return  # deleted, and its turns with it


@contextmanager
def _heartbeat(user_id: int, turn_id: int, worker: str) -> Iterator[None]:
    done = threading.Event()

    def beat() -> None:
        while not done.wait(BEAT_SECONDS):
            try:
                turns.extend_lease(user_id, turn_id, worker, WORKER_LEASE)
            except PracticeError as error:
                logger.warning("no heartbeat", extra={"cause": type(error).__name__})

    threading.Thread(target=beat, name=f"heartbeat of {turn_id}", daemon=True).start()
    try:
        yield
    finally:
        done.set()
