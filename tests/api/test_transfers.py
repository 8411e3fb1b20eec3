"""A learner takes everything out, and puts it back into an empty account."""

import json
import time
from collections.abc import Callable
from contextvars import Context
from datetime import timedelta
from http.client import HTTPConnection
from itertools import count
from typing import Any
from urllib.parse import urlsplit

import pytest

from local.functions import FunctionError
from local.stack import Stack
from practice import table
from practice.errors import StorageFull
from practice.schemas import transfer_line as lines
from practice.schemas.base import BaseModel
from practice.schemas.example import Example
from practice.schemas.rating import Rating
from practice.schemas.response import Response
from practice.schemas.session import OwnSession
from practice.schemas.session_model import StoredModel
from practice.schemas.settings import Link, StoredSettings
from practice.schemas.turn import AskedModel, StoredTurn, TurnError, TurnSettings
from practice.schemas.vote import JudgedAnswer, StoredVote
from practice.store import accounts
from practice.table import keys
from practice.transfers import checking, claims, export_jobs, files, import_jobs, imports, jobs
from tests.support.hooks import hooked
from tests.support.learners import Answer, Learner, made
from tests.support.processes import killed_at
from tests.support.providers import FakeProvider, Played

PLAIN = {"content-type": "application/x-ndjson"}
ItemsOf = Callable[[Learner], dict[tuple[str, str], Any]]


def work(who: Learner) -> None:
    """An account with something of everything."""
    shown, hidden = (
        who.add_example(title="Sums", meta={"level": 1.0, "x": None}),
        who.add_example(is_active=True),
    )
    for number in range(2):
        session = who.open_session(title=f"Lesson {number}", notes="Ü 𝄞", knowledge_ids=[3, 1])
        path = f"/sessions/{session['session_id']}"
        who.patch(
            f"{path}/settings",
            {
                "style_preset": "creative",
                "style_params": {"persona": "owl", "n": 0.5},
                "generation_params": {"temperature": 1, "stop": ["."]},
                "few_shot_example_ids": [hidden["example_id"], shown["example_id"]],
            },
        )
        models = who.models_of(session)
        who.delete(f"/models/{models[-1]['session_model_id']}")
        who.post(f"{path}/chat", {"prompt_text": "What is a fugue?"})
        for text in ("short", "long " * 150_000):
            who.add_response(session, response_text=text, token_usage={"total_tokens": 3})
    who.patch(f"/few-shot-examples/{hidden['example_id']}", {"is_active": False})
    gone = who.open_session()
    who.add_response(gone)
    who.delete(f"/sessions/{gone['session_id']}")


IDS = (
    "session_id",
    "setting_id",
    "example_id",
    "session_model_id",
    "response_id",
    "turn_id",
    "user_id",
    "id",
)


def everything(who: Learner) -> dict[str, Any]:
    """All that the learner can read, with ids by their rank, so that two accounts can be compared."""
    listed = who.get("/sessions?size=200").json["items"]
    seen = {
        "examples": who.get("/few-shot-examples?size=200").json,
        "sessions": [who.get(f"/sessions/{each['session_id']}").json for each in listed],
        "models": [who.models_of(each) for each in listed],
        "turns": [who.get(f"/sessions/{each['session_id']}/turns").json["items"] for each in listed],
    }
    ranks: dict[str, dict[int, int]] = {name: {} for name in IDS}
    collect(seen, ranks)
    renumbered: dict[str, Any] = json.loads(json.dumps(renumber(seen, ranks)))
    return renumbered


def collect(value: Any, ranks: dict[str, dict[int, int]]) -> None:
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in ranks and isinstance(inner, int):
                ranks[name].setdefault(inner, len(ranks[name]))
            collect(inner, ranks)
    elif isinstance(value, list):
        for inner in value:
            collect(inner, ranks)


