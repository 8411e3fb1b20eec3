"""The edge: an endpoint's signature is its contract, and everything they share happens here once.

    event -> token -> caller -> parsed input -> store call -> model -> JSON

Nothing flows back. A handler names its route and takes what it needs by type: the `Caller`, the ids of its path, `query`
(a model of its query string), a body (any other model), `IfMatch`, `Preferences`, the `Deadline` it has to answer by, and
`Once` where an Idempotency-Key counts; one that takes no `Caller` asks for no token. It returns
a model, a list of them, a `Versioned` one, or a `Reply`.
"""

import gc
import json
import traceback
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel

from practice.caller import Caller
from practice.errors import (
    Invalid,
    PracticeError,
    PreconditionFailed,
    RequestInFlight,
    StoreUnavailable,
    TooManyRequests,
    Unauthorized,
)
from practice.http import rates
from practice.http.auth import authenticate
from practice.http.conditional import IfMatch, Versioned, etag
from practice.http.inputs import Event, inputs
from practice.http.preferences import Preferences
from practice.http.replies import Reply, json_text
from practice.runtime import log
from practice.runtime.deadline import Deadline
from practice.store import accounts
from practice.store.idempotency import IdempotentAttempt, claim_key

Answer = dict[str, Any]

RETRY_AFTER_SECONDS: Final = "1"


