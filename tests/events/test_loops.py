"""Lambda does not stop a function that sends to its own queue (RecursiveLoop: Allow): each such loop ends by itself."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from practice.events import transfers
from practice.runtime import queues
from practice.runtime.deadline import Deadline
from practice.transfers import import_jobs, jobs
from tests.support import deliveries
from tests.support.deliveries import Deliveries
from tests.support.learners import Learner, made

Json = dict[str, Any]
ItemsOf = Callable[[Learner], dict[tuple[str, str], Any]]


@pytest.fixture
def delivered(stack: Any) -> Deliveries:
    return deliveries.of(stack)


@pytest.fixture
def no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every invocation does one step, the least it can."""
    monkeypatch.setattr(Deadline, "remaining", lambda _: 0.0)


@pytest.fixture
def continued(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The messages that a function sends to its own queue."""
    sent: list[str] = []
    send = queues.send

    def note(url: str, bodies: list[str]) -> Any:
        sent.extend(bodies)
        return send(url, bodies)

    monkeypatch.setattr(queues, "send", note)
    return sent


@pytest.mark.usefixtures("no_time")
def test_a_sweep_sends_for_its_rest_no_more_often_than_it_has_items(
    ada: Learner, delivered: Deliveries, items_of: ItemsOf, continued: list[str]
) -> None:
    session = ada.open_session()
    for _ in range(5):
        ada.add_response(session)
    items = len(items_of(ada))
    assert ada.delete(f"/sessions/{session['session_id']}").status == 204
    continued.clear()

    delivered.run()

    assert not [sk for _, sk in items_of(ada) if sk.startswith("SESSION#")]
    assert 1 <= len(continued) <= items


@pytest.mark.usefixtures("no_time")
def test_an_erasure_sends_for_its_rest_no_more_often_than_it_has_items(
    ada: Learner,
    delivered: Deliveries,
    items_of: ItemsOf,
    continued: list[str],
    hand_in: Callable[[str, Json], Any],
) -> None:
    session = ada.open_session()
    for _ in range(5):
        ada.add_response(session)
    items = len(items_of(ada))
    hand_in("UserErased", {"user_id": ada.user_id})
    continued.clear()

    delivered.run()

    assert [sk for _, sk in items_of(ada)] == ["ACCOUNT"]
    assert 1 <= len(continued) <= items


def test_an_import_whose_file_never_comes_is_looked_for_until_the_job_expires(
    ada: Learner, stack: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(queues, "send_later", lambda url, body, delay: asked.append(delay))
    job = made(ada.post("/import"), 202)
    begun, looks = datetime.now(UTC), 0
    asked[:] = [0]

    while asked:
        begun += timedelta(seconds=asked.pop())
        looks += 1
        for module in (import_jobs, jobs):
            monkeypatch.setattr(module, "datetime", clock_at(begun))
        transfers.run_job(ada.user_id, job["import_id"], Deadline.after(10))

    assert 100 < looks < 1000
    assert begun > datetime.fromisoformat(job["expires_at"])


def clock_at(moment: datetime) -> type[datetime]:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> "Clock":
            return cls.fromtimestamp(moment.timestamp(), tz)

    return Clock
