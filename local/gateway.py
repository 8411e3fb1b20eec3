"""API Gateway's HTTP API: routes, payload 2.0 events, results, CORS.

Where the documentation is silent this follows what the real one was seen to do: the path is decoded before
it is matched and cut at a decoded "?", and only text/*, JSON, XML and JavaScript bodies are passed as text.
"""

import base64
import binascii
import json
import logging
import re
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, unquote_plus

from local.functions import FunctionError, Invoker, PayloadTooLargeError
from local.http import Headers, Request, Response, message
from local.intrinsics import ACCOUNT
from local.template import Cors, Route

BODY_LIMIT = 10 * 1024 * 1024
HEADER_LIMIT = 10_240
INTEGRATION_TIMEOUT = 30.0
TEXT_TYPES = {"application/json", "application/xml", "application/javascript"}
HOP_BY_HOP = {
    "connection",
    "expect",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

log = logging.getLogger("local.gateway")


@dataclass(frozen=True)
class Match:
    route: Route
    path_parameters: dict[str, str]


class Router:
    """Static segments before {parameters} before {greedy+}, a method before ANY, $default last."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes = sorted((route for route in routes if route.path != "$default"), key=_precedence)
        self._patterns = [_pattern(route.path) for route in self._routes]
        self._default = next((route for route in routes if route.path == "$default"), None)

    def match(self, method: str, path: str) -> Match | None:
        path = decode_path(path)
        for route, pattern in zip(self._routes, self._patterns, strict=True):
            if route.method in (method, "ANY") and (found := pattern.fullmatch(path)):
                names = re.findall(r"\{([^{}+]+)\+?\}", route.path)
                return Match(route, dict(zip(names, found.groups(), strict=True)))
        return Match(self._default, {}) if self._default else None


def _precedence(route: Route) -> tuple[list[int], bool]:
    kinds = [2 if part.endswith("+}") else 1 if part.startswith("{") else 0 for part in route.path.split("/")]
    return kinds, route.method == "ANY"


def _pattern(path: str) -> re.Pattern[str]:
    parts = re.split(r"(\{[^{}]+\})", path)
    pattern = "".join(
        re.escape(part) if not part.startswith("{") else "(.+)" if part.endswith("+}") else "([^/]+)"
        for part in parts
    )
    return re.compile(pattern, re.DOTALL)


def decode_path(path: str) -> str:
    return unquote(path).partition("?")[0]


def build_event(
    method: str,
    target: str,
    headers: Mapping[str, str] | Iterable[tuple[str, str]],
    body: bytes | str | None,
    match: Match,
    source_ip: str = "127.0.0.1",
) -> dict[str, Any]:
    """The payload 2.0 event of one request; `target` is the path and query as sent."""
    path, _, query = target.partition("?")
    content = body.encode() if isinstance(body, str) else body or b""
    merged, cookies = _merge_headers(
        headers.items() if isinstance(headers, Mapping) else headers, content, source_ip
    )
    now = time.time()
    domain = merged.get("host", "localhost").rsplit(":", 1)[0]
    raw_path = decode_path(path)
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": match.route.key,
        "rawPath": raw_path,
        "rawQueryString": query,
        "headers": merged,
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": "local",
            "domainName": domain,
            "domainPrefix": domain.partition(".")[0],
            "http": {
                "method": method,
                "path": raw_path,
                "protocol": "HTTP/1.1",
                "sourceIp": source_ip,
                "userAgent": merged.get("user-agent", ""),
            },
            "requestId": secrets.token_urlsafe(11) + "=",
            "routeKey": match.route.key,
            "stage": "$default",
            "time": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now)),
            "timeEpoch": int(now * 1000),
        },
        "isBase64Encoded": False,
    }
    if cookies:
        event["cookies"] = cookies
    if query:
        event["queryStringParameters"] = _query_parameters(query)
    if match.path_parameters:
        event["pathParameters"] = match.path_parameters
    if content:
        text = _as_text(content, merged.get("content-type", ""))
        event["body"] = base64.b64encode(content).decode() if text is None else text
        event["isBase64Encoded"] = text is None
    return event


def _merge_headers(
    headers: Iterable[tuple[str, str]], body: bytes, source_ip: str
) -> tuple[dict[str, str], list[str]]:
    merged: dict[str, str] = {}
    cookies: list[str] = []
    for given, value in headers:
        name = given.lower()
        if name == "cookie":
            cookies += [cookie.strip() for cookie in value.split(";") if cookie.strip()]
        elif name not in HOP_BY_HOP:
            merged[name] = f"{merged[name]},{value}" if name in merged else value
    if body or "content-length" in merged:
        merged["content-length"] = str(len(body))
    merged.setdefault("host", "localhost")
    forwarded = merged.get("x-forwarded-for")
    merged["x-forwarded-for"] = f"{forwarded}, {source_ip}" if forwarded else source_ip
    merged["x-forwarded-proto"] = "http"
    merged["x-forwarded-port"] = merged["host"].rpartition(":")[2] if ":" in merged["host"] else "80"
    merged.setdefault("x-amzn-trace-id", f"Root=1-{int(time.time()):08x}-{secrets.token_hex(12)}")
    return merged, cookies


def _query_parameters(query: str) -> dict[str, str]:
    values: dict[str, list[str]] = {}
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if pair:
            values.setdefault(unquote_plus(name), []).append(unquote_plus(value))
    return {name: ",".join(items) for name, items in values.items()}


def _as_text(body: bytes, content_type: str) -> str | None:
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type not in TEXT_TYPES and not media_type.startswith("text/"):
        return None
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


class Gateway:
    def __init__(self, routes: Iterable[Route], cors: Cors | None, invoker: Invoker) -> None:
        self.router = Router(list(routes))
        self._cors = cors
        self._invoker = invoker

    def answer(self, request: Request) -> Response:
        """What API Gateway would answer, from a request that was read whole."""
        origin = request.header("origin")
        if (
            self._cors
            and origin
            and request.method == "OPTIONS"
            and request.header("access-control-request-method")
        ):
            return Response(204, self._cors_headers(origin, preflight=True))
        response = self._route(request)
        if self._cors and origin:
            own = [pair for pair in response.headers if not pair[0].lower().startswith("access-control-")]
            response = Response(response.status, own + self._cors_headers(origin), response.body)
        return response

    def _route(self, request: Request) -> Response:
        if len(request.body) > BODY_LIMIT:
            return message(413, "Request Entity Too Large")
        match = self.router.match(request.method, request.path)
        if match is None:
            return message(404, "Not Found")
        event = build_event(
            request.method, request.target, request.headers, request.body, match, request.client
        )
        request_id = event["requestContext"]["requestId"]
        started = time.monotonic()
        try:
            result = self._invoker.invoke(match.route.function, event, INTEGRATION_TIMEOUT)
            response = read_result(result)
        except PayloadTooLargeError:
            response = message(413, "Request Entity Too Large")
        except FunctionError as error:
            log.error("%s: %s", match.route.function, error.trace or error)  # noqa: TRY400
            if time.monotonic() - started >= INTEGRATION_TIMEOUT:
                response = message(503, "Service Unavailable")
            else:
                response = message(500, "Internal Server Error")
        except MalformedResultError as error:
            log.error("%s answered what cannot be sent: %s", match.route.function, error)  # noqa: TRY400
            response = message(500, "Internal Server Error")
        return Response(response.status, [*response.headers, ("apigw-requestid", request_id)], response.body)

    def _cors_headers(self, origin: str, *, preflight: bool = False) -> Headers:
        cors = self._cors
        assert cors is not None
        if "*" in cors.origins:
            allowed = "*"
        elif any(
            re.fullmatch(re.escape(o).replace(r"\*", ".*"), origin, re.IGNORECASE) for o in cors.origins
        ):
            allowed = origin
        else:
            return []
        headers: Headers = [("access-control-allow-origin", allowed)]
        if cors.credentials:
            headers.append(("access-control-allow-credentials", "true"))
        if not preflight:
            if cors.exposed:
                headers.append(
                    ("access-control-expose-headers", ",".join(name.lower() for name in cors.exposed))
                )
            return headers
        if cors.methods:
            headers.append(("access-control-allow-methods", ",".join(cors.methods)))
        if cors.headers:
            headers.append(("access-control-allow-headers", ",".join(name.lower() for name in cors.headers)))
        if cors.max_age is not None:
            headers.append(("access-control-max-age", str(cors.max_age)))
        return headers


class MalformedResultError(Exception):
    """A function's result is not a payload 2.0 response."""


def read_result(result: Any) -> Response:
    """The HTTP response that a function's result means."""
    if not isinstance(result, dict) or "statusCode" not in result:
        text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
        return Response(200, [("content-type", "application/json")], text.encode("utf-8", "replace"))
    try:
        status = int(result["statusCode"])
    except (TypeError, ValueError):
        raise MalformedResultError(f"statusCode {result['statusCode']!r}") from None
    if not 200 <= status <= 599:
        raise MalformedResultError(f"statusCode {status}")
    headers: Headers = []
    for name, value in (result.get("headers") or {}).items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if not HEADER_NAME.fullmatch(name) or not text.isprintable() or not text.isascii():
            raise MalformedResultError(f"header {name!r}")
        if name.lower() not in HOP_BY_HOP and name.lower() not in ("content-length", "date", "server"):
            headers.append((name.lower(), text))
    headers += [("set-cookie", str(cookie)) for cookie in result.get("cookies") or []]
    content = result.get("body")
    if content is None:
        content = ""
    if not isinstance(content, str):
        raise MalformedResultError("body is not a string")
    if result.get("isBase64Encoded"):
        try:
            body = base64.b64decode(content, validate=True)
        except binascii.Error:
            raise MalformedResultError("body is not base64") from None
    else:
        body = content.encode("utf-8", "replace")
    if body and not any(name == "content-type" for name, _ in headers):
        headers.append(("content-type", "text/plain; charset=utf-8"))
    return Response(status, headers, body)
