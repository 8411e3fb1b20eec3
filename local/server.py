"""The stack's port: uvicorn, which hands each request to `answer` whole, in a thread of its own."""

import asyncio
import logging
import re
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import uvicorn

from local.gateway import BODY_LIMIT, HEADER_LIMIT
from local.http import Request, Response, message

if TYPE_CHECKING:
    from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope

IDLE_SECONDS = 60
REQUEST_SECONDS = 120

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
    ) -> None:
        self._answer = answer
        self._body_limit = body_limit or (lambda target: BODY_LIMIT)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=128)
        self.host = host
        self.port = int(self._socket.getsockname()[1])
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._app,
                interface="asgi3",
                http="h11",
                ws="none",
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
            while self._server.server_state.tasks and time.monotonic() < deadline:
                time.sleep(0.02)
            self._server.should_exit = True
            self._thread.join()
            self._thread = None
        self._socket.close()

    async def _app(self, scope: "Scope", receive: "ASGIReceiveCallable", send: "ASGISendCallable") -> None:
        assert scope["type"] == "http"
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
            response = await _in_thread(self._answered, request)
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

    def _answered(self, request: Request) -> Response:
        try:
            return self._answer(request)
        except Exception:
            log.exception("%s %s", request.method, request.path)
            return message(500, "Internal Server Error")


async def _in_thread(answer: Answer, request: Request) -> Response:
    """A daemon's, not a pool's: a function that takes too long must not keep the process from ending."""
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[Response] = loop.create_future()

    def settle(response: Response) -> None:
        if not answered.done():
            answered.set_result(response)

    def run() -> None:
        response = answer(request)
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, response)

    threading.Thread(target=run, daemon=True).start()
    return await answered
