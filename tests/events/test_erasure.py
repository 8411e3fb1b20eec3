"""An erasure beside everything else: whatever is under way when it comes, nothing of the user is left after it."""

import json
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context
from datetime import UTC, datetime
from typing import Any

import pytest

from local.stack import Stack
from practice import table
from practice.runtime import queues
from practice.store import accounts, erasures
from practice.table import keys
from practice.transfers import export_jobs, files, import_jobs
from tests.api.test_users import with_new_token
from tests.platform.test_faults import BEFORE, EXPORT, OPERATIONS, PLAIN, READ, World
from tests.support import torture
from tests.support.hooks import hooked
from tests.support.learners import Learner
from tests.support.recount import miscounts

HandIn = Callable[[str, dict[str, Any]], Any]
ItemsOf = Callable[[Learner], dict[tuple[str, str], Any]]
JUDGING = ("put_rating", "put_vote", "put_vote again")
"""PUTs, which may create an item."""
WRITES = [name for name, (_, expected) in OPERATIONS.items() if expected is not READ or name in JUDGING]
KEYED = {
    "create_session",
    "create_example",
    "add_model",
    "add_response",
    "chat",
    "run_session",
    "create_import",
}


def record(**body: Any) -> dict[str, Any]:
    sent = {"SentTimestamp": str(int(time.time() * 1000))}
    return {
        "Records": [
            {"messageId": "1", "body": json.dumps(body), "eventSource": "aws:sqs", "attributes": sent}
        ]
    }


def erased(stack: Stack, who: Learner, moment: float | None = None) -> None:
    """The event and all of its work."""
    at = datetime.fromtimestamp(moment or time.time() + 60, UTC).isoformat()
    detail = {"version": 1, "user_id": who.user_id, "updated_at": at}
    stack.invoker.invoke("erase_user", {"detail-type": "UserErased", "detail": detail})
    stack.invoker.invoke("erase_items", record(user_id=who.user_id))


@contextmanager
def before_request(number: int, happens: Callable[[], None]) -> Iterator[list[int]]:
    """Something happens just before a request to the table or for a file; the list holds how many there were."""
    seen = [0]

    def before_send(**_: Any) -> None:
        seen[0] += 1
        if seen[0] == number:
            Context().run(happens)

    with hooked("before-send", before_send, table.dynamodb(), files.client()):
        yield seen


def left_of(who: Learner, items_of: ItemsOf) -> list[str]:
    return sorted(sk for _, sk in items_of(who))


def files_of(who: Learner) -> list[str]:
    listed = files.client().list_objects_v2(Bucket=files._bucket(), Prefix=f"{who.user_id}/")
    return [each["Key"] for each in listed.get("Contents", [])]


FEW = 3
"""Requests of a write that is interleaved at all of them in a short run, too."""


class Interleavings:
    """A write with an erasure before each of its requests, in a world of its own each time; in a short run before some."""

    def __init__(self, stack: Stack, *, all_of_them: bool) -> None:
        self.stack = stack
        self.all_of_them = all_of_them

    def __call__(
        self, write: Callable[[World], Any], make: Callable[[], World], of: Callable[[World], Learner]
    ) -> Iterator[tuple[int, Learner, Any]]:
        world = make()
        of(world).get("/sessions")
        with before_request(0, lambda: None) as seen:
            write(world)
        requests = seen[0]
        step = 1 if self.all_of_them or requests <= FEW else 5
        for number in range(1 + zlib.crc32(str(torture.SEED).encode()) % step, requests + 1, step):
            world = make()
            who = of(world)
            who.get("/sessions")  # this process remembers that the token is good
            with before_request(number, lambda who=who: erased(self.stack, who)) as seen:  # type: ignore[misc]
                answer = write(world)
            if seen[0] >= number:  # now and then ids are leased, with one request more
                torture.count("erasures")
                yield number, who, answer


@pytest.fixture
def interleavings(stack: Stack, request: pytest.FixtureRequest) -> Interleavings:
    return Interleavings(stack, all_of_them=bool(request.config.getoption("--torture")))


@pytest.fixture
def world(another_learner: Callable[[], Learner], monkeypatch: pytest.MonkeyPatch) -> Callable[[], World]:
    monkeypatch.setattr(accounts, "REMEMBERED_SECONDS", 600.0)
    return lambda: World(another_learner(), another_learner())


