"""What one learner may ask for in a minute, and the answer to those who ask for more."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from local.stack import Stack, read_template
from practice.caller import Caller
from practice.errors import TooManyRequests
from practice.http import rates
from practice.http.endpoint import Endpoint
from practice.limits import MAX_ID
from practice.runtime.config import config
from practice.store import accounts
from tests.support.learners import Learner, at_once
from tools.openapi import endpoints

ENDPOINTS = [each for each in endpoints() if each.takes_a(Caller)]
REFUSED = {"detail": "too many requests"}


@dataclass
class Clock:
    """Stops until a test moves it."""

    now: float = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(rates, "time", clock)
    return clock


@pytest.fixture
def limit(stack: Stack, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Sets how many requests a minute the functions accept from one user."""

    def to(requests: int) -> None:
        monkeypatch.setenv("USER_REQUESTS_PER_MINUTE", str(requests))
        config.cache_clear()

    rates.clear_cache()
    yield to
    monkeypatch.undo()
    config.cache_clear()
    rates.clear_cache()


Limit = Callable[[int], None]


def test_a_learner_may_ask_as_often_as_the_deployment_allows(
    limit: Limit, ada: Learner, ben: Learner
) -> None:
    limit(3)

    answers = [ada.get("/sessions") for _ in range(4)]

    assert [answer.status for answer in answers] == [200, 200, 200, 429]
    assert not any(name.startswith("ratelimit") for answer in answers for name in answer.headers)
    assert answers[3].json == REFUSED
    assert answers[3].headers["retry-after"] == "20"
    assert answers[3].headers["x-request-id"]
    assert ben.get("/sessions").status == 200


def test_a_learner_who_waits_for_retry_after_is_answered(limit: Limit, clock: Clock, ada: Learner) -> None:
    limit(7)
    for _ in range(7):
        assert ada.get("/sessions").status == 200

    for _ in range(5):
        refused = ada.get("/sessions")
        clock.now += int(refused.headers["retry-after"])
        assert (refused.status, ada.get("/sessions").status) == (429, 200)
    clock.now += 60

    assert [ada.get("/sessions").status for _ in range(8)] == [200] * 7 + [429]


def test_a_minute_accepts_the_quota_and_never_more_than_twice_of_it(
    limit: Limit, clock: Clock, ada: Learner
) -> None:
    """The bucket may be full when the minute begins, and fills while it passes."""
    limit(10)
    accepted = []
    for _ in range(300):
        if ada.get("/sessions?size=abc").status == 422:
            accepted.append(clock.now)
        clock.now += 0.5

    assert len(accepted) == 10 + 149 // 6
    assert max(sum(start <= each < start + 60 for each in accepted) for start in accepted) <= 20


def test_a_refused_request_costs_the_table_nothing_and_changes_nothing(
    limit: Limit,
    ada: Learner,
    items_of: Callable[[Learner], Any],
    requests_to_table: Callable[[], Any],
) -> None:
    session = ada.open_session()
    before = items_of(ada)
    limit(1)
    assert ada.get("/sessions").status == 200
    accounts.clear_cache()

    with requests_to_table() as requests:
        for endpoint in ENDPOINTS:
            answer = ada.ask(
                endpoint.method, target(endpoint, session["session_id"]), raw=b"\xff not even JSON"
            )

            assert (answer.status, answer.json) == (429, REFUSED), endpoint.name
            assert int(answer.headers["retry-after"]) >= 1

    assert requests == []
    assert items_of(ada) == before


def target(endpoint: Endpoint, number: int) -> str:
    return re.sub(r"{\w+}", str(number), endpoint.path)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda each: each.name)
def test_every_request_is_counted_whatever_becomes_of_it(
    endpoint: Endpoint, limit: Limit, ada: Learner
) -> None:
    limit(2 * endpoint.cost)

    answers = [
        ada.ask(endpoint.method, target(endpoint, number), raw=raw)
        for number, raw in ((MAX_ID, b"{}"), (0, b"["), (1, b"{}"))
    ]

    assert [answer.status == 429 for answer in answers] == [False, False, True]
    assert not any(name.startswith("ratelimit") for answer in answers for name in answer.headers)
    assert Learner(ada.send, "", 0).ask(endpoint.method, target(endpoint, 1)).status == 401


def test_a_turn_counts_as_ten_requests(limit: Limit, ada: Learner) -> None:
    session = ada.open_session()
    limit(25)
    chat = f"/sessions/{session['session_id']}/chat"

    answers = [ada.post(chat, {"prompt_text": "Why?"}) for _ in range(3)]

    assert [answer.status for answer in answers] == [201, 201, 429]
    assert [ada.get("/sessions").status for _ in range(6)] == [200] * 5 + [429]


def test_a_quota_smaller_than_a_turn_admits_one_turn(limit: Limit, ada: Learner) -> None:
    session = ada.open_session()
    limit(3)

    answers = [ada.post(f"/sessions/{session['session_id']}/chat", {"prompt_text": "Why?"}) for _ in range(2)]

    assert [answer.status for answer in answers] == [201, 429]
    assert answers[1].headers["retry-after"] == "60"


def test_without_a_limit_nothing_is_counted(limit: Limit, ada: Learner) -> None:
    limit(0)

    answers = [ada.get("/sessions") for _ in range(30)]

    assert {answer.status for answer in answers} == {200}


def test_a_revoked_token_does_not_use_up_what_its_owner_may_ask_for(
    limit: Limit, ada: Learner, hand_in: Callable[[str, dict[str, Any]], Any]
) -> None:
    hand_in("TokensRevoked", {"user_id": ada.user_id, "issued_before": "2099-01-01T00:00:00Z"})
    accounts.clear_cache()
    limit(2)

    answers = [ada.get("/sessions") for _ in range(5)]

    assert {answer.status for answer in answers} == {401}


def test_requests_at_the_same_time_are_each_counted(limit: Limit, ada: Learner) -> None:
    limit(8)

    answers = at_once(*[lambda: ada.get("/sessions?size=abc")] * 12)

    assert sorted(answer.status for answer in answers) == [422] * 8 + [429] * 4


def test_only_so_many_learners_are_remembered_the_latest(
    limit: Limit, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(2)
    monkeypatch.setattr(rates, "COUNTED_USERS", 3)

    def is_accepted(user_id: int) -> bool:
        try:
            rates.spend(user_id, 1)
        except TooManyRequests:
            return False
        return True

    assert all(is_accepted(user) for user in (1, 2, 3, 1, 4))
    assert len(rates._full_at) == 3
    assert (is_accepted(1), [is_accepted(2) for _ in range(3)]) == (False, [True, True, False])


def test_a_deployed_stack_has_a_limit_and_the_local_one_has_none() -> None:
    local = read_template()

    assert local.environment["USER_REQUESTS_PER_MINUTE"] == "0"
    assert type(local)(local.root / "template.yaml").environment["USER_REQUESTS_PER_MINUTE"] == "300"
