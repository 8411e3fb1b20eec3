"""One stack for the whole suite, and new learners for every test."""

import json
import os
import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from local.consumers import QueueConsumer
from local.engine import create_table
from local.stack import Stack
from practice.store import accounts
from practice.table import ids
from practice.turns import configuration
from tests.support import deliveries
from tests.support.browser import Browser, Chromium, find_browser
from tests.support.hooks import hooked
from tests.support.learners import (
    BASE_URL,
    Learner,
    Returning,
    Send,
    in_process,
    learner,
    new_user_id,
    over_http,
)
from tests.support.providers import FakeProvider
from tests.support.recording import Recording
from tests.support.unreliable import Unreliable

RECORDING = pytest.StashKey[Recording]()
STACK = pytest.StashKey[Stack]()


def pytest_configure(config: pytest.Config) -> None:
    if not BASE_URL:
        config.stash[RECORDING] = Recording(config)
        config.pluginmanager.register(config.stash[RECORDING])


IN_THEIR_PROCESS = frozenset(
    {"monkeypatch", "unreliable", "recording", "requests_to_table", "overheard", "a_bad_day"}
)
"""Fixtures that replace or break parts of the functions, or show what they log and ask: those of this process alone."""
OF_PROGRAMS = ("tests/local/", "tests/docs/")
"""Tests of the local stack, and of clients and documents that are tried on one."""
LONGEST = ("test_fuzz.py", "test_guide.py")
"""They take minutes and begin first: at the end one process would run them while the others have nothing left."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With BASE_URL, deselect what says nothing about the stack there. What else a test may need there it skips for."""
    items.sort(key=lambda item: item.path.name not in LONGEST)
    if BASE_URL:
        others = [item for item in items if not speaks_of_the_deployed_stack(item)]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if speaks_of_the_deployed_stack(item)]


def speaks_of_the_deployed_stack(item: pytest.Item) -> bool:
    if item.get_closest_marker("e2e"):
        return True
    fixtures = set(getattr(item, "fixturenames", ()))
    if "stack" in fixtures and (fixtures & IN_THEIR_PROCESS or item.nodeid.startswith(OF_PROGRAMS)):
        return False
    return "send" in fixtures


pytest_plugins = ["tests.support.failures", "tests.support.torture"]


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """The local stack in memory. Tests that look behind the front door need it, and are skipped with BASE_URL."""
    if BASE_URL:
        pytest.skip("looks behind the front door of the local stack, and BASE_URL points at another one")
    with Stack() as running:
        request.config.stash[RECORDING].shows_all &= "streams" in running.capabilities
        deliveries.cease(running)
        request.config.stash[STACK] = running
        yield running
        del request.config.stash[STACK]


@pytest.fixture(scope="module", autouse=True)
def _empty_table(request: pytest.FixtureRequest) -> None:
    """For each file: the engine counts all records of its streams at every write, and a restore copies the table."""
    running = request.config.stash.get(STACK, None)
    if running and running.engine.name == "dynoxide":
        running.engine.empty()
        create_table(running.engine.client(), running.template.table)
        deliveries.forget(running)
        ids.clear_lease()
        accounts.clear_cache()