@pytest.mark.trust
@pytest.mark.parametrize(
    ("name", "keyed"),
    [(name, keyed) for name in WRITES for keyed in (False, True) if name in KEYED or not keyed],
)
def test_an_erasure_at_any_moment_of_a_write_leaves_nothing(
    name: str,
    keyed: bool,
    world: Callable[[], World],
    interleavings: Interleavings,
    items_of: ItemsOf,
    stack: Stack,
) -> None:
    operation, _ = OPERATIONS[name]
    is_import = name == "create_import"
    classes: list[int] = []

    def make() -> World:
        made = world()
        if BEFORE.get(name) in (World.answer, World.judge):
            BEFORE[name](made)
            classes[:] = [made.class_id]
        if keyed:
            for who in (made.learner, made.other):
                who.headers["idempotency-key"] = "a key"
        return made

    def write(w: World) -> Any:
        try:
            return operation(w)
        except KeyError as error:  # a place of a job, which was refused
            return error

    for number, who, answer in interleavings(write, make, lambda w: w.other if is_import else w.learner):
        assert getattr(answer, "status", 401) != 500, (number, answer)
        assert left_of(who, items_of) == ["ACCOUNT"], (number, answer)
        assert miscounts(stack, classes.pop() if classes else 0, []) == [], (number, answer)
        account = items_of(who)[keys.account(who.user_id)]
        assert not {"sessions", "examples", "importing", "erasing"} & account.keys(), number
        assert files_of(who) == []


WORK: dict[str, Callable[[World], tuple[str, dict[str, Any]]]] = {
    "a queued turn": lambda w: ("work_turn", record(user_id=w.learner.user_id, turn_id=w.turn)),
    "a message": lambda w: (
        "ingest_responses",
        record(
            user_id=w.learner.user_id,
            session_model_id=w.models[0],
            prompt_text="p",
            response_text="r" * 900_000,
            token_usage=None,
            latency_ms=None,
        ),
    ),
    "a title": lambda w: ("write_titles", record(user_id=w.learner.user_id, session_id=w.session)),
}


@pytest.mark.trust
@pytest.mark.parametrize("name", WORK)
def test_an_erasure_at_any_moment_of_a_workers_work_leaves_nothing(
    name: str, world: Callable[[], World], stack: Stack, interleavings: Interleavings, items_of: ItemsOf
) -> None:
    def work(w: World) -> Any:
        return stack.invoker.invoke(*WORK[name](w))

    for number, who, _ in interleavings(work, world, lambda w: w.learner):
        assert left_of(who, items_of) == ["ACCOUNT"], number