def renumber(value: Any, ranks: dict[str, dict[int, int]]) -> Any:
    if isinstance(value, dict):
        return {
            name: ranks[name][inner]
            if name in ranks and isinstance(inner, int)
            else ranks["turn_id"].get(inner)
            if name == "after_turn_id"
            else [ranks["example_id"].get(each) for each in inner]
            if name == "few_shot_example_ids"
            else renumber(inner, ranks)
            for name, inner in value.items()
        }
    return [renumber(inner, ranks) for inner in value] if isinstance(value, list) else value


def test_an_export_restore_is_the_same_but_for_ids_and_owner(ada: Learner, ben: Learner) -> None:
    work(ada)

    exported = ada.get("/export")
    imported = ben.post("/import", raw=exported.body, headers=PLAIN)

    assert (exported.status, exported.headers["content-type"]) == (200, "application/x-ndjson")
    assert (imported.status, imported.json) == (
        201,
        {"examples": 2, "sessions": 2, "turns": 2, "responses": 6},
    )
    assert everything(ben) == everything(ada)


def test_what_was_restore_goes_on_as_usual(ada: Learner, ben: Learner) -> None:
    work(ada)
    ben.post("/import", raw=ada.get("/export").body, headers=PLAIN)
    session = ben.get("/sessions").json["items"][0]

    answered = ben.add_response(session)

    assert ben.get(f"/sessions/{session['session_id']}").json["responses"][-1] == answered
    assert ben.open_session()["session_id"] != session["session_id"]
    assert ben.get("/sessions").json["total"] == 3


def test_an_account_with_anything_in_it_is_not_touched(ada: Learner, ben: Learner) -> None:
    ada.add_example()
    ben.add_example()
    before = everything(ben)

    refused = ben.post("/import", raw=ada.get("/export").body, headers=PLAIN)

    assert (refused.status, refused.detail) == (409, "account_not_empty")
    assert everything(ben) == before


HEADER = '{"type":"practice-export","version":1,"exported_at":"2026-01-07T05:31:56.120501Z"}'
EXAMPLE = (
    '{"type":"example","example_id":5,"input_text":"a","output_text":"b",'
    '"created_at":"2026-01-07T05:31:56.120501Z","updated_at":"2026-01-07T05:31:56.120501Z"}'
)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("nothing", 1),
        (EXAMPLE, 1),
        (f"{HEADER}\n{HEADER}", 2),
        (f"{HEADER}\n{EXAMPLE}\n{EXAMPLE}", 3),
        (f"{HEADER}\n{EXAMPLE.replace('120501Z', 'Z')}", 2),
        (f"{HEADER}\n{EXAMPLE.replace('5', '-5', 1)}", 2),
        (f'{HEADER}\n{{"type":"secret"}}', 2),
        (f"{HEADER}\n[1]", 2),
        (f'{HEADER}\n{{"type":"response"}}', 2),
        (HEADER.replace("1,", "3,"), 1),
    ],
)
def test_a_file_that_is_no_export_is_refused_with_its_line(
    ada: Learner, contents_of: Callable[[Learner], Any], text: str, line: int
) -> None:
    before = contents_of(ada)

    refused = ada.post("/import", raw=text.encode(), headers=PLAIN)

    assert refused.status == 422
    assert refused.detail[0]["loc"][:2] == ["body", line]
    assert contents_of(ada) == before


def test_what_is_no_text_is_a_400(ada: Learner) -> None:
    assert ada.post("/import", raw=b"\xff\xfe", headers=PLAIN).status == 400


WRITING = "TransactWriteItems"
"""The first of an import begins its job, the second claims the account."""


