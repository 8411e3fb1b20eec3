"""The local gateway, over real sockets, in front of small functions of its own."""

import base64
import json
import socket
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import pytest

from local.functions import InProcess
from local.gateway import Gateway, Router, build_event
from local.http import Request, Response
from local.server import Server
from local.template import Route, Template

TEMPLATE = """
Transform: AWS::Serverless-2016-10-31
Globals:
  Function: {Handler: handler.lambda_handler, Runtime: python3.13, Timeout: 30, Environment: {Variables: {GREETING: hello}}}
Resources:
  Api:
    Type: AWS::Serverless::HttpApi
    Properties:
      CorsConfiguration:
        AllowOrigins: [https://app.example.com]
        AllowMethods: [GET, PATCH]
        AllowHeaders: [Authorization]
        ExposeHeaders: [ETag, Location]
        MaxAge: 600
"""
FUNCTION = """
  {id}:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/{name}/
      Events:
        Route: {{Type: HttpApi, Properties: {{ApiId: !Ref Api, Path: "{path}", Method: {method}}}}}
"""
ECHO = """
import json
def lambda_handler(event, context):
    return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": json.dumps(event)}
"""
HANDLERS = {
    "echo": ("/things/{thing_id}", "PATCH", ECHO),
    "get_thing": ("/things/{thing_id}", "GET", ECHO),
    "bare": ("/bare", "GET", "def lambda_handler(event, context):\n    return {'plain': True}\n"),
    "boom": ("/boom", "GET", "def lambda_handler(event, context):\n    raise RuntimeError('secret text')\n"),
    "leave": ("/leave", "GET", "import sys\ndef lambda_handler(event, context):\n    sys.exit(1)\n"),
    "odd": ("/odd", "GET", "def lambda_handler(event, context):\n    return {'statusCode': 'soon'}\n"),
    "split": (
        "/split",
        "GET",
        "def lambda_handler(event, context):\n"
        "    return {'statusCode': 200, 'headers': {'x-a': 'b\\r\\nset-cookie: c'}}\n",
    ),
    "picture": (
        "/picture",
        "GET",
        "def lambda_handler(event, context):\n"
        "    return {'statusCode': 200, 'body': 'AAH/', 'isBase64Encoded': True, 'cookies': ['a=1', 'b=2'],"
        " 'headers': {'Content-Type': 'image/png'}}\n",
    ),
    "nothing": ("/nothing", "GET", "def lambda_handler(event, context):\n    return {'statusCode': 204}\n"),
    "sleepy": (
        "/sleepy",
        "GET",
        "import time\ndef lambda_handler(event, context):\n    time.sleep(30)\n",
    ),
    "big": ("/big", "GET", "def lambda_handler(event, context):\n    return {'body': 'x' * 6_300_000}\n"),
    "default": ("$default", "ANY", ECHO.replace("200", "404")),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("gateway")
    text = TEMPLATE
    for name, (path, method, code) in HANDLERS.items():
        folder = root / "functions" / name
        folder.mkdir(parents=True)
        (folder / "handler.py").write_text(code)
        text += FUNCTION.format(id=name.replace("_", ""), name=name, path=path, method=method)
    (root / "template.yaml").write_text(
        text.replace("functions/sleepy/", "functions/sleepy/\n      Timeout: 1")
    )
    template = Template(root / "template.yaml")
    gateway = Gateway(template.routes, template.cors, InProcess(template))
    server = Server(gateway.answer)
    server.start()
    yield server
    server.close(grace=0)


def call(
    server: Server,
    method: str,
    target: str,
    body: bytes | Iterator[bytes] | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request(method, target, body, headers or {})
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def raw(server: Server, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
        client.sendall(request)
        answer = b""
        while part := client.recv(65536):
            answer += part
        return answer


def event_of(server: Server, method: str, target: str, body: bytes | None = None, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    _, content = call(server, method, target, body, named)
    return json.loads(content)


def test_a_function_sees_the_request_as_api_gateway_describes_it(server: Server) -> None:
    event = event_of(
        server,
        "PATCH",
        "/things/7?tag=a&tag=b%20c&empty=&q=1%2B1",
        b'{"title": "\xc3\xa9"}',
        Content_Type="application/json",
        Cookie="a=1; b=2",
        X_Upper="Kept As Sent",
    )

    assert event["version"] == "2.0"
    assert event["routeKey"] == event["requestContext"]["routeKey"] == "PATCH /things/{thing_id}"
    assert event["rawPath"] == "/things/7"
    assert event["rawQueryString"] == "tag=a&tag=b%20c&empty=&q=1%2B1"
    assert event["queryStringParameters"] == {"tag": "a,b c", "empty": "", "q": "1+1"}
    assert event["pathParameters"] == {"thing_id": "7"}
    assert event["cookies"] == ["a=1", "b=2"]
    assert event["headers"]["x-upper"] == "Kept As Sent"
    assert "cookie" not in event["headers"]
    assert (event["body"], event["isBase64Encoded"]) == ('{"title": "é"}', False)
    http = event["requestContext"]["http"]
    assert (http["method"], http["path"], http["sourceIp"]) == ("PATCH", "/things/7", "127.0.0.1")
    assert event["requestContext"]["stage"] == "$default"
    assert abs(event["requestContext"]["timeEpoch"] - time.time() * 1000) < 60_000
    assert "authorizer" not in event["requestContext"]


def test_what_a_request_does_not_have_is_absent_from_its_event(server: Server) -> None:
    event = event_of(server, "GET", "/things/7")

    assert event["rawQueryString"] == ""
    assert not {"body", "cookies", "queryStringParameters"} & event.keys()
    assert "pathParameters" not in event_of(server, "GET", "/elsewhere")


def test_repeated_headers_are_joined(server: Server) -> None:
    answer = raw(
        server,
        b'GET /things/1 HTTP/1.1\r\nHost: a\r\nIf-Match: "1"\r\nif-match: "2"\r\nConnection: close\r\n\r\n',
    )

    assert json.loads(answer.partition(b"\r\n\r\n")[2])["headers"]["if-match"] == '"1","2"'


@pytest.mark.parametrize(
    ("content_type", "is_text"),
    [
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("text/plain", True),
        ("application/xml", True),
        ("application/merge-patch+json", False),
        ("application/octet-stream", False),
        ("application/x-www-form-urlencoded", False),
        ("", False),
    ],
)
def test_only_text_bodies_arrive_as_text(server: Server, content_type: str, is_text: bool) -> None:
    event = event_of(
        server, "PATCH", "/things/1", b'{"a":1}', **({"Content_Type": content_type} if content_type else {})
    )

    assert event["isBase64Encoded"] is not is_text
    assert event["body"] == ('{"a":1}' if is_text else base64.b64encode(b'{"a":1}').decode())


def test_a_json_body_that_is_not_utf_8_arrives_as_its_bytes(server: Server) -> None:
    event = event_of(server, "PATCH", "/things/1", b'{"a":"\xff"}', Content_Type="application/json")

    assert event["isBase64Encoded"] is True
    assert base64.b64decode(event["body"]) == b'{"a":"\xff"}'


def test_a_chunked_body_is_put_together(server: Server) -> None:
    head = (
        b"PATCH /things/1 HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n"
    )
    answer = raw(
        server, head + b"Connection: close\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: 1\r\n\r\n"
    )

    event = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert event["body"] == "abcde"
    assert event["headers"]["content-length"] == "5"
    assert "transfer-encoding" not in event["headers"]


def test_path_parameters_are_decoded(server: Server) -> None:
    assert event_of(server, "GET", "/things/a%20b%C3%A9+c")["pathParameters"] == {"thing_id": "a bé+c"}
    assert event_of(server, "GET", "/things/a%20b")["rawPath"] == "/things/a b"
    assert event_of(server, "GET", "/things/a%2Fb")["routeKey"] == "$default"
    assert event_of(server, "GET", "/things/%zz")["pathParameters"] == {"thing_id": "%zz"}
    assert event_of(server, "GET", "/things/%ff")["pathParameters"] == {"thing_id": "\ufffd"}


def test_the_most_specific_route_is_taken() -> None:
    routes = ["ANY /{proxy+}", "GET /a/{id}", "GET /a/b", "ANY /a/{id}", "GET /a/{rest+}", "POST /a/b"]
    declared = [Route(key.split()[0], key.split()[1], key) for key in routes]
    router = Router([*declared, Route("ANY", "$default", "default")])

    def chosen(method: str, path: str) -> str:
        match = router.match(method, path)
        assert match is not None
        return match.route.function

    assert chosen("GET", "/a/b") == "GET /a/b"
    assert chosen("GET", "/a/c") == "GET /a/{id}"
    assert chosen("PUT", "/a/c") == "ANY /a/{id}"
    assert chosen("GET", "/a/b/c") == "GET /a/{rest+}"
    assert chosen("PUT", "/a/b/c") == "ANY /{proxy+}"
    assert chosen("GET", "/") == "default"
    assert Router([]).match("GET", "/") is None


def test_unmatched_methods_paths_and_trailing_slashes_go_to_default(server: Server) -> None:
    unmatched = [
        ("DELETE", "/things/1"),
        ("GET", "/things/1/"),
        ("GET", "/things/"),
        ("OPTIONS", "/things/1"),
    ]
    for method, path in unmatched:
        response, content = call(server, method, path)
        assert (response.status, json.loads(content)["routeKey"]) == (404, "$default")


def test_head_is_not_get_and_has_no_body(server: Server) -> None:
    response, content = call(server, "HEAD", "/things/1")

    assert (response.status, content) == (404, b"")
    assert int(response.headers["content-length"]) > 0


def test_a_result_without_status_is_a_200_of_json(server: Server) -> None:
    response, content = call(server, "GET", "/bare")

    assert (response.status, response.headers["content-type"]) == (200, "application/json")
    assert json.loads(content) == {"plain": True}


def test_bytes_and_cookies_come_out_as_the_function_gave_them(server: Server) -> None:
    response, content = call(server, "GET", "/picture")

    assert content == b"\x00\x01\xff"
    assert response.headers["content-type"] == "image/png"
    assert response.headers.get_all("set-cookie") == ["a=1", "b=2"]


def test_a_204_has_neither_body_nor_length(server: Server) -> None:
    response, content = call(server, "GET", "/nothing")

    assert (response.status, content, response.headers["content-length"]) == (204, b"", None)


@pytest.mark.parametrize("path", ["/boom", "/leave", "/odd", "/split", "/big", "/sleepy"])
def test_a_failing_function_is_a_500_without_details(server: Server, path: str) -> None:
    response, content = call(server, "GET", path)

    assert (response.status, json.loads(content)) == (500, {"message": "Internal Server Error"})
    assert response.headers["set-cookie"] is None


def test_bodies_have_the_limits_of_gateway_and_lambda(server: Server) -> None:
    for size in (6_500_000, 11_000_000):
        response, content = call(server, "PATCH", "/things/1", b"x" * size, {"Content-Type": "text/plain"})
        assert (response.status, json.loads(content)) == (413, {"message": "Request Entity Too Large"})


def test_headers_have_the_limit_of_the_gateway(server: Server) -> None:
    assert call(server, "GET", "/things/1", headers={"X-Long": "a" * 9_000})[0].status == 200
    assert call(server, "GET", "/things/1", headers={"X-Long": "a" * 11_000})[0].status == 431
    assert call(server, "GET", "/things/" + "1" * 20_000)[0].status == 414


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"PATCH /things/1 HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400),
        (b"PATCH /things/1 HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        (b"PATCH /things/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        (b"PATCH /things/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        (b"PATCH /things/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET /things/1 HTTP/1.1\r\n\r\n", 400),
        (b"GET /things/1 HTTP/1.1\r\nHost: a\r\nno colon\r\nX: y\r\n\r\n", 400),
        (b"GET /things/\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /\x1b[2J HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
        # What h11 takes and API Gateway does not is answered in its shape.
        (b"PATCH / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\nab", 400),
        (b"GET things HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /things/1 HTTP/9.9\r\nHost: a\r\n\r\n", 505),
        (b"GET /things/1 HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 6000 + b"\r\n", 431),
    ],
)
def test_malformed_http_is_refused(server: Server, request_bytes: bytes, status: int) -> None:
    first_line, _, rest = request_bytes.partition(b"\r\n")
    answer = raw(server, first_line + b"\r\nConnection: close\r\n" + rest)

    assert answer.startswith(f"HTTP/1.1 {status} ".encode())


def test_a_chunked_body_ends_where_it_passes_the_limit(server: Server) -> None:
    response, _ = call(server, "PATCH", "/things/1", iter([b"x" * 1_000_000] * 11))

    assert response.status == 413


def test_a_body_that_does_not_arrive_whole_reaches_no_function(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
        client.sendall(b"PATCH /things/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab")
        client.shutdown(socket.SHUT_WR)
        assert client.recv(65536) == b""


def test_an_upgrade_to_websockets_is_a_request_like_any_other(server: Server) -> None:
    event = event_of(server, "GET", "/things/1", Connection="Upgrade", Upgrade="websocket")

    assert event["routeKey"] == "GET /things/{thing_id}"
    assert "upgrade" not in event["headers"]


def test_requests_that_wait_for_one_another_are_served(server: Server) -> None:
    """As functions do that call the stack's own stand-ins; a pool of threads of one size would be used up."""

    def relay(request: Request) -> Response:
        left = int(request.path.removeprefix("/"))
        return Response(200, [], call(chain, "GET", f"/{left - 1}")[1] + b"." if left else b"")

    chain = Server(relay)
    chain.start()
    assert call(chain, "GET", "/60")[1] == b"." * 60
    chain.close()


def test_a_connection_serves_many_requests(server: Server) -> None:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
    for number in range(3):
        connection.request("GET", f"/things/{number}")
        event = json.loads(connection.getresponse().read())
        assert event["pathParameters"] == {"thing_id": str(number)}
    connection.close()


def test_an_answer_waits_for_no_acknowledgement_of_its_head(server: Server) -> None:
    """TCP_NODELAY is set: without it each answer of a kept connection takes 40 ms more."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("GET", "/things/1")
    connection.getresponse().read()

    [served] = server._server.server_state.connections
    transport = served.transport
    accepted = transport.get_extra_info("socket")

    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    connection.close()


def test_an_idle_connection_does_not_keep_a_server_from_closing() -> None:
    server = Server(lambda request: Response(204))
    server.start()
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as idle:
        idle.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert idle.recv(65536).startswith(b"HTTP/1.1 204 ")
        server.close()
        assert idle.recv(65536) == b""


def test_the_gateway_answers_preflights_itself(server: Server) -> None:
    asking = {"Origin": "https://app.example.com", "Access-Control-Request-Method": "PATCH"}
    response, content = call(server, "OPTIONS", "/things/1", headers=asking)

    assert (response.status, content) == (204, b"")
    assert response.headers["access-control-allow-origin"] == "https://app.example.com"
    assert response.headers["access-control-allow-methods"] == "GET,PATCH"
    assert response.headers["access-control-allow-headers"] == "authorization"
    assert response.headers["access-control-max-age"] == "600"


def test_answers_to_a_browser_carry_cors_for_the_configured_origins_only(server: Server) -> None:
    response, _ = call(server, "GET", "/boom", headers={"Origin": "https://app.example.com"})
    assert response.headers["access-control-allow-origin"] == "https://app.example.com"
    assert response.headers["access-control-expose-headers"] == "etag,location"

    for headers in ({"Origin": "https://evil.example.com"}, {}):
        response, _ = call(server, "GET", "/bare", headers=headers)
        assert response.headers["access-control-allow-origin"] is None


def test_an_event_can_be_built_without_a_server() -> None:
    match = Router([Route("GET", "/things/{id}", "get_thing")]).match("GET", "/things/5")
    assert match is not None

    event = build_event("GET", "/things/5?a=1", {"Authorization": "Bearer x"}, None, match)

    assert event["headers"]["authorization"] == "Bearer x"
    assert event["headers"]["host"] == "localhost"
    assert event["pathParameters"] == {"id": "5"}