@pytest.mark.trust
@pytest.mark.parametrize("kind", ["export", "import"])
def test_an_erasure_at_any_moment_of_a_job_leaves_nothing(
    kind: str,
    world: Callable[[], World],
    stack: Stack,
    interleavings: Interleavings,
    items_of: ItemsOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(import_jobs, "LINES_AT_ONCE", 0)
    monkeypatch.setattr(export_jobs, "AT_ONCE_SECONDS", 0.0)
    began: dict[int, int] = {}
    file = (
        EXPORT
        + b'\n{"type":"example","example_id":5,"input_text":"a","output_text":"b",'
        + (b'"created_at":"2026-01-07T05:31:56.120501Z","updated_at":"2026-01-07T05:31:56.120501Z"}')
    )

    def make() -> World:
        made = world()
        who = made.learner if kind == "export" else made.other
        begun = who.get("/export") if kind == "export" else who.post("/import", raw=file, headers=PLAIN)
        began[who.user_id] = begun.json[f"{kind}_id"]
        return made

    def work(w: World) -> Any:
        who = w.learner if kind == "export" else w.other
        event = record(user_id=who.user_id, transfer_id=began[who.user_id])
        answer = stack.invoker.invoke("work_transfer", event)
        stack.invoker.invoke("work_transfer", event)  # which is delivered again when the first one failed
        return answer

    for number, who, _ in interleavings(work, make, lambda w: w.learner if kind == "export" else w.other):
        assert left_of(who, items_of) == ["ACCOUNT"], number
        assert files_of(who) == [], number


@pytest.fixture(autouse=True)
def a_minute_passes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process remembers of an account lapses at once."""
    if "world" not in request.fixturenames:
        monkeypatch.setattr(accounts, "REMEMBERED_SECONDS", 0.0)


def test_an_import_with_a_remembered_token_writes_nothing_after_an_erasure(
    ada: Learner, ben: Learner, stack: Stack, items_of: ItemsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada.add_example()
    file = ada.get("/export").body
    monkeypatch.setattr(accounts, "REMEMBERED_SECONDS", 600.0)
    ben.get("/sessions")
    erased(stack, ben)

    for raw in (file, b""):
        assert ben.post("/import", raw=raw, headers=PLAIN).status == 401
    assert ben.post("/import", raw=file, headers=PLAIN | {"idempotency-key": "k"}).status == 401
    assert left_of(ben, items_of) == ["ACCOUNT"]


def test_a_delete_while_an_erasure_runs_leaves_no_negative_total(
    ada: Learner, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "REMEMBERED_SECONDS", 600.0)
    example, session = ada.add_example(), ada.open_session()
    moment = time.time() - 1
    erasures.begin(ada.user_id, moment)
    assert ada.delete(f"/few-shot-examples/{example['example_id']}").status == 204
    assert ada.delete(f"/sessions/{session['session_id']}").status == 204
    assert ada.get("/sessions").json["total"] == 0

    stack.invoker.invoke("erase_items", record(user_id=ada.user_id))
    accounts.clear_cache()

    back = with_new_token(ada, stack, time.time())
    assert back.get("/sessions").json["total"] == 0
    back.open_session()
    back.add_example()
    assert back.get("/sessions").json["total"] == 1
    assert back.get("/few-shot-examples").json["total"] == 1


@pytest.mark.parametrize("by", ["time", "name"])
def test_a_late_erasure_forgets_only_older_revocations(
    ada: Learner, stack: Stack, hand_in: HandIn, items_of: ItemsOf, by: str
) -> None:
    now = int(time.time())

    def at(seconds: int) -> str:
        return datetime.fromtimestamp(now + seconds, UTC).isoformat()

    hand_in("TokensRevoked", {"user_id": ada.user_id, "token_id": "older", "updated_at": at(-50)})
    newer = {"issued_before": at(5)} if by == "time" else {"token_id": "newer"}
    hand_in("TokensRevoked", {"user_id": ada.user_id, "updated_at": at(-5), **newer})
    for _ in range(2):  # late, and redriven
        hand_in("UserErased", {"user_id": ada.user_id, "updated_at": at(-30)})
        stack.invoker.invoke("erase_items", record(user_id=ada.user_id))

    rules = accounts._token_rules(ada.user_id)
    assert "older" not in rules.refused_tokens
    if by == "time":
        assert ada.get("/sessions").status == 401
    else:
        assert rules.refused_tokens == {"newer"}
        assert ada.get("/sessions").status == 200


def test_a_token_of_the_very_moment_of_an_erasure_reads_and_creates(
    ada: Learner, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = int(time.time()) - 10
    before, then = (with_new_token(ada, stack, moment - seconds) for seconds in (1, 0))
    erased(stack, ada, moment)

    assert [before.get("/sessions").status, then.get("/sessions").status] == [401, 200]
    assert then.post("/sessions", {"class_id": 1}).status == 201
    assert then.post("/few-shot-examples", {"input_text": "a", "output_text": "b"}).status == 201
    assert then.post("/import").status == 202
    monkeypatch.setattr(accounts, "admit", lambda caller: None)
    assert before.post("/sessions", {"class_id": 1}).status == 401


def test_a_file_that_is_finished_during_an_erasure_goes_too(
    ada: Learner, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada.add_example()
    erase_all = erasures.erase

    def erase(user_id: int, *others: Any) -> Iterator[Any]:
        for piece in erase_all(user_id, *others):
            if piece is None:
                Context().run(files.write, f"{user_id}/77.ndjson", ["{}"])
            yield piece

    monkeypatch.setattr(erasures, "erase", erase)
    erased(stack, ada)

    assert files_of(ada) == []


def test_an_account_does_not_lie_in_the_partition_of_its_users_items(ada: Learner, items_of: ItemsOf) -> None:
    """Which holds 10 GB: one that is full takes no write that makes it larger."""
    ada.add_example()

    assert keys.account(ada.user_id).pk != keys.user(ada.user_id)
    assert keys.account(ada.user_id) in items_of(ada)
    assert keys.account_of_before(ada.user_id) not in items_of(ada)


def with_account_of_before(who: Learner, **attributes: Any) -> None:
    for name, value in attributes.items():
        table.write(table.update(keys.account_of_before(who.user_id), set_to={name: value}))


def test_an_account_of_before_refuses_its_tokens_and_is_moved_whole(
    ada: Learner, stack: Stack, items_of: ItemsOf
) -> None:
    ada.add_example()
    before, now = keys.account_of_before(ada.user_id), keys.account(ada.user_id)
    with_account_of_before(
        ada,
        sessions=table.number(3),
        examples=table.number(4),
        revoked_before={"N": repr(time.time() + 5)},
        revoked_tokens={"SS": ["a token"]},
    )
    assert ada.get("/sessions").status == 401

    assert accounts.move(ada.user_id)
    assert not accounts.move(ada.user_id)

    moved = items_of(ada)[now]
    assert before not in items_of(ada)
    assert (moved["sessions"], moved["examples"]) == ({"N": "3"}, {"N": "5"})
    assert accounts._token_rules(ada.user_id).refused_tokens == {"a token"}
    assert ada.get("/sessions").status == 401
    erased(stack, ada)
    assert left_of(ada, items_of) == ["ACCOUNT"]


def test_an_erasure_takes_an_account_of_before_with_it(ada: Learner, stack: Stack, items_of: ItemsOf) -> None:
    ada.add_example()
    with_account_of_before(ada, sessions=table.number(3))
    erased(stack, ada)

    assert list(items_of(ada)) == [keys.account(ada.user_id)]
    assert "sessions" not in items_of(ada)[keys.account(ada.user_id)]


@pytest.fixture(autouse=True)
def no_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Later messages are handed in by the tests themselves."""
    monkeypatch.setattr(queues, "send_later", lambda url, body, seconds: None)
