"""HTTP/1.1 on a loopback port: reads a request whole, hands it on, writes the response."""

import logging
import re
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable
from http.client import responses as reasons
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from local.gateway import BODY_LIMIT, HEADER_LIMIT
from local.http import Request, Response, message

IDLE_SECONDS = 60
REQUEST_SECONDS = 120
LINGER_SECONDS = 2

Answer = Callable[[Request], Response]

log = logging.getLogger("local.server")


class BadRequestError(Exception):
    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.response = message(status, text)


class Server:
    """Has its port from the beginning, serves `answer` from `start` until `close`."""

    def __init__(
        self,
        answer: Answer,
        host: str = "127.0.0.1",
        port: int = 0,
        body_limit: Callable[[str], int] | None = None,
    ) -> None:
        self._http = _Http((host, port), answer, body_limit or (lambda target: BODY_LIMIT))
        self.host = host
        self.port = int(self._http.server_address[1])
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where this machine reaches it, whatever addresses it listens on."""
        host = "127.0.0.1" if self.host in ("", "0.0.0.0", "::") else self.host  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def close(self, grace: float = 5.0) -> None:
        """Let the requests under way finish, then take no more and drop the idle connections."""
        if self._thread:
            # Still serving while it waits: a function under way may call the stack itself.
            self._http.wait_idle(grace)
            self._http.shutdown()
            self._thread.join()
            self._http.drop_connections()
            self._thread = None
        self._http.server_close()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], answer: Answer, body_limit: Callable[[str], int]) -> None:
        self.answer = answer
        self.body_limit = body_limit
        self.connections: set[socket.socket] = set()
        self.busy = 0
        self.state = threading.Condition()
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # Not HTTPServer's, which looks the host's name up and may wait for it.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "local", int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            log.debug("client left: %r", error)
        else:
            log.error("request failed", exc_info=error)

    def wait_idle(self, seconds: float) -> None:
        with self.state:
            self.state.wait_for(lambda: self.busy == 0, seconds)

    def drop_connections(self) -> None:
        with self.state:
            for connection in self.connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError as error:
                    log.debug("already closed: %r", error)
            self.state.wait_for(lambda: not self.connections, 1)


class _Handler(BaseHTTPRequestHandler):
    server: _Http
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        with self.server.state:
            self.server.connections.add(self.connection)

    def finish(self) -> None:
        try:
            super().finish()
        finally:
            with self.server.state:
                self.server.connections.discard(self.connection)
                self.server.state.notify_all()

    def handle_one_request(self) -> None:
        self.close_connection = True
        try:
            self.raw_requestline = self.rfile.readline(65537)
            if not self.raw_requestline:
                return
            with self.server.state:
                self.server.busy += 1
            try:
                self._handle()
            finally:
                with self.server.state:
                    self.server.busy -= 1
                    self.server.state.notify_all()
        except TimeoutError:
            log.debug("client too slow")

    def _handle(self) -> None:
        self.requestline = self.raw_requestline.decode("latin-1").rstrip("\r\n")
        started = time.monotonic()
        if len(self.raw_requestline) > HEADER_LIMIT:
            self._refuse(error_response(414))
            return
        try:
            if not self.parse_request():
                return  # send_error answered
            request = self._read_request(started)
        except BadRequestError as error:
            self._refuse(error.response)
            return
        try:
            response = self.server.answer(request)
        except Exception:
            log.exception("%s %s", request.method, request.path)
            response = message(500, "Internal Server Error")
        self._write(response, head=request.method == "HEAD")
        took = (time.monotonic() - started) * 1000
        level = logging.DEBUG if request.path.startswith("/_local/aws/") else logging.INFO
        log.log(level, "%s %s %d %d ms", request.method, request.path, response.status, took)

    def _read_request(self, started: float) -> Request:
        headers = [(name, value.strip()) for name, value in self.headers.items()]
        target = self.requestline.split()[1]
        if self.headers.defects or any(re.search(r"[\0\r\n]", value) for _, value in headers):
            raise BadRequestError(400, "Bad Request")
        if len(self.requestline) + sum(len(name) + len(value) for name, value in headers) > HEADER_LIMIT:
            raise BadRequestError(431, "Request Header Fields Too Large")
        if self.request_version >= "HTTP/1.1" and len(self.headers.get_all("host", [])) != 1:
            raise BadRequestError(400, "Bad Request")
        if re.match(r"https?://", target):
            target = "/" + target.split("/", 3)[3] if target.count("/") > 2 else "/"
        if not target.startswith("/") or not target.isascii() or not target.isprintable() or "#" in target:
            raise BadRequestError(400, "Bad Request")
        body = self._read_body(self.server.body_limit(target), started)
        return Request(self.command, target, headers, body, str(self.client_address[0]))

    def _read_body(self, limit: int, started: float) -> bytes:
        lengths = self.headers.get_all("content-length", [])
        encodings = self.headers.get_all("transfer-encoding", [])
        if encodings:
            if lengths or [value.strip().lower() for value in encodings] != ["chunked"]:
                raise BadRequestError(400, "Bad Request")
            return self._read_chunks(limit, started)
        if not lengths:
            return b""
        if len(lengths) > 1 or not re.fullmatch(r"[0-9]{1,19}", lengths[0].strip()):
            raise BadRequestError(400, "Bad Request")
        length = int(lengths[0])
        if length > limit:
            raise BadRequestError(413, "Request Entity Too Large")
        return self._read_exactly(length, started)

    def _read_exactly(self, length: int, started: float) -> bytes:
        parts: list[bytes] = []
        while length:
            if time.monotonic() - started > REQUEST_SECONDS:
                raise BadRequestError(408, "Request Timeout")
            part = self.rfile.read1(min(length, 1 << 16))
            if not part:
                raise BadRequestError(400, "Bad Request")
            parts.append(part)
            length -= len(part)
        return b"".join(parts)

    def _read_chunks(self, limit: int, started: float) -> bytes:
        body = bytearray()
        while True:
            line = self.rfile.readline(1024)
            size = re.fullmatch(rb"([0-9A-Fa-f]{1,8})[ \t]*(;[^\r\n]*)?\r\n", line)
            if not size:
                raise BadRequestError(400, "Bad Request")
            length = int(size.group(1), 16)
            if length == 0:
                break
            if len(body) + length > limit:
                raise BadRequestError(413, "Request Entity Too Large")
            body += self._read_exactly(length, started)
            if self.rfile.readline(3) != b"\r\n":
                raise BadRequestError(400, "Bad Request")
        for _ in range(100):
            if self.rfile.readline(8192) in (b"\r\n", b"\n", b""):
                return bytes(body)
        raise BadRequestError(431, "Request Header Fields Too Large")

    def _write(self, response: Response, *, head: bool = False) -> None:
        status = response.status
        lines = [f"HTTP/1.1 {status} {reasons.get(status, 'Status')}", f"date: {self.date_time_string()}"]
        lines += [f"{name}: {value}" for name, value in response.headers]
        bodiless = status in (204, 304)
        if not bodiless:
            lines.append(f"content-length: {len(response.body)}")
        lines.append(f"connection: {'close' if self.close_connection else 'keep-alive'}")
        block = "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n"
        # One write: two would wait for each other's acknowledgement.
        self.wfile.write(block if head or bodiless else block + response.body)

    def _refuse(self, response: Response) -> None:
        """Answer a request that was not read whole; the client sees the answer before the connection ends."""
        self.close_connection = True
        self._write(response)
        log.info("%s %d", ascii(self.requestline[:200]), response.status)
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(LINGER_SECONDS)
        deadline = time.monotonic() + LINGER_SECONDS
        while time.monotonic() < deadline and self.rfile.read1(1 << 16):
            pass

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What BaseHTTPRequestHandler answers when it cannot parse a request."""
        self._refuse(error_response(int(code)))

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)


def error_response(status: int) -> Response:
    return message(status, reasons.get(status, "Error"))
