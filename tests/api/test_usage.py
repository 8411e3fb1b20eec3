"""What models cost a learner, and what the budgets of a day hold."""

import json
import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from local.stack import Stack
from practice.runtime import clock as practice_clock
from practice.runtime.config import ConfigurationError, config
from practice.schemas.response import Response
from practice.schemas.spending import Spending
from practice.store import reservations, sweeps, turn_state, turns, usage
from practice.turns import configuration, worker
from tests.support.learners import Answer, Learner, at_once, made
from tests.support.providers import FakeProvider, Played, completion, replies

ASYNC = {"prefer": "respond-async"}
PRICES = {"prompt": "0.15", "completion": "0.6"}
DAY = 24 * 3600


@pytest.fixture
def provider(provider: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> FakeProvider:
    """Serves every model at one price: 1,000 tokens of a prompt are 0.00015 dollars, of an answer 0.0006."""
    served = {"provider": "openai", "base_url": f"{provider.url}/v1", "prices": PRICES}
    monkeypatch.setenv("MODELS", json.dumps({"*": served}))
    configuration.clear_cache()
    return provider


@pytest.fixture
def deployed_with(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Sets the budget of the deployment: turns, tokens, dollars, and the cap of an answer."""

    def set_to(budget: str) -> None:
        monkeypatch.setenv("DAILY_BUDGET", budget)
        config.cache_clear()

    yield set_to
    monkeypatch.undo()
    config.cache_clear()


@pytest.fixture
def work(stack: Stack, ada: Learner) -> Callable[[int], None]:
    """Brings a turn to its worker."""

    def deliver(turn_id: int) -> None:
        body = json.dumps({"user_id": ada.user_id, "turn_id": turn_id})
        record = {"messageId": "1", "body": body, "eventSource": "aws:sqs", "attributes": {}}
        assert stack.invoker.invoke("work_turn", {"Records": [record]}) == {"batchItemFailures": []}

    return deliver


def chat(who: Learner, session: dict[str, Any], prompt: str = "Why?", **options: Any) -> Answer:
    return who.post(f"/sessions/{session['session_id']}/chat", {"prompt_text": prompt}, **options)


def open_in(who: Learner, class_id: int) -> dict[str, Any]:
    return who.open_session(class_id=class_id, title="Lesson")


def usage_of(who: Learner, query: str = "") -> dict[str, Any]:
    return made(who.get(f"/usage{query}"), 200)


def left(answer: Answer) -> dict[str, int]:
    """What a refusal says is left, by budget."""
    assert (answer.status, answer.detail) == (429, "daily_budget_spent"), answer.body
    assert {seconds for _, seconds in _rate_limit(answer).values()} == {int(answer.headers["retry-after"])}
    return {name: remaining for name, (remaining, _) in _rate_limit(answer).items()}


def _rate_limit(answer: Answer) -> dict[str, tuple[int, int]]:
    """What remains of each budget, and for how many seconds it is to last."""
    parts = [part.split(";") for part in answer.headers["ratelimit"].split(", ")]
    shown = {name.strip('"'): (int(rest[2:]), int(seconds[2:])) for name, rest, seconds in parts}
    assert all(1 <= seconds <= DAY for _, seconds in shown.values())
    return shown


def today() -> str:
    return datetime.now(UTC).date().isoformat()


# Usage


@pytest.mark.usefixtures("provider")
def test_turns_count_by_day_and_model(ada: Learner, ben: Learner, class_of: Any) -> None:
    session = open_in(ada, class_of("alpha", "beta"))
    for _ in range(2):
        made(chat(ada, session), 201)
    body = {"prompt_text": "Why?", "model_names": ["beta"]}
    made(ada.post(f"/sessions/{session['session_id']}/chat", body), 201)
    ada.add_response(session, token_usage={"prompt_tokens": 1000, "completion_tokens": 1000})

    shown = usage_of(ada)

    def of(count: int) -> dict[str, Any]:
        cost = count * (3 * Decimal("0.15") + 4 * Decimal("0.6")) / 10**6
        tokens = {"prompt_tokens": 3 * count, "completion_tokens": 4 * count}
        return {"answers": count, **tokens, "cost_usd": f"{cost.normalize():f}"}

    day = {
        "date": today(),
        "models": [{"model_name": "alpha", "turns": 2, **of(2)}, {"model_name": "beta", "turns": 3, **of(3)}],
    }
    month_ago = (datetime.now(UTC).date() - timedelta(days=29)).isoformat()
    assert shown == {"from": month_ago, "to": today(), "total": {"turns": 3, **of(5)}, "days": [day]}
    assert list(shown["days"][0]["models"][0])[:2] == ["model_name", "turns"]
    nothing = {"turns": 0, "answers": 0, "prompt_tokens": 0, "completion_tokens": 0, "cost_usd": None}
    assert usage_of(ben) == {"from": month_ago, "to": today(), "total": nothing, "days": []}


@pytest.mark.parametrize(
    ("query", "days"),
    [
        ("?from=2026-01-01&to=2026-01-01", 1),
        ("?from=2026-01-01&to=2026-04-02", 92),
        ("?to=2026-03-01", 30),
        ("?to=0001-01-05", 5),
        ("?to=9999-12-31", 30),
    ],
)
def test_a_period_has_days_of_utc(ada: Learner, query: str, days: int) -> None:
    shown = usage_of(ada, query)

    period = date.fromisoformat(shown["to"]) - date.fromisoformat(shown["from"])
    assert (period.days + 1, shown["days"]) == (days, [])


@pytest.mark.parametrize(
    ("query", "kind", "name"),
    [
        ("?from=2026-02-30", "date_parsing", "from"),
        ("?to=20260101", "date_parsing", "to"),
        ("?to=2026-1-1", "date_parsing", "to"),
        ("?to=", "date_parsing", "to"),
        ("?to=2026-01-01T00:00:00", "date_parsing", "to"),
        ("?from=%D9%A2026-01-01", "date_parsing", "from"),
        ("?from=2026-01-02&to=2026-01-01", "date_range", "from"),
        ("?from=2999-01-01", "date_range", "from"),
        ("?from=2026-01-01&to=2026-04-03", "too_many_days", "from"),
        ("?from=0001-01-01", "too_many_days", "from"),
    ],
)
def test_a_period_that_is_none_is_refused(ada: Learner, query: str, kind: str, name: str) -> None:
    answer = ada.get(f"/usage{query}")

    assert answer.status == 422
    assert [(each["type"], each["loc"]) for each in answer.detail] == [(kind, ["query", name])]


@pytest.mark.usefixtures("stack")
def test_a_model_without_a_price_has_no_cost_and_one_that_is_free_costs_nothing(
    ada: Learner, class_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = {"provider": "echo", "prices": {"prompt": "0", "completion": 0}}
    monkeypatch.setenv("MODELS", json.dumps({"unknown": {"provider": "echo"}, "free": free}))
    configuration.clear_cache()
    session = open_in(ada, class_of("unknown", "free"))

    made(chat(ada, session), 201)

    [day] = usage_of(ada)["days"]
    costs = {model["model_name"]: model["cost_usd"] for model in day["models"]}
    assert costs == {"unknown": None, "free": "0"}
    assert usage_of(ada)["total"]["cost_usd"] == "0"
    monkeypatch.undo()
    configuration.clear_cache()


def test_a_sum_of_many_small_prices_is_exact(ada: Learner, class_of: Any, provider: FakeProvider) -> None:
    provider.plays["alpha"] = lambda _: Played(completion("a", prompt_tokens=333, completion_tokens=7))
    session = open_in(ada, class_of("alpha"))

    for _ in range(7):
        made(chat(ada, session), 201)

    exact = 7 * (333 * Decimal("0.15") + 7 * Decimal("0.6")) / 10**6
    assert Decimal(usage_of(ada)["total"]["cost_usd"]) == exact


def test_tokens_of_an_answer_that_is_not_kept_count(
    ada: Learner, class_of: Any, provider: FakeProvider
) -> None:
    provider.plays["alpha"] = lambda _: Played(completion(" ", prompt_tokens=50, completion_tokens=60))
    provider.plays["beta"] = lambda _: Played({"error": {}}, 400)
    session = open_in(ada, class_of("alpha", "beta"))

    assert chat(ada, session).status == 502

    [day] = usage_of(ada)["days"]
    figures = ("turns", "answers", "prompt_tokens", "completion_tokens")
    assert [[model[name] for name in figures] for model in day["models"]] == [[1, 0, 50, 60], [1, 0, 0, 0]]
    assert usage_of(ada)["total"]["turns"] == 1


def test_an_answer_without_reported_usage_counts_by_its_bytes(
    ada: Learner, class_of: Any, provider: FakeProvider
) -> None:
    provider.plays["alpha"] = lambda _: Played({**completion("x" * 300), "usage": None})
    session = open_in(ada, class_of("alpha"))

    made(chat(ada, session, "p" * 252), 201)

    total = usage_of(ada)["total"]
    assert (total["prompt_tokens"], total["completion_tokens"]) == (100, 100)  # 48 bytes of a template


def test_a_model_that_is_too_slow_counts_with_its_prompt(
    ada: Learner, class_of: Any, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.plays["alpha"] = lambda _: Played(completion("late"), silence=5)
    monkeypatch.setattr(worker, "MARGIN_SECONDS", 28.5)
    session = open_in(ada, class_of("alpha"))

    assert chat(ada, session, "p" * 252).status == 502

    total = usage_of(ada)["total"]
    assert (total["answers"], total["prompt_tokens"], total["completion_tokens"]) == (0, 100, 0)


@pytest.mark.usefixtures("provider")
def test_usage_outlives_its_session(ada: Learner, class_of: Any) -> None:
    session = open_in(ada, class_of("alpha"))
    made(chat(ada, session), 201)
    before = usage_of(ada)

    assert ada.delete(f"/sessions/{session['session_id']}").status == 204

    assert usage_of(ada) == before


def test_a_turn_counts_whose_session_is_deleted_while_it_runs(
    ada: Learner, class_of: Any, provider: FakeProvider, items_of: Callable[[Learner], dict[Any, Any]]
) -> None:
    session = open_in(ada, class_of("alpha", daily_turns=5))

    def delete(_: dict[str, Any]) -> Played:
        assert ada.delete(f"/sessions/{session['session_id']}").status == 204
        list(sweeps.session(ada.user_id, session["session_id"]))
        return Played(completion("too late"))

    provider.plays["alpha"] = delete

    assert chat(ada, session).status == 404

    total = usage_of(ada)["total"]
    assert (total["turns"], total["answers"], total["prompt_tokens"]) == (1, 0, 3)
    assert reserved(items_of(ada)) == []


def reserved(items: dict[tuple[str, str], Any]) -> list[str]:
    return [sk for _, sk in items if sk.startswith("RESERVED#")]


# Budgets


@pytest.mark.usefixtures("provider", "under_load")
def test_of_a_hundred_turns_at_once_a_budget_of_ten_holds_ten(ada: Learner, class_of: Any) -> None:
    class_id = class_of("alpha", daily_turns=10)
    sessions = [open_in(ada, class_id) for _ in range(20)]

    answers = at_once(*[lambda number=number: chat(ada, sessions[number % 20]) for number in range(100)])

    assert sorted(answer.status for answer in answers) == [201] * 10 + [429] * 90
    assert left(chat(ada, sessions[0])) == {"class-daily-turns": 0}
    assert usage_of(ada)["total"]["turns"] == 10


@pytest.mark.usefixtures("provider")
def test_a_budget_of_the_deployment_counts_all_turns_and_one_of_a_class_those_in_it(
    ada: Learner, ben: Learner, class_of: Any, deployed_with: Callable[[str], None]
) -> None:
    deployed_with("3,0,0,4096")
    strict, other = class_of("alpha", daily_turns=1), class_of("alpha", daily_turns=100)
    in_strict, in_other = open_in(ada, strict), open_in(ada, other)

    statuses = [chat(ada, each).status for each in (in_strict, in_strict, in_other, in_other)]

    assert statuses == [201, 429, 201, 201]
    assert left(chat(ada, in_other)) == {"daily-turns": 0, "class-daily-turns": 98}
    refused = chat(ada, in_strict)
    assert left(refused) == {"daily-turns": 0, "class-daily-turns": 0}
    assert refused.headers["ratelimit-policy"] == (
        '"daily-turns";q=3;w=86400, "class-daily-turns";q=1;w=86400'
    )
    made(chat(ben, open_in(ben, strict)), 201)


@pytest.mark.usefixtures("provider")
@pytest.mark.usefixtures("provider")
def test_the_usage_of_today_says_what_is_left_of_each_budget(
    ada: Learner, class_of: Any, deployed_with: Callable[[str], None]
) -> None:
    deployed_with("5,0,0.01,10")
    class_id = class_of("alpha", daily_turns=2)
    made(chat(ada, open_in(ada, class_id)), 201)

    of_all = ada.get("/usage")
    of_the_class = ada.get(f"/usage?from={today()}&class_id={class_id}")
    yesterday = (datetime.now(UTC).date() - timedelta(days=1)).isoformat()

    left_of_all = {name: remaining for name, (remaining, _) in _rate_limit(of_all).items()}
    assert sorted(left_of_all) == ["daily-microdollars", "daily-turns"]
    assert left_of_all["daily-turns"] == 4
    assert 0 < left_of_all["daily-microdollars"] < 10_000
    assert of_all.headers["ratelimit-policy"].startswith(f'"daily-turns";q=5;w={DAY}, ')
    assert _rate_limit(of_the_class)["class-daily-turns"][0] == 1
    assert "ratelimit" not in ada.get(f"/usage?to={yesterday}").headers
    deployed_with("0,0,0,4096")
    assert "ratelimit" not in ada.get("/usage").headers
    assert "ratelimit" not in ada.get("/usage?class_id=9007199254740991").headers


def test_a_refused_turn_takes_no_ids_and_writes_nothing(
    ada: Learner, class_of: Any, items_of: Callable[[Learner], dict[Any, Any]]
) -> None:
    session = open_in(ada, class_of("alpha", daily_turns=1))
    made(chat(ada, session), 201)
    before = items_of(ada)

    assert chat(ada, session).status == 429

    assert items_of(ada) == before


@pytest.mark.usefixtures("provider")
def test_a_run_without_a_budget_opens_no_session(ada: Learner, class_of: Any) -> None:
    class_id = class_of("alpha", daily_turns=1)
    body = {"prompt_text": "Why?"}
    made(ada.post(f"/sessions/run?class_id={class_id}", body), 201)

    refused = ada.post(f"/sessions/run?class_id={class_id}", body, headers={"idempotency-key": "again"})

    assert left(refused) == {"class-daily-turns": 0}
    assert ada.get("/sessions").json["total"] == 1
    assert usage_of(ada)["total"]["turns"] == 1


@pytest.mark.usefixtures("provider")
def test_zero_is_nothing_null_is_no_budget_and_a_lower_one_holds_at_once(
    ada: Learner, class_of: Any, announce: Callable[..., Any]
) -> None:
    class_id = class_of("alpha", daily_turns=0)
    session = open_in(ada, class_id)
    assert left(chat(ada, session)) == {"class-daily-turns": 0}
    announce(class_id, "alpha", daily_turns=None, daily_tokens=None, daily_usd=None)
    for _ in range(3):
        made(chat(ada, session), 201)

    announce(class_id, "alpha", daily_turns=2)
    assert left(chat(ada, session)) == {"class-daily-turns": 0}
    announce(class_id, "alpha", daily_turns=4)

    assert [chat(ada, session).status for _ in range(2)] == [201, 429]
    for nothing in ({"daily_usd": 0}, {"daily_tokens": 0}):
        announce(class_id, "alpha", **nothing)
        assert chat(ada, session).status == 429


def test_tokens_are_reserved_by_prompt_and_cap_and_settled_by_what_was_used(
    ada: Learner, class_of: Any, provider: FakeProvider, announce: Callable[..., Any]
) -> None:
    provider.plays["alpha"] = lambda _: Played(completion("a", prompt_tokens=90, completion_tokens=10))
    class_id = class_of("alpha", daily_tokens=4195)
    session = open_in(ada, class_id)

    assert left(chat(ada, session, "p" * 252)) == {"class-daily-tokens": 4195}  # 100 and 4,096
    announce(class_id, "alpha", daily_tokens=4196)
    turn = made(chat(ada, session, "p" * 252), 201)

    assert turn["results"][0]["generation_params"] == {"max_tokens": 4096}
    assert left(chat(ada, session, "p" * 252)) == {"class-daily-tokens": 4096}
    path = f"/sessions/{session['session_id']}"
    shown = made(ada.get(f"{path}/effective-parameters"), 200)["models"][0]
    assert shown["chosen_by"] == {"max_tokens": "budget"}
    made(ada.patch(f"{path}/settings", {"generation_params": {"max_tokens": 20}}), 200)
    turn = made(chat(ada, session, "p" * 252), 201)
    assert turn["results"][0]["generation_params"] == {"max_tokens": 20}


@pytest.mark.usefixtures("provider")
def test_the_cap_of_a_budget_is_the_smaller_of_the_models_and_the_deployments(
    ada: Learner, class_of: Any, deployed_with: Callable[[str], None]
) -> None:
    session = open_in(ada, class_of("alpha", "claude-3-haiku-20240307", daily_usd="1"))

    def caps() -> dict[str, Any]:
        results = made(chat(ada, session), 201)["results"]
        return {each["model_name"]: each["generation_params"] for each in results}

    assert caps() == {"alpha": {"max_tokens": 4096}, "claude-3-haiku-20240307": {"max_tokens": 4096}}
    deployed_with("0,0,0,9000")
    assert caps() == {"alpha": {"max_tokens": 9000}, "claude-3-haiku-20240307": {"max_tokens": 4096}}
    deployed_with("0,0,0,100")
    assert caps() == {"alpha": {"max_tokens": 100}, "claude-3-haiku-20240307": {"max_tokens": 100}}


@pytest.mark.usefixtures("provider")
def test_dollars_are_held_exactly(ada: Learner, class_of: Any, announce: Callable[..., Any]) -> None:
    class_id = class_of("alpha")
    session = open_in(ada, class_id)
    prompt = "p" * 252
    needed = (100 * Decimal("0.15") + 4096 * Decimal("0.6")) / 10**6
    announce(class_id, "alpha", daily_usd=str(needed - Decimal("0.0000001")))
    refused = chat(ada, session, prompt)
    assert left(refused) == {"class-daily-microdollars": 2472}
    assert "q=2472" in refused.headers["ratelimit-policy"]

    announce(class_id, "alpha", daily_usd=str(needed))
    made(chat(ada, session, prompt), 201)

    spent = (3 * Decimal("0.15") + 4 * Decimal("0.6")) / 10**6
    assert left(chat(ada, session, prompt)) == {"class-daily-microdollars": int((needed - spent) * 10**6)}


@pytest.mark.usefixtures("stack")
def test_a_model_without_a_price_counts_nothing_under_a_budget_in_dollars(
    ada: Learner, class_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELS", json.dumps({"unknown": {"provider": "echo"}}))
    configuration.clear_cache()
    session = open_in(ada, class_of("unknown", daily_usd="0.000001"))

    assert [chat(ada, session).status for _ in range(3)] == [201] * 3

    assert usage_of(ada)["total"]["cost_usd"] is None
    monkeypatch.undo()
    configuration.clear_cache()


@pytest.mark.usefixtures("provider")
def test_a_replay_reserves_nothing(ada: Learner, class_of: Any) -> None:
    session = open_in(ada, class_of("alpha", daily_turns=2))
    key = {"idempotency-key": "once"}

    answers = [chat(ada, session, headers=key) for _ in range(4)]

    assert {answer.status for answer in answers} == {201}
    assert [chat(ada, session).status for _ in range(2)] == [201, 429]
    assert chat(ada, session, headers=key).status == 201


@pytest.mark.usefixtures("provider")
def test_a_turn_that_is_cancelled_in_its_queue_gives_all_back(ada: Learner, class_of: Any) -> None:
    session = open_in(ada, class_of("alpha", daily_turns=1))
    queued = chat(ada, session, headers=ASYNC)
    assert queued.status == 202
    assert chat(ada, session).status == 429

    assert ada.delete(queued.headers["location"]).status == 204

    assert usage_of(ada)["total"]["turns"] == 0
    assert chat(ada, session).status == 201


@pytest.mark.usefixtures("provider")
def test_a_queued_turn_reserves_until_its_worker_settles_it(
    ada: Learner, class_of: Any, deliver_turns: Callable[[], None]
) -> None:
    session = open_in(ada, class_of("alpha", daily_turns=2, daily_tokens=9000))
    assert chat(ada, session, headers=ASYNC).status == 202
    assert left(chat(ada, session, "p" * 20_000)) == {"class-daily-turns": 1, "class-daily-tokens": 4886}

    deliver_turns()

    assert left(chat(ada, session, "p" * 20_000)) == {"class-daily-turns": 1, "class-daily-tokens": 8993}


def died(ada: Learner, session: dict[str, Any], *answers: str) -> int:
    """A turn whose worker died a while ago, after these models had answered."""
    turn_id: int = made(chat(ada, session, headers=ASYNC), 202)["turn_id"]
    claim = turns.claim(ada.user_id, turn_id, worker.WORKER_LEASE)
    state = turn_state.read(ada.user_id, turn_id)
    assert claim
    assert state
    for asked in state.turn.asked:
        if asked.model_name in answers:
            response = Response(
                response_id=asked.response_id,
                session_model_id=asked.session_model_id,
                session_id=session["session_id"],
                model_name=asked.model_name,
                prompt_text="Why?",
                response_text="Because.",
                token_usage={},
                latency_ms=1,
                created_at=state.turn.created_at,
            )
            spent = Spending(prompt_tokens=70, completion_tokens=80, cost=10**12)
            assert turns.store_answer(ada.user_id, response, {}, spent)
    turns.extend_lease(ada.user_id, turn_id, claim.worker, turns.Lease(-1, -1))
    return turn_id


@pytest.mark.usefixtures("provider")
def test_a_turn_that_died_gives_its_reservation_back_by_the_time_it_is_shown_as_failed(
    ada: Learner, class_of: Any
) -> None:
    session = open_in(ada, class_of("alpha", daily_turns=1))
    turn_id = died(ada, session)
    shown = ada.get(f"/sessions/{session['session_id']}/turns/{turn_id}").json
    assert shown["status"] == "failed"

    assert [chat(ada, session).status for _ in range(2)] == [201, 429]

    assert usage_of(ada)["total"]["turns"] == 1


@pytest.mark.usefixtures("provider")
def test_a_turn_keeps_its_reservation_as_long_as_its_worker_is_alive(ada: Learner, class_of: Any) -> None:
    """Each heartbeat extends the time after which both count as lost."""
    session = open_in(ada, class_of("alpha", daily_turns=1))
    turn_id = made(chat(ada, session, headers=ASYNC), 202)["turn_id"]
    claim = turns.claim(ada.user_id, turn_id, turns.Lease(-1, -1))
    assert claim

    turns.extend_lease(ada.user_id, turn_id, claim.worker, worker.WORKER_LEASE)

    assert chat(ada, session).status == 429


@pytest.mark.usefixtures("provider")
def test_a_turn_that_died_after_its_session_was_deleted_counts_with_what_it_had_kept(
    ada: Learner, class_of: Any, stack: Stack, items_of: Callable[[Learner], dict[Any, Any]]
) -> None:
    class_id = class_of("alpha", "beta", daily_turns=1)
    session = open_in(ada, class_id)
    died(ada, session, "beta")
    assert ada.delete(f"/sessions/{session['session_id']}").status == 204
    body = json.dumps({"type": "session", "user_id": ada.user_id, "session_id": session["session_id"]})
    record = {"messageId": "1", "body": body, "eventSource": "aws:sqs", "attributes": {}}
    assert stack.invoker.invoke("sweep", {"Records": [record]}) == {"batchItemFailures": []}

    assert chat(ada, open_in(ada, class_id)).status == 429

    total = usage_of(ada)["total"]
    assert (total["turns"], total["answers"], total["prompt_tokens"]) == (1, 1, 70)
    assert reserved(items_of(ada)) == []


@pytest.mark.usefixtures("provider")
def test_a_turn_that_died_counts_with_the_answers_that_it_kept(ada: Learner, class_of: Any) -> None:
    session = open_in(ada, class_of("alpha", "beta", daily_turns=2))
    died(ada, session, "beta")
    assert [chat(ada, session).status for _ in range(2)] == [201, 429]

    total = usage_of(ada)["total"]

    assert (total["turns"], total["answers"], total["prompt_tokens"]) == (2, 3, 70 + 6)


@pytest.mark.usefixtures("provider")
def test_a_turn_that_died_counts_before_a_budget_refuses_another(ada: Learner, class_of: Any) -> None:
    """Without a budget nothing ever settles it, unless it is cancelled."""
    session = open_in(ada, class_of("alpha", "beta"))
    turn_id = died(ada, session, "beta")
    made(chat(ada, session), 201)
    before = usage_of(ada)

    assert (before["total"]["turns"], before["total"]["answers"]) == (2, 3)
    assert before["total"]["prompt_tokens"] == 70 + 6
    [day] = before["days"]
    assert [(each["model_name"], each["turns"]) for each in day["models"]] == [("alpha", 2), ("beta", 2)]
    assert usage_of(ada, "?from=2020-01-01&to=2020-01-02")["total"]["turns"] == 0
    assert reservations.give_back_lapsed(ada.user_id)
    assert usage_of(ada) == before
    assert ada.delete(f"/sessions/{session['session_id']}/turns/{turn_id}").status == 204
    assert usage_of(ada) == before


@pytest.mark.usefixtures("provider")
def test_a_turn_that_died_goes_on_to_count_after_its_session_was_deleted(
    ada: Learner, class_of: Any, stack: Stack
) -> None:
    session = open_in(ada, class_of("alpha", "beta"))
    died(ada, session, "beta")
    before = usage_of(ada)
    assert ada.delete(f"/sessions/{session['session_id']}").status == 204
    body = json.dumps({"type": "session", "user_id": ada.user_id, "session_id": session["session_id"]})
    record = {"messageId": "1", "body": body, "eventSource": "aws:sqs", "attributes": {}}
    assert stack.invoker.invoke("sweep", {"Records": [record]}) == {"batchItemFailures": []}

    assert usage_of(ada) == before
    assert before["total"]["turns"] == 1


@pytest.mark.usefixtures("provider")
def test_a_turn_that_goes_on_after_its_reservation_was_given_back_reserves_anew(
    ada: Learner, class_of: Any, work: Callable[[int], None]
) -> None:
    class_id = class_of("alpha", "beta", daily_turns=2)
    session = open_in(ada, class_id)
    turn_id = died(ada, session, "beta")
    assert reservations.give_back_lapsed(ada.user_id)
    assert not reservations.give_back_lapsed(ada.user_id)
    assert usage_of(ada)["total"]["turns"] == 1

    work(turn_id)

    shown = ada.get(f"/sessions/{session['session_id']}/turns/{turn_id}").json
    assert (shown["status"], len(shown["results"])) == ("done", 2)
    total = usage_of(ada)["total"]
    assert (total["turns"], total["answers"], total["prompt_tokens"]) == (1, 2, 70 + 3)
    assert [chat(ada, session).status for _ in range(2)] == [201, 429]


@pytest.mark.usefixtures("provider")
def test_a_turn_that_goes_on_without_a_budget_ends_as_daily_budget_spent(
    ada: Learner,
    class_of: Any,
    items_of: Callable[[Learner], dict[Any, Any]],
    work: Callable[[int], None],
) -> None:
    session = open_in(ada, class_of("alpha", daily_turns=1))
    turn_id = died(ada, session)
    made(chat(ada, session), 201)

    work(turn_id)

    shown = ada.get(f"/sessions/{session['session_id']}/turns/{turn_id}").json
    assert (shown["status"], [each["code"] for each in shown["errors"]]) == ("failed", ["daily_budget_spent"])
    assert reserved(items_of(ada)) == []


@pytest.mark.usefixtures("provider")
def test_a_resumed_attempt_keeps_its_own_reservation(
    ada: Learner, class_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first attempt died after it had opened the session."""
    class_id = class_of("alpha", daily_turns=1)
    body, key = {"prompt_text": "Why?"}, {"idempotency-key": "run"}
    path = f"/sessions/run?class_id={class_id}"
    with monkeypatch.context() as patched:
        patched.setattr(turns, "begin_turn", _dies)
        assert ada.post(path, body, headers=key).status == 500
    assert ada.post(path, body).status == 429
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 40)  # the claim of the key has lapsed

    answer = ada.post(path, body, headers=key)

    assert answer.status == 201
    assert ada.get("/sessions").json["total"] == 1
    assert usage_of(ada)["total"]["turns"] == 1


def _dies(*_: Any, **__: Any) -> Any:
    raise ZeroDivisionError


@pytest.mark.usefixtures("provider")
def test_a_session_that_was_opened_for_a_turn_that_never_began_gives_back(
    ada: Learner, class_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class_id = class_of("alpha", daily_turns=1)
    with monkeypatch.context() as patched:
        patched.setattr(turns, "begin_turn", _dies)
        assert ada.post(f"/sessions/run?class_id={class_id}", {"prompt_text": "Why?"}).status == 500
    session = open_in(ada, class_id)
    assert chat(ada, session).status == 429

    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 40)

    assert [chat(ada, session).status for _ in range(2)] == [201, 429]


# Days


class At(datetime):
    """A clock that stands at a moment."""

    moment = datetime(2026, 11, 28, 23, 59, 59, tzinfo=UTC)

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return cls.moment


def test_a_turn_belongs_to_the_day_on_which_it_began(
    ada: Learner, class_of: Any, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = open_in(ada, class_of("alpha", daily_turns=1))
    monkeypatch.setattr(practice_clock, "datetime", At)
    monkeypatch.setattr(At, "moment", datetime(2030, 1, 1, 23, 59, 59, tzinfo=UTC))

    def midnight_passes(_: dict[str, Any]) -> Played:
        At.moment = datetime(2030, 1, 2, tzinfo=UTC)
        return Played(completion("a"))

    provider.plays["alpha"] = midnight_passes
    turn = made(chat(ada, session), 201)
    provider.plays["alpha"] = replies("b")

    assert turn["results"][0]["created_at"] == "2030-01-01T23:59:59.000000Z"
    assert [chat(ada, session).status for _ in range(2)] == [201, 429]
    days = usage_of(ada, "?from=2030-01-01&to=2030-01-02")["days"]
    assert [(day["date"], day["models"][0]["turns"]) for day in days] == [
        ("2030-01-01", 1),
        ("2030-01-02", 1),
    ]


@pytest.mark.usefixtures("provider")
def test_a_clock_that_is_ahead_counts_on_the_day_that_it_gave_the_turn(
    ada: Learner, class_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session's moments never go back, so its next turns belong to that day too."""
    session = open_in(ada, class_of("alpha", daily_turns=2))
    with monkeypatch.context() as patched:
        patched.setattr(practice_clock, "datetime", At)
        patched.setattr(At, "moment", datetime.now(UTC) + timedelta(days=2))
        made(chat(ada, session), 201)
    tomorrow = (datetime.now(UTC) + timedelta(days=2)).date().isoformat()

    statuses = [chat(ada, session).status for _ in range(2)]

    assert statuses == [201, 429]
    [day] = usage_of(ada, f"?from={tomorrow}&to={tomorrow}")["days"]
    assert day["models"][0]["turns"] == 2


# The catalogue and the configuration


@pytest.mark.parametrize(
    "fields",
    [
        {"daily_turns": -1},
        {"daily_turns": 1.5},
        {"daily_turns": 2**53},
        {"daily_tokens": "many"},
        {"daily_usd": -0.01},
        {"daily_usd": "NaN"},
        {"daily_usd": "Infinity"},
        {"daily_usd": 0.12345678901234567890},
        {"daily_usd": "0.12345678901234567890"},
        {"daily_usd": 1e300},
        {"daily_usd": "five"},
        {"daily_usd": {}},
    ],
    ids=str,
)
def test_a_budget_that_is_none_sends_its_announcement_to_the_dead_letters(
    class_of: Any, announce: Callable[..., Any], fields: dict[str, Any]
) -> None:
    answer = announce(random.SystemRandom().randrange(1, 2**50), "alpha", **fields)

    assert answer["outcome"] == "dead_letter"
    assert next(iter(fields)) in answer["reason"]


@pytest.mark.parametrize(
    "prices",
    [
        {"prompt": "-1", "completion": "1"},
        {"prompt": "NaN", "completion": "1"},
        {"prompt": "1"},
        {"prompt": "Infinity", "completion": "1"},
        {"prompt": "0.1234567890123", "completion": "1"},
        {"prompt": "1", "completion": "1", "thinking": "1"},
    ],
    ids=str,
)
def test_prices_that_are_none_are_refused_in_one_line(prices: dict[str, str]) -> None:
    models = {"alpha": {"provider": "echo", "prices": prices}}

    with pytest.raises(ValueError, match=r"^alpha: prices[.a-z]*: [^\n]+$"):
        configuration.checked(json.dumps(models))


@pytest.mark.parametrize(
    "budget",
    [
        "-1,0,0,1",
        "0,0,1.,1",
        "0,0,1e3,1",
        "0,0,0.1234567890123,1",
        "0,0,NaN,1",
        "0,0,0,0",
        "0,0,0",
        "0.5,0,0,1",
    ],
)
def test_a_budget_of_the_deployment_that_is_none_is_a_fault_of_its_configuration(
    deployed_with: Callable[[str], None], budget: str
) -> None:
    deployed_with(budget)

    with pytest.raises(ConfigurationError, match="DAILY_BUDGET is not"):
        usage.budgets_for(None)


def test_a_deployment_has_no_budget_of_its_own_until_it_sets_one(
    deployed_with: Callable[[str], None],
) -> None:
    assert usage.budgets_for(None) == []
    deployed_with("0,0,0.000001,4096")
    assert [budget.limits for budget in usage.budgets_for(None)] == [(None, None, 10**12)]
    deployed_with("7,9000,12,4096")
    assert [budget.limits for budget in usage.budgets_for(None)] == [(7, 9000, 12 * 10**18)]


# Titles


def test_a_title_counts_and_takes_the_first_words_when_no_budget_holds_it(
    ada: Learner, stack: Stack, class_of: Any, provider: FakeProvider, announce: Callable[..., Any]
) -> None:
    provider.plays["scribe"] = lambda _: Played(completion("A title", prompt_tokens=20, completion_tokens=5))
    class_id = class_of("alpha")
    sessions = [ada.open_session(class_id=class_id) for _ in range(2)]
    for session in sessions:
        ada.add_response(session, prompt_text="First words of a prompt")

    def write_title(session: dict[str, Any]) -> str:
        body = json.dumps({"user_id": ada.user_id, "session_id": session["session_id"]})
        record = {"messageId": "1", "body": body, "eventSource": "aws:sqs", "attributes": {}}
        assert stack.invoker.invoke("write_titles", {"Records": [record]}) == {"batchItemFailures": []}
        return str(ada.get(f"/sessions/{session['session_id']}").json["title"])

    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TITLE_MODEL", "scribe")
        config.cache_clear()
        assert write_title(sessions[0]) == "A title"
        announce(class_id, "alpha", daily_tokens=30)
        assert write_title(sessions[1]) == "First words of a prompt"
    config.cache_clear()

    assert provider.asked() == {"scribe": 1}
    [day] = usage_of(ada)["days"]
    [model] = day["models"]
    assert model == {
        "model_name": "scribe",
        "turns": 0,
        "answers": 0,
        "prompt_tokens": 20,
        "completion_tokens": 5,
        "cost_usd": "0.000006",
    }


# Exported and erased


@pytest.mark.usefixtures("provider")
def test_usage_is_exported_and_never_imported(ada: Learner, ben: Learner, class_of: Any) -> None:
    session = open_in(ada, class_of("alpha"))
    made(chat(ada, session), 201)
    died(ada, session, "alpha")

    exported = ada.get("/export").body
    made(ben.post("/import", raw=exported, headers={"content-type": "application/x-ndjson"}), 201)

    lines = [json.loads(line) for line in exported.splitlines()]
    [used] = [line for line in lines if line["type"] == "usage"]
    assert [used] == [{"type": "usage", **day} for day in usage_of(ada)["days"]]
    assert used["models"][0]["answers"] == 2
    assert usage_of(ben)["days"] == []
    assert ben.get("/sessions").json["total"] == 1


@pytest.mark.usefixtures("provider")
def test_an_erasure_takes_usage_along_and_keeps_its_totals(
    ada: Learner, class_of: Any, stack: Stack, items_of: Callable[[Learner], dict[Any, Any]]
) -> None:
    session = open_in(ada, class_of("alpha", daily_turns=5))
    for _ in range(3):
        made(chat(ada, session), 201)
    assert chat(ada, session, headers=ASYNC).status == 202
    died(ada, session, "alpha")
    moment = (datetime.now(UTC) + timedelta(seconds=60)).isoformat()
    detail = {"version": 1, "user_id": ada.user_id, "updated_at": moment}

    stack.invoker.invoke("erase_user", {"detail-type": "UserErased", "detail": detail})
    body = json.dumps({"user_id": ada.user_id})
    record = {"messageId": "1", "body": body, "eventSource": "aws:sqs", "attributes": {}}
    stack.invoker.invoke("erase_items", {"Records": [record]})

    [receipt] = items_of(ada).values()
    kept = {
        name: int(receipt[f"erased_{name}"]["N"]) for name in ("turns", "answers", "prompt", "completion")
    }
    assert kept == {"turns": 4, "answers": 4, "prompt": 9 + 70, "completion": 12 + 80}
    assert int(receipt["erased_cost"]["N"]) == 3 * (3 * 15 + 4 * 60) * 10**10 + 10**12