class Endpoint:
    """A route with its function: called by Lambda, read by the OpenAPI generator."""

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
        self.cost = rates.JOB if accepted else 1
        self.__doc__ = function.__doc__
        hints = dict(function.__annotations__)
        self.answer_type = hints.pop("return", None)
        self.query_model: type[BaseModel] | None = hints.pop("query", None)
        self.path_parameters = tuple(name for name in hints if "{" + name + "}" in self.path)
        self.body_name: str | None = None
        self.body_model: type[BaseModel] | None = None
        self.if_match_name: str | None = None
        self.caller_name: str | None = None
        self.event_name: str | None = None
        self.attempt_name: str | None = None
        self.deadline_name: str | None = None
        self.preferences_name: str | None = None
        for name, hint in hints.items():
            if hint is IdempotentAttempt:
                self.attempt_name = name
            elif hint is Deadline:
                self.deadline_name = name
            elif hint is Preferences:
                self.preferences_name = name
            elif hint is Event:
                self.event_name = name
            elif hint is IfMatch:
                self.if_match_name = name
            elif hint is Caller:
                self.caller_name = name
            elif isinstance(hint, type) and issubclass(hint, BaseModel):
                self.body_name, self.body_model = name, hint

    @property
    def name(self) -> str:
        """The operation, which is the function's folder: `functions/<name>/handler.py`."""
        return self.function.__code__.co_filename.replace("\\", "/").split("/")[-2]

    @property
    def answer_model(self) -> Any:
        """What the body of the success is made of; None without a body."""
        if get_origin(self.answer_type) in (Versioned, Reply):
            return get_args(self.answer_type)[0]
        return self.answer_type

    def __call__(self, event: Event, context: Any) -> Answer:
        invocation = log.begin_invocation()
        request_id = _request_id(event, context)
        caller: Caller | None = None
        kind: str | None = None
        allowance: rates.Allowance | None = None
        cause: str | None = None
        reply: Reply[Any]
        try:
            if self.caller_name:
                caller = authenticate(event.get("headers", {}).get("authorization"))
                # Before the account is looked at: a request that is too much costs the table nothing.
                allowance = rates.spend(caller.user_id, self.cost)
                if allowance:
                    allowance.accept()
                self._admit(caller)
            reply = self._reply(event, context, caller)
            if reply.body is not None:
                reply.body = json_text(reply.body)
        except Invalid as error:
            kind = "Invalid"
            reply = Reply(_detail(error.problems), HTTPStatus.UNPROCESSABLE_ENTITY)
        except PracticeError as error:
            kind = type(error).__name__
            reply, cause = _refusal(error), _cause(error)
        except Exception as error:  # noqa: BLE001  # the last line of defence: a clear 500, its place in the log
            cause = type(error).__name__ + "\n" + "".join(traceback.format_tb(error.__traceback__))
            reply = Reply(_detail("internal server error"), HTTPStatus.INTERNAL_SERVER_ERROR)
        if allowance and reply.status != HTTPStatus.UNAUTHORIZED:
            reply.headers |= allowance.headers()
        answer = _http(reply, self.status, request_id)
        log.log_request(
            invocation,
            context,
            route=self.route,
            status=answer["statusCode"],
            error=kind,
            request_id=request_id,
            user_id=caller.user_id if caller else None,
            cause=cause,
        )
        _resume_collection()
        return answer

    def _admit(self, caller: Caller) -> None:
        try:
            accounts.admit(caller)
        except Unauthorized:
            rates.give_back(caller.user_id, self.cost)
            raise

    def _reply(self, event: Event, context: Any, caller: Caller | None) -> Reply[Any]:
        path, query, body = inputs(event, self.path_parameters, self.query_model, self.body_model)
        arguments: dict[str, Any] = dict(path)
        if self.caller_name:
            arguments[self.caller_name] = caller
        if self.event_name:
            arguments[self.event_name] = event
        if self.query_model:
            arguments["query"] = query
        if self.body_name:
            arguments[self.body_name] = body
        if self.if_match_name:
            arguments[self.if_match_name] = IfMatch.of(event.get("headers", {}).get("if-match"))
        if self.preferences_name:
            arguments[self.preferences_name] = Preferences.of(event.get("headers", {}).get("prefer"))
        deadline = Deadline.of(context)
        if self.deadline_name:
            arguments[self.deadline_name] = deadline
        if self.attempt_name and caller:
            attempt = self._begin(event, deadline, caller)
            if attempt.replay:
                return Reply(attempt.replay.body, attempt.replay.status, attempt.replay.headers)
            arguments[self.attempt_name] = attempt
            try:
                result = self.function(**arguments)
            except Exception:
                attempt.release()
                raise
        else:
            result = self.function(**arguments)
        if isinstance(result, Reply):
            return result
        if isinstance(result, Versioned):
            return Reply(result.value, headers={"etag": etag(result.version)})
        return Reply(result)

    def _begin(self, event: Event, deadline: Deadline, caller: Caller) -> IdempotentAttempt:
        header = event.get("headers", {}).get("idempotency-key")
        return claim_key(caller.user_id, header, event, f"{self.method} {self.path}", deadline.remaining())


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
    become a job counts as several requests (`rates.py`); `takes` and `gives` are the media types of what is no JSON.
    """

    def bind(function: Callable[..., Any]) -> Endpoint:
        return Endpoint(route, function, status, refuses, accepted, takes, gives)

    return bind


def _http(reply: Reply[Any], status: HTTPStatus, request_id: str) -> Answer:
    headers = {"x-request-id": request_id, **reply.headers}
    answer: Answer = {"statusCode": int(reply.status or status), "headers": headers}
    if reply.body is not None:
        headers.setdefault("content-type", "application/json")
        answer["body"] = reply.body
    return answer


def _detail(said: object) -> str:
    return json.dumps({"detail": said}, separators=(",", ":"))


def _refusal(error: PracticeError) -> Reply[str]:
    headers = {}
    if isinstance(error, Unauthorized):
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, StoreUnavailable):
        headers["retry-after"] = RETRY_AFTER_SECONDS
    if isinstance(error, RequestInFlight | TooManyRequests):
        headers["retry-after"] = str(error.seconds)
    if isinstance(error, PreconditionFailed):
        headers["etag"] = error.etag
    return Reply(_detail(error.detail), error.status, headers)


def _cause(error: PracticeError) -> str | None:
    return error.reason if isinstance(error, StoreUnavailable | Unauthorized) else None


def _request_id(event: Event, context: Any) -> str:
    return str(
        event.get("requestContext", {}).get("requestId") or getattr(context, "aws_request_id", "") or "-"
    )


def _resume_collection() -> None:
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
