"""A proxy before the stand-ins for AWS that refuses what a function's role does not allow, as AWS would.

A function signs its requests, and the links that it gives away, with its own name as access key.
"""

import http.client
from urllib.parse import urlsplit

from local.http import Request, Response, json_response
from local.server import Server
from tests.support.roles import Call, Roles, Use

LARGEST_BODY = 1 << 26
OF_THE_CONNECTION = ("connection", "expect", "keep-alive", "transfer-encoding")


class Gate:
    """Before one endpoint; `refused` is called for every refusal."""

    def __init__(self, roles: Roles, endpoint: str, refused: list[str]) -> None:
        self._roles = roles
        self._endpoint = urlsplit(endpoint)
        self._refused = refused
        self._server = Server(self._answer, body_limit=lambda target: LARGEST_BODY)
        self._server.start()

    @property
    def url(self) -> str:
        return f"{self._server.url}{self._endpoint.path}"

    def close(self) -> None:
        self._server.close()

    def _answer(self, request: Request) -> Response:
        headers = {name.lower(): text for name, text in request.headers}
        call = Call(request.method, request.target, headers, request.body)
        assert call.signature, "a request without a function's name"
        function, _ = call.signature
        uses = self._roles.uses(call)
        if refused := self._roles.refused(function, uses):
            return self._refusal(function, refused)
        answer = self._forwarded(request)
        if answer.status == 404 and (
            refused := self._roles.refused(function, self._roles.uses_of_absence(call))
        ):
            return self._refusal(function, refused)
        return answer

    def _refusal(self, function: str, uses: list[Use]) -> Response:
        self._refused += [f"{function}: {use}" for use in uses]
        text = f"{function} is not authorized to perform {uses[0].action}"
        return json_response(
            400, {"__type": "com.amazon.coral.service#AccessDeniedException", "message": text}
        )

    def _forwarded(self, request: Request) -> Response:
        assert self._endpoint.hostname
        connection = http.client.HTTPConnection(
            self._endpoint.hostname, self._endpoint.port or 80, timeout=60
        )
        try:
            # The name of this proxy stays: it is part of what was signed.
            sent = {name: text for name, text in request.headers if name.lower() not in OF_THE_CONNECTION}
            # The body that HEAD leaves out is what gives the length here.
            method = "GET" if request.method == "HEAD" else request.method
            connection.request(method, request.target, request.body, sent)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        kept = [
            (name, text)
            for name, text in answer.getheaders()
            if name.lower() not in (*OF_THE_CONNECTION, "content-length", "date")
        ]
        return Response(answer.status, kept, body)
