"""The stack's port: uvicorn. Each request goes to `answer` whole, each WebSocket message to `live`, in its own thread."""

import asyncio
import logging
import re
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import uvicorn

from local.gateway import BODY_LIMIT, HEADER_LIMIT
from local.http import Request, Response, message
from local.live import MESSAGE_BYTES, PATH, UNSUPPORTED_DATA, Live

if TYPE_CHECKING:
    from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope, WebSocketScope

IDLE_SECONDS = 60
REQUEST_SECONDS = 120
SEND_SECONDS = 10.0
"""How long a message waits for a client that does not read."""
MESSAGES_AT_ONCE = 20
"""Messages of one connection under way. While there are so many, no further one is read."""

Answer = Callable[[Request], Response]

log = logging.getLogger("local.server")


class BadRequestError(Exception):
    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.response = message(status, text)


class Server:
    """Listens from the beginning, serves `answer` from `start` until `close`."""

    def __init__(
        self,
        answer: Answer,
        host: str = "127.0.0.1",
        port: int = 0,
        body_limit: Callable[[str], int] | None = None,
        live: Callable[[], Live] | None = None,
    ) -> None:
        self._answer = answer
        self._live = live
        self._body_limit = body_limit or (lambda target: BODY_LIMIT)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        made = socket.create_server((host, port), family=family, backlog=128)
        # asyncio sets TCP_NODELAY where the protocol is named. Without it an answer waits 40 ms for the acknowledgement of
        # its head on every connection that is kept.
        self._socket = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, made.detach())
        self.host = host
        self.port = int(self._socket.getsockname()[1])
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._app,
                interface="asgi3",
                http="h11",
                ws="websockets-sansio" if live else "none",
                ws_max_size=MESSAGE_BYTES,
                ws_per_message_deflate=False,
                lifespan="off",
                log_config=None,
                log_level=logging.ERROR,
                access_log=False,
                server_header=False,
                timeout_keep_alive=IDLE_SECONDS,
                timeout_graceful_shutdown=1,
            )
        )
        self._thread: threading.Thread | None = None
        self._answering = 0

    def start(self) -> None:
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where this machine reaches it, whatever addresses it listens on."""
        host = "127.0.0.1" if self.host in ("", "0.0.0.0", "::") else self.host  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def close(self, grace: float = 5.0) -> None:
        """Let the requests under way finish, then close the port and the idle connections."""
        if self._thread:
            # uvicorn closes its port first, but a function under way may call the stack itself.
            deadline = time.monotonic() + grace
            while self._answering and time.monotonic() < deadline:
                time.sleep(0.02)
            self._server.should_exit = True
            self._thread.join()
            self._thread = None
        self._socket.close()

    async def _app(self, scope: "Scope", receive: "ASGIReceiveCallable", send: "ASGISendCallable") -> None:
        if scope["type"] == "websocket":
            await self._converse(scope, receive, send)
            return
        assert scope["type"] == "http"
        self._answering += 1
        try:
            await self._serve(scope, receive, send)
        finally:
            self._answering -= 1

    async def _serve(
        self, scope: "HTTPScope", receive: "ASGIReceiveCallable", send: "ASGISendCallable"
    ) -> None:
        started = time.monotonic()
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                request = await self._read(scope, receive)
        except BadRequestError as error:
            response = error.response
        except TimeoutError:
            response = message(408, "Request Timeout")
        except ConnectionError:
            return  # the client left
        else:
            response = await _in_thread(lambda: self._answered(request))
        headers = list(response.headers)
        if response.status not in (204, 304):
            headers.append(("content-length", str(len(response.body))))
        raw = [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers]
        await send(
            {"type": "http.response.start", "status": response.status, "headers": raw, "trailers": False}
        )
        await send({"type": "http.response.body", "body": response.body, "more_body": False})
        path = scope["raw_path"].decode("ascii")
        level = logging.DEBUG if path.startswith("/_local/") else logging.INFO
        took = (time.monotonic() - started) * 1000
        log.log(level, "%s %s %d %d ms", scope["method"], path, response.status, took)

    async def _read(self, scope: "HTTPScope", receive: "ASGIReceiveCallable") -> Request:
        """Raises BadRequestError for what h11 lets through and API Gateway refuses."""
        target = scope["raw_path"].decode("ascii")
        if scope["query_string"]:
            target += "?" + scope["query_string"].decode("ascii")
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        if scope["http_version"] not in ("1.0", "1.1"):
            raise BadRequestError(505, "HTTP Version Not Supported")
        if len(target) > HEADER_LIMIT:
            raise BadRequestError(414, "Request-URI Too Long")
        if len(target) + sum(len(name) + len(value) for name, value in headers) > HEADER_LIMIT:
            raise BadRequestError(431, "Request Header Fields Too Large")
        if re.match(r"https?://", target):
            target = "/" + target.split("/", 3)[3] if target.count("/") > 2 else "/"
        named = dict(headers)
        if (
            not target.startswith("/")
            or "#" in target
            or named.keys() >= {"content-length", "transfer-encoding"}
        ):
            raise BadRequestError(400, "Bad Request")
        limit = self._body_limit(target)
        expected, more, body = int(named.get("content-length", "0")), True, bytearray()
        while more:
            if max(expected, len(body)) > limit:
                raise BadRequestError(413, "Request Entity Too Large")
            event = await receive()
            if event["type"] != "http.request":
                raise ConnectionError
            body += event["body"]
            more = event["more_body"]
        return Request(scope["method"], target, headers, bytes(body), (scope["client"] or ("", 0))[0])

    async def _converse(
        self, scope: "WebSocketScope", receive: "ASGIReceiveCallable", send: "ASGISendCallable"
    ) -> None:
        """A WebSocket from its handshake to its end; its messages are handled at the same time, as the gateway does it, but
        not more than the process can serve.
        """
        await receive()
        live = self._live() if self._live else None
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        if live is None or not live.is_deployed or scope["path"] != PATH:
            await _refuse(send, message(403, "Forbidden"))
            return
        peer = _Peer(asyncio.get_running_loop(), send)
        source = (scope["client"] or ("", 0))[0]
        shaken = await _in_thread(lambda: live.connect(headers, peer, source))
        if shaken.connection is None:
            await _refuse(send, shaken.response)
            return
        own = {name.lower(): value for name, value in shaken.response.headers}
        await send(
            {"type": "websocket.accept", "subprotocol": own.get("sec-websocket-protocol"), "headers": []}
        )
        connection, code = shaken.connection, 1000
        log.info("WebSocket %s opened", PATH)
        places, loop = asyncio.Semaphore(MESSAGES_AT_ONCE), asyncio.get_running_loop()

        def handle(text: str) -> None:
            try:
                live.receive(connection, text)
            finally:
                with suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(places.release)

        while True:
            event = await receive()
            if event["type"] == "websocket.disconnect":
                code = event["code"]
                break
            if event["type"] == "websocket.receive" and event.get("text") is not None:
                await places.acquire()
                threading.Thread(target=handle, args=(str(event["text"]),), daemon=True).start()
            else:
                code = UNSUPPORTED_DATA
                await send({"type": "websocket.close", "code": code, "reason": ""})
                break
        log.info("WebSocket %s closed (%d)", PATH, code)
        await _in_thread(lambda: live.disconnect(connection, code))

    def _answered(self, request: Request) -> Response:
        try:
            return self._answer(request)
        except Exception:
            log.exception("%s %s", request.method, request.path)
            return message(500, "Internal Server Error")


class _Peer:
    """The client of one WebSocket, for the threads of functions."""

    def __init__(self, loop: asyncio.AbstractEventLoop, send: "ASGISendCallable") -> None:
        self._loop = loop
        self._send = send

    def send(self, text: str) -> None:
        self._wait_for({"type": "websocket.send", "text": text, "bytes": None})

    def close(self, code: int) -> None:
        with suppress(ConnectionError, TimeoutError):
            self._wait_for({"type": "websocket.close", "code": code, "reason": ""})

    def _wait_for(self, event: Any) -> None:
        """Raises ConnectionError, or TimeoutError for a client that does not read."""
        if self._loop.is_closed():
            raise ConnectionError
        sending = asyncio.run_coroutine_threadsafe(self._sent(event), self._loop)
        try:
            sending.result(SEND_SECONDS)
        except TimeoutError:
            sending.cancel()
            raise
        except (OSError, RuntimeError) as error:  # uvicorn refuses what comes after the close
            raise ConnectionError from error

    async def _sent(self, event: Any) -> None:
        await self._send(event)


async def _refuse(send: "ASGISendCallable", response: Response) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
    await send({"type": "websocket.http.response.start", "status": response.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": response.body, "more_body": False})


Result = TypeVar("Result")


async def _in_thread(work: Callable[[], Result]) -> Result:
    """A daemon's, not a pool's: a function that takes too long must not keep the process from ending."""
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[Result] = loop.create_future()

    def settle(result: Result) -> None:
        if not answered.done():
            answered.set_result(result)

    def run() -> None:
        result = work()
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result)

    threading.Thread(target=run, daemon=True).start()
    return await answered
