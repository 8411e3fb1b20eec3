"""Cancels a turn, and sees to it that those who follow it live learn of its end."""

from practice import table
from practice.caller import Caller
from practice.errors import TurnFinished
from practice.runtime import queues
from practice.runtime.config import config
from practice.runtime.log import logger
from practice.schemas.turn import QueuedTurn, TurnStatus
from practice.store import turn_views
from practice.store.turn_state import TurnState, read
from practice.store.turns import LONGEST_LEASE_SECONDS, cancel_queued, cancel_running


def cancel(caller: Caller, session_id: int, turn_id: int) -> None:
    """Five requests, and one for a turn with followers: its runner may be dead, and a worker takes its place then.

    Raises NotFound, TurnFinished.
    """
    state = _cancel(caller, session_id, turn_id)
    if not state.followers:
        return
    message = QueuedTurn(user_id=caller.user_id, turn_id=turn_id)
    wait = LONGEST_LEASE_SECONDS if state.status == TurnStatus.RUNNING else 0
    try:
        queues.send_later(config().turn_queue_url, message.model_dump_json(), wait)
    except queues.NotSent as error:
        logger.warning("the followers of a turn wait for its worker", extra={"cause": str(error)})


@table.optimistic
def _cancel(caller: Caller, session_id: int, turn_id: int) -> TurnState:
    """The state that it leaves."""
    turn_views.find(caller.user_id, session_id, turn_id)
    state = read(caller.user_id, turn_id)
    if state is None or state.status in (TurnStatus.DONE, TurnStatus.FAILED):
        raise TurnFinished
    if state.status == TurnStatus.QUEUED:
        return cancel_queued(caller.user_id, state)
    if state.status == TurnStatus.RUNNING:
        return cancel_running(caller.user_id, state)
    return state
