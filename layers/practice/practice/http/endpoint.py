"""The edge: an endpoint's signature is its contract, and what all endpoints share happens here once.

    event -> token -> caller -> parsed input -> store call -> model -> JSON

Nothing flows back. A handler names its route and declares what it needs by type: ids of its path, `query` (a model of its
query string), a body (any other model), and what `_SOURCES` lists. One that takes no `Caller` requires no token. It returns
a model, a list of them, a `Versioned` one, or a `Reply`.
"""

import gc
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel

from practice.caller import Caller
from practice.errors import Invalid, PracticeError, StoreUnavailable, Unauthorized
from practice.http import idempotency, rates
from practice.http.auth import authenticate
from practice.http.inputs import Event, Preferences, expected_versions, inputs, is_current
from practice.http.paging import Pager
from practice.http.replies import HttpResponse, Reply, detail, error_reply, etag, http_response, json_text
from practice.runtime import log
from practice.runtime.deadline import Deadline
from practice.store import accounts
from practice.store.idempotency import IdempotentAttempt
from practice.table import ExpectedVersions, Versioned


@dataclass(frozen=True, slots=True)
class Request:
    """One event on its way to a handler."""

    event: Event
    context: Any
    caller: Caller | None
    route: str

    def header(self, name: str) -> str | None:
        value: str | None = self.event.get("headers", {}).get(name)
        return value

    @property
    def signed_in(self) -> Caller:
        assert self.caller is not None
        return self.caller


_SOURCES: Final[dict[Any, Callable[[Request], object]]] = {
    Caller: lambda request: request.caller,
    Event: lambda request: request.event,
    Deadline: lambda request: Deadline.of(request.context),
    ExpectedVersions: lambda request: expected_versions(request.header("if-match")),
    Preferences: lambda request: Preferences.of(request.header("prefer")),
    Pager: lambda request: Pager(request.signed_in.user_id),
    IdempotentAttempt: lambda request: idempotency.claim(
        request.signed_in, request.event, request.route, Deadline.of(request.context).remaining()
    ),
}
"""How a handler's parameter is obtained, by its type."""