@pytest.fixture
def minutes_pass(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the clock on."""
    passed = [0.0]
    real = time.time

    def move(minutes: float) -> None:
        passed[0] += minutes * 60
        monkeypatch.setattr(time, "time", lambda: real() + passed[0])

    return move


def test_an_import_that_dies_anywhere_locks_nobody_out_and_is_begun_anew(
    ada: Learner,
    another_learner: Callable[[], Learner],
    stack: Stack,
    minutes_pass: Callable[[float], None],
    items_of: ItemsOf,
) -> None:
    ada.add_example()
    session = ada.open_session()
    ada.add_response(session)
    file, whole = ada.get("/export").body, everything(ada)
    dead = 0
    for at in count(2):
        who = another_learner()
        with killed_at(at) as seen:
            answer = who.post("/import", raw=file, headers=PLAIN)
        if seen[0] < at:
            assert answer.status == 201
            break
        dead += 1
        minutes_pass(2)
        if at % 2:
            for transfer_id in transfers_of(who, items_of):
                deliver(stack, who, transfer_id)
            assert not any("imported" in item for item in items_of(who).values())
        again = who.post("/import", raw=file, headers=PLAIN)
        if again.status == 409:  # all was done but the answer
            assert again.detail == "account_not_empty"
        else:
            assert again.status == 201, (at, again.body)
        assert everything(who) == whole, at
        minutes_pass(-2)

    assert dead > 8


def transfers_of(who: Learner, items_of: ItemsOf) -> list[int]:
    return [int(sk.partition("#")[2]) for _, sk in items_of(who) if sk.startswith("TRANSFER#")]


def test_what_a_user_creates_after_a_dead_import_stays_and_what_was_imported_goes(
    ada: Learner,
    ben: Learner,
    stack: Stack,
    minutes_pass: Callable[[float], None],
    items_of: ItemsOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    work(ada)
    file = ada.get("/export").body
    monkeypatch.setattr(imports, "_CHUNK_WRITES", 2)
    with killed_at(7, WRITING):
        assert ben.post("/import", raw=file, headers=PLAIN).status == 500
    assert any("imported" in item for item in items_of(ben).values())
    assert ben.post("/sessions", {"class_id": 1}).detail == "import_in_progress"
    minutes_pass(2)

    own = ben.open_session(title="Mine")
    [job] = transfers_of(ben, items_of)
    deliver(stack, ben, job)

    assert [each["session_id"] for each in ben.get("/sessions").json["items"]] == [own["session_id"]]
    assert ben.get("/sessions").json["total"] == 1
    assert ben.get("/few-shot-examples").json == ben.get("/few-shot-examples").json | {
        "items": [],
        "total": 0,
    }
    assert not any("imported" in item for item in items_of(ben).values())
    shown = ben.get(f"/import/{job}").json
    assert (shown["status"], shown["problem"]) == ("failed", "interrupted")


def test_a_failing_import_removes_what_it_wrote_and_ends_with_its_reason(
    ada: Learner, ben: Learner, items_of: ItemsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    work(ada)
    file = ada.get("/export").body
    commit, done = claims.Claim.commit, count(1)

    def full(claim: claims.Claim, *writes: table.Write, **counted: int) -> None:
        if writes and "Item" in writes[0].params and next(done) == 3:
            raise StorageFull
        commit(claim, *writes, **counted)

    monkeypatch.setattr(claims.Claim, "commit", full)
    monkeypatch.setattr(imports, "_CHUNK_WRITES", 2)
    failed = ben.post("/import", raw=file, headers=PLAIN)

    assert (failed.status, failed.detail) == (507, "storage_full")
    left = {sk.partition("#")[0] for _, sk in items_of(ben)}
    assert left == {"ACCOUNT", "TRANSFER"}
    [job] = transfers_of(ben, items_of)
    shown = ben.get(f"/import/{job}").json
    assert (shown["status"], shown["problem"]) == ("failed", "storage_full")
    assert ben.post("/import", raw=file, headers=PLAIN).status == 201
    assert everything(ben) == everything(ada)


def test_a_large_dead_import_is_cleared_by_the_worker(
    ada: Learner,
    ben: Learner,
    stack: Stack,
    minutes_pass: Callable[[float], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number in range(30):
        ada.add_example(title=str(number))
    file = ada.get("/export").body
    monkeypatch.setattr(imports, "_CHUNK_WRITES", 10)
    monkeypatch.setattr(claims, "_DELETIONS", 5)
    monkeypatch.setattr(import_jobs, "CLEARED_AT_ONCE", 2)
    with killed_at(5, WRITING):
        assert ben.post("/import", raw=file, headers=PLAIN).status == 500
    minutes_pass(2)

    accepted = ben.post("/import", raw=file, headers=PLAIN)
    deliver(stack, ben, accepted.json["import_id"])

    assert accepted.status == 202
    assert ben.get(accepted.headers["location"]).json["status"] == "done"
    assert everything(ben) == everything(ada)


@pytest.fixture
def queued_import(ada: Learner, ben: Learner, monkeypatch: pytest.MonkeyPatch) -> Answer:
    """Of all that ada has into ben's account, for a worker."""
    work(ada)
    monkeypatch.setattr(import_jobs, "LINES_AT_ONCE", 1)
    return ben.post("/import", raw=ada.get("/export").body, headers=PLAIN)


def test_a_job_whose_worker_is_killed_waits_for_its_claim_and_is_begun_anew(
    ada: Learner,
    ben: Learner,
    stack: Stack,
    queued_import: Answer,
    minutes_pass: Callable[[float], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    accepted, job = queued_import, queued_import.json["import_id"]
    asked: list[int] = []
    monkeypatch.setattr(jobs, "ask", lambda user_id, transfer_id, delay=0: asked.append(delay))

    with killed_at(2, WRITING), pytest.raises(FunctionError, match="Killed"):
        deliver(stack, ben, job)
    deliver(stack, ben, job)  # at once, as a queue that was restarted does

    assert ben.get(accepted.headers["location"]).json["status"] == "running"
    assert asked == [pytest.approx(60, abs=5)]
    minutes_pass(2)
    ben.delete(f"/sessions/{ben.open_session()['session_id']}")  # no user is locked out
    deliver(stack, ben, job)
    assert ben.get(accepted.headers["location"]).json["status"] == "done"
    assert everything(ben) == everything(ada)


def test_a_job_that_is_begun_anew_counts_from_the_beginning(
    ben: Learner,
    stack: Stack,
    queued_import: Answer,
    minutes_pass: Callable[[float], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the dead worker had counted is deleted first, which can take minutes."""
    accepted, job = queued_import, queued_import.json["import_id"]
    monkeypatch.setattr(import_jobs, "PROGRESS_SECONDS", 0.0)
    monkeypatch.setattr(imports, "_CHUNK_WRITES", 2)
    with killed_at(9, WRITING), pytest.raises(FunctionError, match="Killed"):
        deliver(stack, ben, job)
    assert ben.get(accepted.headers["location"]).json["counts"]["examples"] > 0
    minutes_pass(2)
    shown: list[Any] = []
    clear = claims.clear

    def cleared(*arguments: Any) -> bool:
        shown.append(ben.get(accepted.headers["location"]).json["counts"])
        return clear(*arguments)

    monkeypatch.setattr(claims, "clear", cleared)
    deliver(stack, ben, job)

    assert shown == [None]
    assert ben.get(accepted.headers["location"]).json["counts"]["examples"] > 0


def test_a_job_that_kills_its_worker_again_and_again_ends_as_failed(
    ben: Learner,
    stack: Stack,
    queued_import: Answer,
    items_of: ItemsOf,
    minutes_pass: Callable[[float], None],
) -> None:
    accepted, job = queued_import, queued_import.json["import_id"]

    for _ in range(jobs.ATTEMPTS):
        with killed_at(2, WRITING), pytest.raises(FunctionError, match="Killed"):
            deliver(stack, ben, job)
        minutes_pass(2)
    deliver(stack, ben, job)

    shown = ben.get(accepted.headers["location"]).json
    assert (shown["status"], shown["problem"]) == ("failed", "interrupted")
    assert {sk.partition("#")[0] for _, sk in items_of(ben)} == {"ACCOUNT", "TRANSFER"}


def test_progress_of_an_import_counts_up(
    ada: Learner, ben: Learner, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(30):
        ada.add_example()
    monkeypatch.setattr(import_jobs, "LINES_AT_ONCE", 1)
    monkeypatch.setattr(import_jobs, "PROGRESS_SECONDS", 0.0)
    monkeypatch.setattr(imports, "_CHUNK_WRITES", 10)
    accepted = ben.post("/import", raw=ada.get("/export").body, headers=PLAIN)
    seen: list[int] = []
    change = jobs.change

    def noted(user_id: int, transfer_id: int, **update: Any) -> None:
        change(user_id, transfer_id, **update)
        seen.append((ben.get(accepted.headers["location"]).json["counts"] or {}).get("examples", 0))

    monkeypatch.setattr(jobs, "change", noted)
    deliver(stack, ben, accepted.json["import_id"])

    assert seen == sorted(seen)
    assert len({*seen}) >= 3
    assert ben.get(accepted.headers["location"]).json["counts"]["examples"] == 30


@pytest.mark.usefixtures("stack")
def test_while_an_import_is_at_work_nothing_else_is_created(ada: Learner) -> None:
    claim = {"importing": table.text("another_learner"), "import_until": table.number(2**52)}
    table.write(table.update(keys.account(ada.user_id), set_to=claim))

    answers = [
        ada.post("/sessions", {"class_id": 1}),
        ada.post("/few-shot-examples", {"input_text": "a", "output_text": "b"}),
        ada.post("/import", raw=HEADER.encode(), headers=PLAIN),
    ]

    assert [(answer.status, answer.detail) for answer in answers] == [(409, "import_in_progress")] * 3


def deliver(stack: Stack, who: Learner, transfer_id: int) -> None:
    body = json.dumps({"user_id": who.user_id, "transfer_id": transfer_id})
    event = {"Records": [{"messageId": "1", "body": body, "eventSource": "aws:sqs", "attributes": {}}]}
    assert stack.invoker.invoke("work_transfer", event) == {"batchItemFailures": []}


def by_link(method: str, url: str, body: bytes | None = None) -> Answer:
    parts = urlsplit(url)
    connection = HTTPConnection(parts.netloc, timeout=30)
    try:
        connection.request(method, f"{parts.path}?{parts.query}", body)
        response = connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read())
    finally:
        connection.close()


def test_what_does_not_fit_an_answer_becomes_a_file_and_is_restore_from_one(
    ada: Learner, ben: Learner, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    work(ada)
    monkeypatch.setattr(export_jobs, "AT_ONCE_SECONDS", 0.0)

    accepted = ada.get("/export")
    deliver(stack, ada, accepted.json["export_id"])
    done = ada.get(accepted.headers["location"])
    waiting = ben.post("/import")
    deliver(stack, ben, waiting.json["import_id"])  # too early: there is no file yet
    still_waiting = ben.get(waiting.headers["location"])
    file = by_link("GET", done.json["url"])
    assert by_link("PUT", waiting.json["upload_url"], file.body).status == 200
    deliver(stack, ben, waiting.json["import_id"])
    imported = ben.get(waiting.headers["location"])

    assert (accepted.status, accepted.json["status"], accepted.json["url"]) == (202, "queued", None)
    assert (done.status, done.json["status"], file.status) == (200, "done", 200)
    assert (waiting.status, still_waiting.json["status"]) == (202, "waiting")
    assert (imported.json["status"], imported.json["counts"]["sessions"]) == ("done", 2)
    assert everything(ben) == everything(ada)


def test_a_job_is_its_owners_alone(ada: Learner, ben: Learner) -> None:
    waiting = ada.post("/import")

    theirs = ben.get(waiting.headers["location"])

    assert (theirs.status, theirs.detail) == (404, "import not found")
    assert ben.get(f"/export/{waiting.json['import_id']}").detail == "export not found"


def test_a_bad_file_fails_its_job_with_the_reason(ada: Learner, stack: Stack) -> None:
    waiting = ada.post("/import")
    by_link("PUT", waiting.json["upload_url"], f"{HEADER}\nnonsense".encode())

    deliver(stack, ada, waiting.json["import_id"])

    job = ada.get(waiting.headers["location"]).json
    assert job["status"] == "failed"
    assert "2" in job["problem"]


def test_an_import_that_two_workers_are_given_is_done(
    ada: Learner, ben: Learner, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A queue may deliver a message twice, and a request sent again asks again."""
    ada.add_example()
    waiting = ben.post("/import")
    by_link("PUT", waiting.json["upload_url"], ada.get("/export").body)
    check, other = checking.check, iter([lambda: deliver(stack, ben, waiting.json["import_id"])])

    def overtaken(lines: Callable[[], Any]) -> Any:
        next(other, lambda: None)()
        return check(lines)

    monkeypatch.setattr(checking, "check", overtaken)
    deliver(stack, ben, waiting.json["import_id"])

    job = ben.get(waiting.headers["location"]).json
    assert (job["status"], job["problem"], job["counts"]["examples"]) == ("done", None, 1)


def test_a_file_that_never_comes_is_looked_for_less_and_less_often() -> None:
    looks, age = 0, timedelta()
    while age < jobs.KEPT:
        age += timedelta(seconds=import_jobs.poll_delay(age))
        looks += 1

    assert import_jobs.poll_delay(timedelta(seconds=20)) == 2
    assert import_jobs.poll_delay(timedelta(minutes=10)) <= 30
    assert looks < 1000


def test_files_go_with_an_erasure(
    ada: Learner, stack: Stack, monkeypatch: pytest.MonkeyPatch, hand_in: Callable[..., Any]
) -> None:
    ada.add_example()
    monkeypatch.setattr(export_jobs, "AT_ONCE_SECONDS", 0.0)
    monkeypatch.setattr(accounts, "REMEMBERED_SECONDS", 0.0)
    accepted = ada.get("/export")
    deliver(stack, ada, accepted.json["export_id"])
    link = ada.get(accepted.headers["location"]).json["url"]
    assert by_link("GET", link).status == 200

    hand_in("UserErased", {"user_id": ada.user_id, "updated_at": "2100-01-01T00:00:00Z"})
    event = {"Records": [{"messageId": "1", "body": json.dumps({"user_id": ada.user_id}), "attributes": {}}]}
    stack.invoker.invoke("erase_items", event)

    assert by_link("GET", link).status == 404


# Beside others


@pytest.mark.usefixtures("stack", "under_load")
def test_an_export_taken_beside_a_writer_imports(
    ada: Learner, another_learner: Callable[[], Learner], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is written between two of its requests."""
    work(ada)
    session = ada.get("/sessions").json["items"][-1]
    path = f"/sessions/{session['session_id']}"

    def writes() -> None:
        ada.add_response(session)
        ada.post(f"{path}/chat", {"prompt_text": "And now?"})
        added = {"model_name": "claude-3-haiku-20240307", "is_primary": True}
        for model in ada.models_of(session)[1:]:
            ada.delete(f"/models/{model['session_model_id']}")
        ada.post(f"{path}/models", added)
        ada.patch(f"{path}/settings", {"few_shot_example_ids": [ada.add_example()["example_id"]]})
        ada.delete(f"/few-shot-examples/{ada.get('/few-shot-examples').json['items'][0]['example_id']}")

    for at in count(1):
        seen = 0

        def between(at: int = at, **_: Any) -> None:
            nonlocal seen
            seen += 1
            if seen == at:
                Context().run(writes)

        with hooked("before-call.dynamodb", between):
            exported = ada.get("/export")
        imported = another_learner().post("/import", raw=exported.body, headers=PLAIN)
        assert (exported.status, imported.status) == (200, 201), (at, imported.body)
        if seen < at or at > 25:
            break

    assert at > 8


@pytest.mark.usefixtures("stack")
def test_an_export_beside_an_import_says_that_it_is_incomplete(
    ada: Learner, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def header() -> dict[str, Any]:
        first: dict[str, Any] = json.loads(ada.get("/export").body.splitlines()[0])
        return first

    assert header()["is_complete"] is True
    claim = {"importing": table.text("5.another_learner"), "import_until": table.number(2**52)}
    table.write(table.update(keys.account(ada.user_id), set_to=claim))
    assert header()["is_complete"] is False

    monkeypatch.setattr(export_jobs, "AT_ONCE_SECONDS", 0.0)
    accepted = ada.get("/export")
    deliver(stack, ada, accepted.json["export_id"])
    done = ada.get(accepted.headers["location"]).json
    assert (done["status"], done["problem"]) == ("done", "import_in_progress")
    assert json.loads(by_link("GET", done["url"]).body.splitlines()[0])["is_complete"] is False


def test_an_export_under_way_and_an_import_that_waits_are_reused(
    ada: Learner, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_jobs, "AT_ONCE_SECONDS", 0.0)

    exports = [ada.get("/export").json["export_id"] for _ in range(3)]
    waiting = [ada.post("/import").json["import_id"] for _ in range(3)]
    deliver(stack, ada, exports[0])

    assert len({*exports}) == len({*waiting}) == 1
    assert ada.get("/export").json["export_id"] not in exports


def test_an_account_has_a_few_transfers_at_once(ada: Learner, ben: Learner, stack: Stack) -> None:
    file = f"{HEADER}\n{EXAMPLE}".encode() + b"\n" * import_jobs.LINES_AT_ONCE
    begun = [ben.post("/import", raw=file, headers=PLAIN) for _ in range(jobs.TRANSFERS_AT_ONCE)]
    more = ben.post("/import", raw=file, headers=PLAIN)

    assert [each.status for each in begun] == [202] * jobs.TRANSFERS_AT_ONCE
    assert (more.status, more.detail) == (409, "too_many_transfers")
    for each in begun:
        deliver(stack, ben, each.json["import_id"])
    states = [ben.get(each.headers["location"]).json["status"] for each in begun]
    assert states == ["done", "failed", "failed"]
    assert ada.post("/import").status == 202


# What a file may be


def test_a_byte_order_mark_before_an_import_is_accepted(
    ada: Learner, ben: Learner, stack: Stack, items_of: ItemsOf
) -> None:
    marked = b"\xef\xbb\xbf" + f"{HEADER}\n{EXAMPLE}".encode()

    assert ada.post("/import", raw=marked, headers=PLAIN).status == 201
    waiting = ben.post("/import")
    by_link("PUT", waiting.json["upload_url"], marked)
    deliver(stack, ben, waiting.json["import_id"])
    assert ben.get(waiting.headers["location"]).json["status"] == "done"


@pytest.mark.parametrize("kind", ["file", "line"])
def test_a_file_or_a_line_that_is_too_large_is_refused_before_it_is_held(
    ada: Learner, stack: Stack, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = ada.post("/import")
    by_link("PUT", waiting.json["upload_url"], f"{HEADER}\n".encode() + b"x" * 3_000_000)
    if kind == "file":
        monkeypatch.setattr(import_jobs, "FILE_BYTES", 1_000_000)
    else:
        monkeypatch.setattr(files, "LINE_CHARACTERS", 1_000_000)

    deliver(stack, ada, waiting.json["import_id"])

    job = ada.get(waiting.headers["location"]).json
    assert job["status"] == "failed"
    assert "at most" in job["problem"]
    if kind == "file":
        assert files.size(files.name(ada.user_id, waiting.json["import_id"])) is None


def test_what_an_agent_and_a_class_may_be_is_exported_and_imported(
    ada: Learner, ben: Learner, announce: Callable[..., Any], announce_agent: Callable[..., int]
) -> None:
    deep: Any = {"a": 1}
    for _ in range(30):
        deep = {"a": deep}
    agent = announce_agent(
        ada.user_id, system_prompt="é" * 35_000, generation_params={"temperature": 0.2, "deep": deep}
    )
    class_id = agent % 2**40
    announce(class_id, *[f"model {number}" for number in range(100)], primary="model 7")
    session = ada.open_session(class_id=class_id, agent_id=agent)
    assert len(ada.models_of(session)) == 100

    imported = ben.post("/import", raw=ada.get("/export").body, headers=PLAIN)

    assert imported.status == 201, imported.body
    assert everything(ben) == everything(ada)


MADE_ANEW: dict[type[BaseModel], tuple[type[BaseModel], set[str]]] = {
    Example: (lines.ExampleLine, {"user_id"}),
    OwnSession: (lines.SessionLine, {"user_id"}),
    StoredSettings: (lines.SettingsLine, {"setting_id", "session_id", "version", "links"}),
    Link: (lines.LinkLine, {"id"}),
    StoredModel: (lines.ModelLine, {"version"}),
    StoredTurn: (lines.TurnLine, {"session_id", "ancestry", "is_deleted", "reserved"}),
    AskedModel: (lines.AskedLine, set()),
    TurnError: (lines.ErrorLine, set()),
    TurnSettings: (lines.TurnSettingsLine, set()),
    Response: (lines.ResponseLine, {"session_id"}),
    Rating: (lines.RatingLine, {"response_id"}),
    StoredVote: (lines.VoteLine, {"class_id", "imported"}),
    JudgedAnswer: (lines.JudgedLine, {"session_model_id", "model_name"}),
}
"""What is stored, by its line, with the fields that an import makes or knows from another line."""


@pytest.mark.parametrize("stored", MADE_ANEW, ids=lambda each: each.__name__)
def test_an_import_reads_every_field_that_is_stored(stored: type[BaseModel]) -> None:
    line, made_anew = MADE_ANEW[stored]

    assert stored.model_fields.keys() - line.model_fields.keys() == made_anew


def test_the_reason_of_an_error_is_exported_and_imported(
    ada: Learner, ben: Learner, class_of: Callable[..., int], provider: FakeProvider
) -> None:
    refusal = {"error": {"code": "content_policy", "type": "invalid_request_error", "message": "No."}}
    provider.plays["broken"] = lambda _: Played(refusal, 400)
    session = ada.open_session(class_id=class_of("alpha", "broken"))
    path = f"/sessions/{session['session_id']}"
    [error] = made(ada.post(f"{path}/chat", {"prompt_text": "Why?"}), 201)["errors"]
    assert error["reason"] == {"status": 400, "code": "content_policy", "type": "invalid_request_error"}

    imported = ben.post("/import", raw=ada.get("/export").body, headers=PLAIN)

    assert imported.status == 201, imported.body
    assert everything(ben) == everything(ada)


def test_the_longest_errors_of_a_turn_are_exported_and_imported(
    ada: Learner, ben: Learner, class_of: Callable[..., int], provider: FakeProvider
) -> None:
    """Of twenty models with the longest names, in the characters that take most, and the longest reasons."""
    names = [f"{number:02}" + "\x01" * 254 for number in range(20)]
    refusal = {"error": {"code": "c" * 64, "type": "t" * 64, "param": "p" * 64}}
    provider.plays.update(dict.fromkeys(names, lambda _: Played(refusal, 400)))
    session = ada.open_session(class_id=class_of(*names))
    answer = ada.post(f"/sessions/{session['session_id']}/chat", {"prompt_text": "Why?"})
    assert (answer.status, len(answer.json["errors"])) == (502, 20)
    assert {len(each["reason"]["code"]) for each in answer.json["errors"]} == {64}

    imported = ben.post("/import", raw=ada.get("/export").body, headers=PLAIN)

    assert imported.status == 201, imported.body
    assert everything(ben) == everything(ada)


@pytest.mark.parametrize(
    "fields",
    [
        {"system_prompt": "x" * 102_401},
        {"name": "x" * 10_001},
        {"generation_params": {"temperature": "hot"}},
        {"generation_params": {"top_p": 7}},
    ],
    ids=str,
)
def test_an_agent_that_could_not_be_imported_is_refused_when_it_is_announced(
    ada: Learner, hand_in: Callable[..., Any], fields: dict[str, Any]
) -> None:
    agent = {
        "agent_id": 5,
        "user_id": ada.user_id,
        "is_active": True,
        "shared_class_ids": [],
        "name": "n",
        "system_prompt": "p",
        "generation_params": {},
    }

    assert hand_in("AgentUpdated", agent | fields)["outcome"] not in ("stored", "superseded")


def test_a_class_with_another_primary_beside_a_hundred_models_is_refused(
    announce: Callable[..., Any],
) -> None:
    answer = announce(2**40, *[f"model {number}" for number in range(100)], primary="another")

    assert answer["outcome"] not in ("stored", "superseded")
