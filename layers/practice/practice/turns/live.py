"""Sends what happens in a turn to those who follow it.

The pieces of every answer are kept until the turn ends. Each follower has a thread that sends what it has not sent yet, so
a follower that comes late, or is slow, costs neither the turn nor the others anything.
"""

import contextvars
import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from io import StringIO
from typing import Any, Final

from pydantic_core import to_json

from practice.errors import NotFound, PracticeError
from practice.limits import (
    DELTA_BYTES,
    FOLLOWER_BACKLOG_BYTES,
    LIVE_MESSAGE_BYTES,
    MODEL_NAME_CHARACTERS,
)
from practice.runtime import connections
from practice.runtime.log import count, logger
from practice.schemas.base import BaseModel
from practice.schemas.live import (
    AnswerDelta,
    AnswerDone,
    AnswerFailed,
    AnswerRestarted,
    LiveError,
    LiveResult,
    TurnDone,
    TurnStarted,
    shown_title,
)
from practice.schemas.response import Response
from practice.schemas.turn import IN_PROGRESS, AskedModel, TurnError, TurnModel, TurnStatus
from practice.schemas.turn_replies import Turn
from practice.store import connections as stored_connections
from practice.store import followers
from practice.store.turn_state import Follower, Followers, TurnState

DELTA_SECONDS: Final = 0.105
"""Between two deltas of an answer that is being written. With ten a second, 30 seconds of three models would take more than
900 messages: the first and the last ones come on top.
"""

Send = Callable[[str, str], None]
"""To a connection, a message. Raises Gone or Unclear."""


@dataclass(slots=True)
class _Answer:
    model: TurnModel
    text: StringIO = field(default_factory=StringIO)
    length: int = 0
    size: int = 0
    """In bytes."""
    streamed: int = 0
    """Of those, what came in pieces: a whole answer at once is not what a slow follower is behind with."""
    round: int = 0
    """Raised by every restart."""
    done: tuple[LiveResult, str] | None = None
    """With the hash of the text."""
    error: TurnError | None = None

    @property
    def has_ended(self) -> bool:
        return self.done is not None or self.error is not None

    def write(self, piece: str) -> None:
        size = len(piece.encode())
        self.text.seek(self.length)
        self.text.write(piece)
        self.length += len(piece)
        self.size += size
        self.streamed += size if size <= DELTA_BYTES else 0

    def clear(self) -> None:
        self.text, self.length, self.size, self.streamed = StringIO(), 0, 0, 0
        self.round += 1

    def piece(self, offset: int) -> str:
        """The next delta's text: what is there, but not more than a message holds."""
        self.text.seek(offset)
        return delta_of(self.text.read(DELTA_BYTES))