@pytest.fixture(autouse=True)
def _quiet_stack(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a test leaves in the stream or in a queue reaches no other test."""
    yield
    if running := request.config.stash.get(STACK, None):
        deliveries.cease(running)
        running.live.hang_up()
        for queue in running.template.queues:
            running.queues.purge(queue)


@pytest.fixture(scope="session")
def recording(request: pytest.FixtureRequest) -> Recording:
    """Of the requests to AWS that functions make here."""
    return request.config.stash[RECORDING]


@pytest.fixture(scope="session")
def send(request: pytest.FixtureRequest) -> Send:
    return over_http(BASE_URL) if BASE_URL else in_process(request.getfixturevalue("stack"))


@pytest.fixture(scope="session")
def signing_secret(request: pytest.FixtureRequest) -> str:
    """Of tokens; empty where only tokens are given."""
    if secret := os.environ.get("TOKEN_SECRET"):
        return secret
    return "" if BASE_URL else str(request.getfixturevalue("stack").token_secret)


@pytest.fixture(scope="session")
def another_learner(send: Send, signing_secret: str) -> Iterator[Callable[[], Learner]]:
    """Makes a learner whom no other test knows. Where only tokens are given it is theirs in turn, emptied each time."""
    named = [os.environ[name] for name in ("TOKEN", "ANOTHER_TOKEN") if os.environ.get(name)]
    given = deque(Returning(send, token) for token in named)

    def make() -> Learner:
        if signing_secret:
            return learner(send, signing_secret, new_user_id())
        if not given:
            pytest.skip("needs TOKEN_SECRET, or TOKEN and ANOTHER_TOKEN")
        given.rotate(-1)
        return given[-1].anew()

    yield make
    for returning in given:
        returning.leave()


@pytest.fixture(scope="session")
def lasting_learner(send: Send, signing_secret: str) -> Callable[[], Learner]:
    """Makes a learner for several tests, whose account is as it was left."""

    def make() -> Learner:
        if not signing_secret:
            pytest.skip("needs TOKEN_SECRET")
        return learner(send, signing_secret, new_user_id())

    return make


@pytest.fixture
def ada(another_learner: Callable[[], Learner]) -> Learner:
    return another_learner()


@pytest.fixture
def ben(ada: Learner, another_learner: Callable[[], Learner]) -> Learner:
    """Another learner."""
    other = another_learner()
    if other.token == ada.token:
        pytest.skip("needs a second learner, as ANOTHER_TOKEN")
    return other


Requests = list[tuple[str, float]]


@pytest.fixture
def requests_to_table(stack: Stack) -> Callable[[], Any]:
    """`with requests_to_table() as requests:` collects each request's operation and the capacity it consumed."""

    @contextmanager
    def collect() -> Iterator[Requests]:
        requests: Requests = []

        def note(parsed: dict[str, Any], model: Any, **_: Any) -> None:
            consumed = parsed.get("ConsumedCapacity") or []
            each = [consumed] if isinstance(consumed, dict) else consumed
            requests.append((model.name, sum(float(units["CapacityUnits"]) for units in each)))

        with hooked("after-call.dynamodb", note):
            yield requests

    return collect


@pytest.fixture(scope="session")
def items_of(stack: Stack) -> Callable[[Learner], dict[tuple[str, str], Any]]:
    """Every item of a learner in the table."""
    client = stack.engine.client()

    def read(who: Learner) -> dict[tuple[str, str], Any]:
        pages = [
            page
            for pk in (f"USER#{who.user_id}#ACCOUNT", f"USER#{who.user_id}")
            for page in client.get_paginator("query").paginate(
                TableName=stack.template.environment["TABLE_NAME"],
                KeyConditionExpression="pk = :pk",
                ExpressionAttributeValues={":pk": {"S": pk}},
                ConsistentRead=True,
            )
        ]
        return {(item["pk"]["S"], item["sk"]["S"]): item for page in pages for item in page["Items"]}

    return read


@pytest.fixture(scope="session")
def contents_of(request: pytest.FixtureRequest) -> Callable[[Learner], dict[Any, Any]]:
    """All that a learner has, to be compared with itself: their items, or with BASE_URL their export."""
    if not BASE_URL:
        items: Callable[[Learner], dict[Any, Any]] = request.getfixturevalue("items_of")
        return items

    def exported(who: Learner) -> dict[Any, Any]:
        answer = who.get("/export")
        if answer.status == 202:
            pytest.skip("compares accounts that are too large to be exported in an answer")
        assert answer.status == 200, answer.body[:500]
        _, *lines = answer.body.splitlines()
        return dict(enumerate(map(json.loads, lines)))

    return exported


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    """For all tests of a process: it takes a second and more to start."""
    program = find_browser()
    if program is None:
        pytest.skip("needs Chromium")
    made = Chromium(program)
    yield made
    made.close()


@pytest.fixture
def browser(chromium: Chromium) -> Iterator[Browser]:
    with chromium.page() as page:
        yield page


@pytest.fixture
def unreliable(stack: Stack) -> Iterator[Unreliable]:
    made = Unreliable(stack)
    made.server.start()
    yield made
    made.server.close()


@pytest.fixture
def hand_in(send: Send, signing_secret: str) -> Callable[[str, dict[str, Any]], Any]:
    """Delivers an event of the catalogue to its function, as the bus would; only the local stack takes events."""

    def deliver(kind: str, detail: dict[str, Any]) -> Any:
        if kind in ("TokensRevoked", "UserErased") and not signing_secret:
            pytest.skip("would take a given token from all later tests: needs TOKEN_SECRET")
        now = {"version": 1, "updated_at": datetime.now(UTC).isoformat()}
        event = {"source": "practice.catalogue", "detail-type": kind, "detail": now | detail}
        handed = send("POST", "/_local/events", {"host": "localhost"}, json.dumps(event).encode())
        if handed.status == 404:
            pytest.skip("announces to the local stack, and BASE_URL points at another one")
        assert handed.status == 200, handed.body
        [outcome] = handed.json["outcomes"]
        return outcome["answer"]

    return deliver


@pytest.fixture
def announce(hand_in: Callable[[str, dict[str, Any]], Any]) -> Callable[..., Any]:
    """Announces a class."""

    def deliver(
        class_id: int, *allowed: str, status: str = "active", primary: str | None = None, **fields: Any
    ) -> Any:
        named = {"class_id": class_id, "primary_model": primary, "allowed_models": list(allowed)}
        return hand_in("ClassUpdated", {**named, "status": status, **fields})

    return deliver


@pytest.fixture
def class_of(announce: Callable[..., Any]) -> Callable[..., int]:
    """Announces a new class with these models and returns its id."""

    def make(*models: str, **fields: Any) -> int:
        class_id = random.SystemRandom().randrange(1, 2**50)
        announce(class_id, *models, **fields)
        return class_id

    return make


@pytest.fixture
def announce_agent(hand_in: Callable[[str, dict[str, Any]], Any]) -> Callable[..., int]:
    """Announces an agent, a new one without `agent_id`, and returns its id."""

    def deliver(owner: int, **fields: Any) -> int:
        agent = {
            "agent_id": new_user_id(),
            "user_id": owner,
            "is_active": True,
            "shared_class_ids": [],
            "name": "Socrates",
            "system_prompt": "Answer with a question.",
            "generation_params": {"temperature": 0.2, "top_k": 40},
            **fields,
        }
        hand_in("AgentUpdated", agent)
        return int(agent["agent_id"])

    return deliver


@pytest.fixture
def provider(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeProvider]:
    """Serves every model, for one test."""
    with FakeProvider() as fake:
        monkeypatch.setenv("MODELS", json.dumps({"*": {"provider": "openai", "base_url": f"{fake.url}/v1"}}))
        configuration.clear_cache()
        yield fake
    monkeypatch.undo()
    configuration.clear_cache()


@pytest.fixture
def deliver_turns(stack: Stack) -> Callable[[], None]:
    """Brings what waits in the queue of turns to its worker."""
    [trigger] = [each for each in stack.template.queue_triggers if each.function == "work_turn"]
    consumer = QueueConsumer(stack.triggers, trigger)

    def deliver() -> None:
        while consumer.step():
            pass

    return deliver


@pytest.fixture
def under_load(request: pytest.FixtureRequest) -> None:
    """For fifty requests at once, or fifty items in a transaction: moto copies its whole table for each."""
    if not BASE_URL:
        request.getfixturevalue("needs")("load")


@pytest.fixture
def needs(stack: Stack) -> Callable[[str], None]:
    def check(capability: str) -> None:
        if capability not in stack.capabilities:
            pytest.skip(f"{stack.engine.name} has no {capability}")

    return check
