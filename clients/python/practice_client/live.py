"""Turns over the live API: an asynchronous iterator over the events of each. Needs the package websockets."""

import asyncio
import hashlib
import json
import random
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self, TypedDict

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from practice_client.errors import ConnectionFailed, PracticeError, Unauthorized, refusal
from practice_client.live_messages import (
    EVENTS,
    Actions,
    AnswerDelta,
    AnswerDone,
    AnswerFailed,
    AnswerRestarted,
    TurnDone,
    TurnEvent,
    TurnStarted,
)
from practice_client.models import TurnAccepted
from practice_client.transport import Transport, read

LARGEST_MESSAGE: Final = 32 * 1024
LONGEST_ID: Final = "9" * 16
PASSING: Final = ("request_in_flight", "too_many_followers", "too many requests")


class _Lost(ConnectionFailed):
    """Another connection may do better."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, None)


class Live(Actions):
    """The live API. All turns of one event loop share a connection; `async with client.live:` keeps it open between turns.

    A lost connection is opened again, and its turns are followed from where they were. After `tries` failures in a row the
    iterator raises ConnectionFailed; the turn itself goes on. `patience`: the seconds without the first event, or the answer
    to a ping, after which a connection is given up.
    """

    def __init__(
        self,
        transport: Transport,
        url: str,
        *,
        tries: int = 8,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        ping_seconds: float = 300.0,
        patience: float = 20.0,
    ) -> None:
        self._transport = transport
        self._url = url
        self._tries = tries
        self._sleep = sleep
        self._ping_seconds = ping_seconds
        self._patience = patience
        self._users = 0
        self._opening: asyncio.Task[_Connection] | None = None

    async def __aenter__(self) -> Self:
        self._users += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._release()

    async def cancel(self, session_id: int, turn_id: int) -> TurnDone:
        """Stops a turn: what its models have written so far is kept."""
        action = {"action": "cancel", "session_id": session_id, "turn_id": turn_id}
        async with aclosing(self._events(action)) as events:
            async for event in events:
                if isinstance(event, TurnDone):
                    return event
        raise AssertionError("the events of a turn end with its end")

    async def _events(self, action: Mapping[str, Any]) -> AsyncGenerator[TurnEvent]:
        if action["action"] in ("chat", "run"):
            action = {**action, "idempotency_key": action.get("idempotency_key") or str(uuid.uuid4())}
        turn = _Turn()
        failures = 0
        self._users += 1
        try:
            while True:
                try:
                    if _size(action) > LARGEST_MESSAGE:
                        action = await self._begin(action)
                    async with aclosing(self._replies(action)) as replies:
                        async for message in replies:
                            for event in turn.take(message):
                                failures = 0
                                yield event
                                if isinstance(event, TurnDone):
                                    return
                except (PracticeError, ConnectionFailed) as error:
                    failures += 1
                    if failures == self._tries or not _is_passing(error):
                        raise
                    pause = random.uniform(0, min(30.0, 0.5 * 2**failures))  # noqa: S311  # jitter, not a secret
                    await self._sleep(pause)
                if turn.started and action["action"] != "cancel":
                    ids = {"session_id": turn.started.session_id, "turn_id": turn.started.turn_id}
                    action = {"action": "follow", **ids}
                turn.start_over()
        finally:
            await self._release()

    async def _replies(self, action: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        connection = await self._connected()
        async with aclosing(connection.replies(action, self._patience)) as replies:
            async for message in replies:
                yield message

    async def _begin(self, action: Mapping[str, Any]) -> Mapping[str, Any]:
        """Begins a turn over HTTP that does not fit a message."""
        body = {name: value for name, value in action.items() if name not in ("action", "idempotency_key")}
        if action["action"] == "chat":
            path, query = f"/user/practice/sessions/{body.pop('session_id')}/chat", {}
        else:
            path, query = "/user/practice/sessions/run", {"class_id": body.pop("class_id")}
        accepted: TurnAccepted = await self._ask(
            "POST",
            path,
            {202: TurnAccepted},
            query=query,
            body=body,
            idempotency_key=action["idempotency_key"],
            prefer="respond-async",
        )
        return {"action": "follow", "session_id": accepted.session_id, "turn_id": accepted.turn_id}

    async def _ask(self, *arguments: Any, **named: Any) -> Any:
        return await asyncio.to_thread(self._transport._request, *arguments, **named)  # noqa: SLF001  # of the same package

    async def _connected(self) -> "_Connection":
        """The open connection, or a new one that all turns share."""
        opening = self._opening
        if opening is None or (opening.done() and (opening.exception() or opening.result().is_lost)):
            opening = self._opening = asyncio.create_task(self._open(opening))
        return await asyncio.shield(opening)

    async def _open(self, lost: "asyncio.Task[_Connection] | None") -> "_Connection":
        """One handshake. After a failed one a request over HTTP finds out whether it is the token."""
        if lost and not lost.exception():
            await lost.result().close()
        token = await asyncio.to_thread(self._transport.token)
        try:
            socket = await connect(
                self._url,
                additional_headers={"authorization": f"Bearer {token}"},
                open_timeout=self._patience,
                close_timeout=1,
                ping_interval=None,
            )
        except (OSError, TimeoutError, WebSocketException) as error:
            try:
                await self._ask("GET", "/user/practice/sessions", {200: dict}, query={"size": 1}, tries=1)
            except Unauthorized:
                raise
            except (PracticeError, ConnectionFailed) as refused:
                raise _Lost(str(refused)) from error
            raise _Lost(f"the handshake failed, but HTTP works: {error}") from error
        return _Connection(socket, self._ping_seconds, self._patience)

    async def _release(self) -> None:
        self._users -= 1
        if self._users == 0 and self._opening:
            opening, self._opening = self._opening, None
            opening.cancel()
            [opened] = await asyncio.gather(opening, return_exceptions=True)
            if isinstance(opened, _Connection):
                await opened.close()


class _Connection:
    def __init__(self, socket: ClientConnection, ping_seconds: float, patience: float) -> None:
        self.is_lost = False
        self._socket = socket
        self._sent = 0
        self._inboxes: dict[str, asyncio.Queue[dict[str, Any] | _Lost]] = {}
        self._pong = asyncio.Event()
        self._tasks = (
            asyncio.create_task(self._read()),
            asyncio.create_task(self._ping(ping_seconds, patience)),
        )

    async def replies(self, action: Mapping[str, Any], patience: float) -> AsyncGenerator[dict[str, Any]]:
        """What one message is answered with. Raises _Lost when the connection ends."""
        self._sent += 1
        own_id = str(self._sent)
        inbox = self._inboxes[own_id] = asyncio.Queue()
        try:
            if self.is_lost:
                raise _Lost("the connection was lost")
            await self._send({**action, "id": own_id})
            limit: float | None = patience
            while True:
                try:
                    message = await asyncio.wait_for(inbox.get(), limit)
                except TimeoutError as error:
                    raise _Lost("no answer") from error
                if isinstance(message, _Lost):
                    raise message
                limit = None
                yield message
        finally:
            del self._inboxes[own_id]

    async def close(self) -> None:
        self._lose("the connection was closed")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._socket.close()

    async def _send(self, message: Mapping[str, Any]) -> None:
        try:
            await self._socket.send(_text(message))
        except ConnectionClosed as error:
            raise _Lost(str(error)) from error

    async def _read(self) -> None:
        reason = "the connection was lost"
        try:
            async for text in self._socket:
                message = json.loads(text)
                if message.get("type") == "pong":
                    self._pong.set()
                elif "type" in message:
                    if inbox := self._inboxes.get(message["id"]):
                        inbox.put_nowait(message)
                else:  # API Gateway's own errors do not name the message that they are about
                    reason = str(text)
                    break
        except ConnectionClosed as error:
            reason = str(error)
        finally:
            self._lose(reason)

    async def _ping(self, seconds: float, patience: float) -> None:
        while not self.is_lost:
            await asyncio.sleep(seconds)
            self._pong.clear()
            try:
                await self._send({"action": "ping", "id": "ping"})
                await asyncio.wait_for(self._pong.wait(), patience)
            except (_Lost, TimeoutError):
                self._lose("no answer to a ping")

    def _lose(self, reason: str) -> None:
        self.is_lost = True
        for inbox in self._inboxes.values():
            inbox.put_nowait(_Lost(reason))


class _Turn:
    """What was received of one turn, over all connections, and what was shown of it."""

    def __init__(self) -> None:
        self.started: TurnStarted | None = None
        self._answers: dict[int, _Answer] = {}

    def start_over(self) -> None:
        """Another connection sends every answer from its beginning."""
        for answer in self._answers.values():
            answer.received = ""

    def take(self, message: dict[str, Any]) -> Iterator[TurnEvent]:
        """The events to show: deltas of an answer come once, in order and without a gap. Raises _Lost after a gap."""
        if message["type"] == "error":
            raise refusal(message["status"], {"detail": message["detail"]}, {})
        kind = EVENTS.get(message["type"])
        if kind is None:
            return  # of a newer service
        event: TurnEvent = read(kind, message)
        if isinstance(event, TurnStarted):
            if self.started:
                return
            self.started = event
            self._answers = {
                model.response_id: _Answer(model.response_id, model.session_model_id)
                for model in event.models
            }
        answer = self._answer_of(event)
        if answer is None:
            yield event
        elif not answer.has_ended:
            yield from answer.take(event)

    def _answer_of(self, event: TurnEvent) -> "_Answer | None":
        match event:
            case AnswerDelta() | AnswerRestarted():
                return self._answers.get(event.response_id)
            case AnswerDone():
                return self._answers.get(event.result.response_id)
            case AnswerFailed():
                failed = event.error.session_model_id
                return next(each for each in self._answers.values() if each.session_model_id == failed)
        return None


@dataclass(slots=True)
class _Answer:
    response_id: int
    session_model_id: int
    received: str = ""
    shown: str = ""
    has_ended: bool = False

    def take(self, event: TurnEvent) -> Iterator[TurnEvent]:
        match event:
            case AnswerRestarted():
                self.received = ""
                if self.shown:
                    self.shown = ""
                    yield event
                return
            case AnswerDelta():
                if event.offset != len(self.received):
                    raise _Lost("a piece is missing")
                self.received += event.text
                if not (len(self.received) < len(self.shown) and self.shown.startswith(self.received)):
                    yield from self._show(event.id, event.turn_id)
                return
            case AnswerDone():
                digest = hashlib.sha256(self.received.encode()).hexdigest()
                if (event.length, event.sha256) != (len(self.received), digest):
                    raise _Lost("a piece is missing")
                yield from self._show(event.id, event.turn_id)
        self.has_ended = True
        yield event

    def _show(self, own_id: str, turn_id: int) -> Iterator[TurnEvent]:
        """What was received and not shown yet."""
        own: _Own = {"id": own_id, "turn_id": turn_id, "response_id": self.response_id}
        if not self.received.startswith(self.shown):
            # The model was asked anew while the connection was lost.
            yield AnswerRestarted(type="answer.restarted", **own)
            self.shown = ""
        offset, self.shown = len(self.shown), self.received
        if offset < len(self.received):
            yield AnswerDelta(type="answer.delta", offset=offset, text=self.received[offset:], **own)


class _Own(TypedDict):
    id: str
    turn_id: int
    response_id: int


def _is_passing(error: PracticeError | ConnectionFailed) -> bool:
    if isinstance(error, PracticeError):
        return error.status == 503 or error.detail in PASSING
    return True


def _text(message: Mapping[str, Any]) -> str:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"))


def _size(action: Mapping[str, Any]) -> int:
    return len(_text({**action, "id": LONGEST_ID}).encode())