def delta_of(text: str) -> str:
    """The longest beginning of a text that is `DELTA_BYTES` of JSON at most."""
    while len(to_json(text)) > DELTA_BYTES:
        text = text[: max(1, len(text) * DELTA_BYTES // (len(to_json(text)) + 1))]
    return text


@dataclass(slots=True)
class _Sent:
    """How far one follower is with one answer."""

    round: int
    streamed_before: int = 0
    offset: int = 0
    size: int = 0
    has_ended: bool = False
    next_at: float = 0.0


class Live:
    """The followers of one turn, as its runner sees them.

    What happens in the turn comes from several threads: no method raises for it, and none waits for a connection.
    """

    def __init__(
        self,
        user_id: int,
        turn_id: int,
        session_id: int,
        models: Sequence[TurnModel],
        title: str | None,
        send: Send = connections.post,
    ) -> None:
        self._user_id = user_id
        self.turn_id = turn_id
        self.session_id = session_id
        self.title = shown_title(title)
        self.answers = {model.response_id: _Answer(model) for model in models}
        self.status: TurnStatus | None = None
        """Once it has ended."""
        self.error: NotFound | None = None
        """Once it is gone."""
        self.changed = threading.Condition()
        self.send = send
        self._following: dict[Follower, _Sender] = {}

    @classmethod
    def of_state(cls, user_id: int, state: TurnState, title: str | None) -> "Live":
        turn = state.turn
        live = cls(user_id, turn.turn_id, turn.session_id, turn.asked, title)
        live._fill(state)
        if state.status not in IN_PROGRESS:
            live.status = state.status
        return live

    @classmethod
    def of_turn(cls, user_id: int, turn: Turn, title: str | None) -> "Live":
        """One that has ended."""
        live = cls(user_id, turn.turn_id, turn.session_id, turn.asked, title)
        for result in turn.results:
            live._settle(live.answers[result.response_id], LiveResult.of(result), result.response_text)
        live._fail(turn.errors)
        live.status = turn.status
        return live

    # What happens in the turn

    def wrote(self, asked: AskedModel, piece: str) -> None:
        with self.changed:
            answer = self.answers[asked.response_id]
            if self.status is None and not answer.has_ended and piece:
                answer.write(piece)
                self.changed.notify_all()

    def restarted(self, asked: AskedModel) -> None:
        with self.changed:
            answer = self.answers[asked.response_id]
            if self.status is None and not answer.has_ended and answer.length:
                answer.clear()
                self.changed.notify_all()

    def answered(self, asked: AskedModel, response: Response, sent: dict[str, Any]) -> None:
        with self.changed:
            answer = self.answers[asked.response_id]
            if self.status is None and not answer.has_ended:
                result = LiveResult.of_response(response, asked, sent)
                self._settle(answer, result, response.response_text)
                self.changed.notify_all()

    def failed(self, asked: AskedModel, error: TurnError) -> None:
        with self.changed:
            if self.status is None:
                self._fail([error])
                self.changed.notify_all()

    def _settle(self, answer: _Answer, result: LiveResult, text: str) -> None:
        if answer.error or answer.text.getvalue() != text:
            # Another worker's answer was there first, or came at the last moment, and is the one that counts.
            if answer.error or answer.length:
                answer.clear()
            answer.write(text)
        answer.error = None
        answer.done = (result, hashlib.sha256(text.encode()).hexdigest())

    def _fail(self, errors: Iterable[TurnError]) -> None:
        failed = {error.session_model_id: error for error in errors}
        for answer in self.answers.values():
            if answer.done is None and answer.model.session_model_id in failed:
                answer.error = failed[answer.model.session_model_id]

    def _fill(self, state: TurnState) -> None:
        """What a state knows beyond what was learned as it happened."""
        for asked in state.turn.asked:
            answer = self.answers[asked.response_id]
            response = state.answers.get(asked.response_id)
            if response and answer.done is None:
                sent = state.sent.get(asked.response_id, asked.generation_params)
                self._settle(answer, LiveResult.of_response(response, asked, sent), response.response_text)
        self._fail(state.errors)

    # Who follows it

    @property
    def followers(self) -> Followers:
        with self.changed:
            return frozenset(follower for follower, sender in self._following.items() if sender.is_open)

    def sight(self, followers: Followers, refused: Followers = frozenset()) -> None:
        """Those who follow now, and those of them who may not any more."""
        for follower in refused:
            self.drop(follower, is_gone=True)
        for follower in followers - refused:
            self.add(follower)
        for follower in self._slow():
            self.drop(follower, is_gone=True)

    def add(self, follower: Follower, *, was_sent: bool = False, greets: bool = False) -> None:
        """Sends it all from the beginning; nothing for one that was added before.

        `was_sent`: another worker may have sent it something. `greets`: `turn.started` comes first.
        """
        with self.changed:
            if follower in self._following:
                return
            sent = {
                response_id: _Sent(answer.round - was_sent, answer.streamed)
                for response_id, answer in self.answers.items()
            }
            sender = self._following[follower] = _Sender(self, follower, sent, greets=greets)
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(sender.run,), name="follower", daemon=True)
        thread.start()

    def end(self, state: TurnState, seconds: float) -> None:
        """Sends the rest to all followers, within so many seconds. A slower one's connection is closed.

        Three requests when there are followers.
        """
        with self.changed:
            self._fill(state)
            self.status = state.status
            self.changed.notify_all()
        if not (state.followers or self.followers):
            return
        sighting = followers.look(self._user_id, self.turn_id, self.followers)
        self.sight(sighting.followers, sighting.refused)
        self.finish(seconds)
        followers.forget(self._user_id, self.turn_id)

    def finish(self, seconds: float) -> None:
        ends_at = time.monotonic() + seconds
        with self.changed:
            while (left := ends_at - time.monotonic()) > 0:
                if not any(sender.is_open for sender in self._following.values()):
                    return
                self.changed.wait(left)
        for follower in self.followers:
            self.drop(follower, is_gone=True)

    def stop(self) -> None:
        """The runner fails: nothing more is sent, and another one begins anew."""
        for follower in self.followers:
            self.drop(follower, is_gone=False)

    def refuse(self, error: NotFound, seconds: float) -> None:
        """The turn is gone, with its session or with its user. One request when there are followers."""
        if self.followers:
            self.sight(frozenset(), followers.look(self._user_id, self.turn_id, self.followers).refused)
        with self.changed:
            self.error = error
            self.changed.notify_all()
        self.finish(seconds)

    def _slow(self) -> list[Follower]:
        with self.changed:
            return [
                follower
                for follower, sender in self._following.items()
                if sender.is_open and sender.backlog() > FOLLOWER_BACKLOG_BYTES
            ]

    def drop(self, follower: Follower, *, is_gone: bool) -> None:
        """Sends it nothing more. `is_gone`: its connection is closed, too."""
        with self.changed:
            sender = self._following.get(follower)
            if sender is None or not sender.is_open:
                return
            sender.is_open = False
            self.changed.notify_all()
        if is_gone:
            context = contextvars.copy_context()
            threading.Thread(
                target=context.run, args=(self._forget, follower), name="close", daemon=True
            ).start()

    def _forget(self, follower: Follower) -> None:
        """Its connection is closed and removed. Asks the network: never in the thread of the turn."""
        connections.close(follower.connection_id)
        try:
            stored_connections.remove(self._user_id, follower.connection_id)
            followers.unfollow(self._user_id, self.turn_id, [follower])
        except PracticeError as error:
            logger.warning("a connection was not removed", extra={"cause": type(error).__name__})


class _Sender:
    """Sends one follower what it has not been sent yet."""

    def __init__(self, live: Live, follower: Follower, sent: dict[int, _Sent], *, greets: bool) -> None:
        self._live = live
        self._follower = follower
        self._sent = sent
        self._greets = greets
        self._is_done = False
        self.is_open = True

    def run(self) -> None:
        live = self._live
        try:
            while True:
                with live.changed:
                    message, wait = self._next(time.monotonic())
                    if not self.is_open or (message is None and wait is None):
                        break
                    if message is None:
                        live.changed.wait(wait)
                        continue
                live.send(self._follower.connection_id, text_of(message))
        except connections.Gone:
            live.drop(self._follower, is_gone=True)
        except Exception as error:  # noqa: BLE001  # costs this follower its connection, never the turn
            logger.warning("a follower is closed", extra={"cause": type(error).__name__})
            count("followers_closed")
            live.drop(self._follower, is_gone=True)
        else:
            live.drop(self._follower, is_gone=False)

    def backlog(self) -> int:
        """Bytes that were written since it follows and that it has not been sent."""
        behind = 0
        for response_id, sent in self._sent.items():
            answer = self._live.answers[response_id]
            if sent.round == answer.round and not answer.error:
                behind += min(answer.size - sent.size, answer.streamed - sent.streamed_before)
        return behind

    def _next(self, now: float) -> tuple[BaseModel | None, float | None]:
        """A message, or for how long to wait for one; neither when all is sent."""
        live, own_id = self._live, self._follower.id
        if self._greets:
            self._greets = False
            models = [answer.model for answer in live.answers.values()]
            return started(own_id, live.turn_id, live.session_id, models), None
        if live.error:
            return self._last(LiveError(id=own_id, status=HTTPStatus.NOT_FOUND, detail=live.error.detail))
        earliest = now + _LONGEST_WAIT
        for response_id, sent in self._sent.items():
            answer = live.answers[response_id]
            if live.status and not answer.has_ended:
                continue  # cancelled in the queue, or its answer was deleted
            if sent.round != answer.round:
                self._sent[response_id] = _Sent(answer.round)
                return AnswerRestarted(id=own_id, turn_id=live.turn_id, response_id=response_id), None
            if sent.has_ended:
                continue
            if answer.error:
                sent.has_ended = True
                return _failed(own_id, live.turn_id, answer.error), None
            if sent.offset < answer.length:
                is_due = now >= sent.next_at or answer.done or answer.length - sent.offset >= DELTA_BYTES
                if is_due:
                    return self._delta(response_id, answer, sent, now), None
                earliest = min(earliest, sent.next_at)
            elif answer.done:
                sent.has_ended = True
                result, digest = answer.done
                return _done(own_id, live.turn_id, result, answer.length, digest), None
        if live.status is None:
            return None, earliest - now
        return self._last(
            TurnDone(id=own_id, turn_id=live.turn_id, status=live.status, session_title=live.title)
        )

    def _last(self, message: BaseModel) -> tuple[BaseModel | None, None]:
        is_sent, self._is_done = self._is_done, True
        return None if is_sent else message, None

    def _delta(self, response_id: int, answer: _Answer, sent: _Sent, now: float) -> AnswerDelta:
        piece = answer.piece(sent.offset)
        delta = AnswerDelta(
            id=self._follower.id,
            turn_id=self._live.turn_id,
            response_id=response_id,
            offset=sent.offset,
            text=piece,
        )
        sent.offset += len(piece)
        sent.size += len(piece.encode())
        sent.next_at = now + DELTA_SECONDS
        self._sent[response_id] = self._sent.pop(response_id)  # the other answers come first the next time
        return delta


_LONGEST_WAIT: Final = 60.0


def _fields(model: TurnModel) -> dict[str, Any]:
    return {name: getattr(model, name) for name in TurnModel.model_fields}


def text_of(message: BaseModel) -> str:
    return message.model_dump_json()


def _fits(message: BaseModel) -> bool:
    return len(text_of(message).encode()) <= LIVE_MESSAGE_BYTES


def started(own_id: str, turn_id: int, session_id: int, models: Sequence[TurnModel]) -> TurnStarted:
    """With names as long as fit."""
    shown = [TurnModel(**_fields(each)) for each in models]
    message = TurnStarted(id=own_id, turn_id=turn_id, session_id=session_id, models=shown)
    length = MODEL_NAME_CHARACTERS
    while not _fits(message):
        length //= 2
        for each in shown:
            each.model_name = each.model_name[:length]
    return message


def _failed(own_id: str, turn_id: int, error: TurnError) -> AnswerFailed:
    """With as much of the detail as fits."""
    message = AnswerFailed(id=own_id, turn_id=turn_id, error=error.model_copy())
    while not _fits(message):
        message.error.detail = message.error.detail[: len(message.error.detail) // 2]
    return message


def _done(own_id: str, turn_id: int, result: LiveResult, length: int, digest: str) -> AnswerDone:
    done = AnswerDone(id=own_id, turn_id=turn_id, result=result, length=length, sha256=digest)
    for name in ("generation_params", "token_usage"):
        if not _fits(done):
            done.result = done.result.model_copy(update={name: None})
    return done