class Endpoint:
    """A route with its function: called by Lambda, read by the OpenAPI generator."""

    name: str = ""
    """The operation: the function's folder. Set by tools that load all handlers."""

    def __init__(
        self,
        route: str,
        function: Callable[..., Any],
        status: HTTPStatus,
        refuses: tuple[type[PracticeError], ...],
        accepted: type[BaseModel] | None,
        takes: str | None,
        gives: str,
    ) -> None:
        self.route = route
        self.method, _, self.path = route.partition(" ")
        self.function = function
        self.status = status
        self.refuses = refuses
        self.accepted_model = accepted
        self.takes = takes
        self.gives = gives
        self.cost = rates.JOB_COST if accepted else 1
        self.__doc__ = function.__doc__
        hints = dict(function.__annotations__)
        self.answer_type = hints.pop("return", None)
        self.query_model: type[BaseModel] | None = hints.pop("query", None)
        self.path_parameters = tuple(name for name in hints if "{" + name + "}" in self.path)
        self.injected = {hint: name for name, hint in hints.items() if hint in _SOURCES}
        self.body_name: str | None = None
        self.body_model: type[BaseModel] | None = None
        for name, hint in hints.items():
            if isinstance(hint, type) and issubclass(hint, BaseModel):
                self.body_name, self.body_model = name, hint

    def takes_a(self, kind: Any) -> bool:
        return kind in self.injected

    @property
    def answer_model(self) -> Any:
        """The type of a success's body; None without a body."""
        if get_origin(self.answer_type) in (Versioned, Reply):
            return get_args(self.answer_type)[0]
        return self.answer_type

    def __call__(self, event: Event, context: Any) -> HttpResponse:
        invocation = log.begin_invocation()
        request_id = _request_id(event, context)
        caller: Caller | None = None
        kind: str | None = None
        cause: str | None = None
        reply: Reply[Any]
        try:
            if self.takes_a(Caller):
                caller = authenticate(event.get("headers", {}).get("authorization"))
                # Before the account is read: a request over the limit costs the table nothing.
                rates.spend(caller.user_id, self.cost)
                self._admit(caller)
            reply = self._reply(Request(event, context, caller, f"{self.method} {self.path}"))
        except Invalid as error:
            kind = "Invalid"
            reply = Reply(detail(error.problems), HTTPStatus.UNPROCESSABLE_ENTITY)
        except PracticeError as error:
            kind = type(error).__name__
            cause = error.reason if isinstance(error, StoreUnavailable | Unauthorized) else None
            reply = error_reply(error)
        except Exception as error:  # noqa: BLE001  # the last line of defence: a clear 500, its place in the log
            cause = type(error).__name__ + "\n" + "".join(traceback.format_tb(error.__traceback__))
            reply = Reply(detail("internal server error"), HTTPStatus.INTERNAL_SERVER_ERROR)
        response = http_response(reply, self.status, request_id)
        log.log_request(
            invocation,
            context,
            route=self.route,
            status=response["statusCode"],
            error=kind,
            request_id=request_id,
            user_id=caller.user_id if caller else None,
            cause=cause,
        )
        _resume_collection()
        return response

    def _admit(self, caller: Caller) -> None:
        try:
            accounts.admit(caller)
        except Unauthorized:
            rates.give_back(caller.user_id, self.cost)
            raise

    def _reply(self, request: Request) -> Reply[Any]:
        path, query, body = inputs(request.event, self.path_parameters, self.query_model, self.body_model)
        arguments: dict[str, Any] = dict(path)
        if self.query_model:
            arguments["query"] = query
        if self.body_name:
            arguments[self.body_name] = body
        for kind, name in self.injected.items():
            arguments[name] = _SOURCES[kind](request)
        attempt = arguments.get(self.injected.get(IdempotentAttempt, ""))
        if attempt is None:
            reply = _to_reply(self.function(**arguments))
            if self.method == "GET" and is_current(
                request.header("if-none-match"), reply.headers.get("etag")
            ):
                return Reply(None, HTTPStatus.NOT_MODIFIED, reply.headers)
            return reply
        if attempt.replay:
            return idempotency.replayed(attempt.replay)
        try:
            reply = _to_reply(self.function(**arguments))
            idempotency.keep_success(attempt, reply)
        except Exception as failure:
            attempt.release(failure)
            raise
        return reply


def endpoint(
    route: str,
    status: HTTPStatus = HTTPStatus.OK,
    refuses: tuple[type[PracticeError], ...] = (),
    accepted: type[BaseModel] | None = None,
    takes: str | None = None,
    gives: str = "application/json",
) -> Callable[[Callable[..., Any]], Endpoint]:
    """Makes a function the handler of its route.

    The rest is for the contract. `refuses` lists what the domain may answer; `accepted` is the body of a 202, and what may
    become a job counts as several requests (`rates.py`); `takes` and `gives` are media types other than JSON.
    """

    def bind(function: Callable[..., Any]) -> Endpoint:
        return Endpoint(route, function, status, refuses, accepted, takes, gives)

    return bind


def _to_reply(result: Any) -> Reply[Any]:
    """What a handler returned, its body as JSON text."""
    reply: Reply[Any]
    if isinstance(result, Reply):
        reply = result
    elif isinstance(result, Versioned):
        reply = Reply(result.value, headers={"etag": etag(result.version)})
    else:
        reply = Reply(result)
    if reply.body is not None:
        reply.body = json_text(reply.body)
    return reply


def _request_id(event: Event, context: Any) -> str:
    return str(
        event.get("requestContext", {}).get("requestId") or getattr(context, "aws_request_id", "") or "-"
    )


def _resume_collection() -> None:
    """`practice/__init__.py` switches the collector off for the imports of a cold start."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
