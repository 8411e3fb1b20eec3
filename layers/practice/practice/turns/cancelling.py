"""Cancels a turn, and sees to it that those who follow it live learn of its end."""

from practice.caller import Caller
from practice.runtime import queues
from practice.runtime.config import config
from practice.runtime.log import logger
from practice.schemas.turn import QueuedTurn, TurnStatus
from practice.store import turn_views
from practice.store.turns import LONGEST_LEASE_SECONDS


def cancel(caller: Caller, session_id: int, turn_id: int) -> None:
    """Five requests, and one for a turn with followers: its runner may be dead, and a worker takes its place then.

    Raises NotFound, TurnFinished.
    """
    state = turn_views.cancel(caller, session_id, turn_id)
    if not state.followers:
        return
    message = QueuedTurn(user_id=caller.user_id, turn_id=turn_id)
    wait = LONGEST_LEASE_SECONDS if state.status == TurnStatus.RUNNING else 0
    try:
        queues.send_later(config().turn_queue_url, message.model_dump_json(), wait)
    except queues.NotSent as error:
        logger.warning("the followers of a turn wait for its worker", extra={"cause": str(error)})
