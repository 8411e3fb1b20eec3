"""What every answer has in common, whatever was asked for."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from local.gateway import build_event
from local.stack import Stack, read_template
from practice.caller import Caller
from practice.http.endpoint import endpoint
from practice.http.replies import Reply
from tests.support.learners import BASE_URL, Learner, Send

ROUTES = [route for route in read_template().routes if route.path != "$default"]
PATHS = sorted({re.sub(r"{\w+}", "1", route.path) for route in ROUTES})


def methods_of(path: str) -> set[str]:
    """Of its own routes; `/sessions/run` is a `/sessions/{session_id}` too, which takes what its own routes do not."""
    return {each.method for each in ROUTES if re.sub(r"{\w+}", "1", each.path) == path}


def is_taken(method: str, path: str) -> bool:
    return any(
        each.method == method and re.fullmatch(re.sub(r"{\w+}", "[^/]+", each.path), path) for each in ROUTES
    )


METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD")


@pytest.mark.parametrize("path", PATHS)
def test_the_answer_to_a_wrong_method_has_the_right_ones(path: str, send: Send) -> None:
    for method in METHODS:
        if is_taken(method, path):
            continue
        answer = send(method, path, {"host": "localhost"}, None)

        assert answer.status == 405, method
        assert answer.headers["allow"] == ", ".join(sorted(methods_of(path)))
        assert answer.headers["x-request-id"]
        if method != "HEAD":
            assert answer.json == {"detail": "method not allowed"}


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/user",
            "/user/practice",
            "/user/practice/",
            "/user/practice/session",
            "/user/practice/sessions/",
        ),
        *(
            "/user/practice/sessions/1/settings/2",
            "/user/practice/sessions//settings",
            "/User/practice/sessions",
        ),
        *(
            "/user/practice/sessions/1/models/2",
            "/openapi.yaml",
            "/%00",
            "/user/practice/sessions/1%2Fsettings/2",
        ),
    ],
)
def test_an_unknown_path_is_not_found(path: str, ada: Learner) -> None:
    for method in METHODS[:-1]:
        answer = ada.send(method, path, {"host": "localhost", "authorization": f"Bearer {ada.token}"}, None)

        assert (answer.status, answer.json) == (404, {"detail": "not found"}), method
        assert answer.headers["x-request-id"]


def test_a_deployed_stack_has_nothing_at_its_root(stack: Stack) -> None:
    """The local stack has a page there."""
    match = stack.gateway.router.match("GET", "/")
    assert match
    answer = stack.invoker.invoke(match.route.function, build_event("GET", "/", {}, b"", match))

    assert (answer["statusCode"], json.loads(answer["body"])) == (404, {"detail": "not found"})


def test_every_answer_has_an_id_of_its_own(ada: Learner) -> None:
    session = ada.open_session()
    answers = [
        ada.get("/sessions"),
        ada.get(f"/sessions/{session['session_id']}"),
        ada.patch(f"/sessions/{session['session_id']}", {"title": 5}),
        ada.get("/sessions/1"),
        Learner(ada.send, "", 0).get("/sessions"),
        ada.delete(f"/sessions/{session['session_id']}"),
    ]

    assert [answer.status for answer in answers] == [200, 200, 422, 404, 401, 204]
    assert len({answer.headers["x-request-id"] for answer in answers}) == len(answers)
    assert all(answer.headers["content-type"] == "application/json" for answer in answers[:-1])
    assert answers[-1].body == b""
    if not BASE_URL:  # AWS does not promise it
        assert "content-type" not in answers[-1].headers


CANARY = "canary"
"""As if a learner had written it."""


class Unwritable(BaseModel):
    text: str


def breaks(_: object) -> None:
    raise KeyError(CANARY)


@pytest.mark.parametrize(
    "body",
    [lambda: Unwritable(text="\ud800" + CANARY), lambda: breaks(None)],
    ids=["an answer", "a function"],
)
def test_a_fault_of_ours_is_a_plain_500_and_its_place_is_in_the_log(
    body: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    @endpoint("GET /broken")
    def broken() -> Reply[Unwritable]:
        return Reply(body())

    answer = broken({"requestContext": {"requestId": "abc"}, "headers": {}}, None)

    assert answer["statusCode"] == 500
    assert json.loads(answer["body"]) == {"detail": "internal server error"}
    assert answer["headers"] == {"x-request-id": "abc", "content-type": "application/json"}
    [line] = [record.__dict__ for record in caplog.records if "cause" in record.__dict__]
    assert "test_edge.py" in line["cause"] or "replies.py" in line["cause"]
    assert CANARY not in str(line)


def test_a_function_that_asks_for_a_caller_is_not_called_without_one() -> None:
    called = []

    @endpoint("GET /mine")
    def mine(caller: Caller) -> None:
        called.append(caller)

    answer = mine({"requestContext": {"requestId": "abc"}, "headers": {}}, None)

    assert (answer["statusCode"], called) == (401, [])
