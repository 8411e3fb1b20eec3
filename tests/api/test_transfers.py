"""A learner takes everything out, and puts it back into an empty account."""

import json
from collections.abc import Callable
from datetime import timedelta
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest

from local.stack import Stack
from practice import table
from practice.caller import Caller
from practice.store import accounts
from practice.store.idempotency import IdempotentAttempt
from practice.table import keys
from practice.transfers import exports, imports, jobs
from practice.transfers import requests as at_once
from tests.support.learners import Answer, Learner
from tests.support.processes import Killed

PLAIN = {"content-type": "application/x-ndjson"}


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
        (HEADER.replace("1,", "2,"), 1),
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


@pytest.mark.usefixtures("stack")
def test_an_import_that_dies_anywhere_is_begun_anew(
    ada: Learner, ben: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    work(ada)
    lines = list(exports.lines(ada.user_id))
    counts = imports.check(lambda: lines)
    events = table.dynamodb().meta.events
    deaths = 0
    for at in range(1, 14, 3):
        seen = 0

        def kill(at: int = at, **_: Any) -> None:
            nonlocal seen
            seen += 1
            if seen == at:
                raise Killed

        events.register_first("before-call.dynamodb", kill)
        try:
            imports.restore(Caller(ben.user_id), lambda: lines, counts, IdempotentAttempt(), seconds=-10)
        except Killed:
            deaths += 1
        finally:
            events.unregister("before-call.dynamodb", kill)

    assert ben.post("/sessions", {"class_id": 1}).status in (201, 409)
    imports.restore(Caller(ben.user_id), lambda: lines, counts, IdempotentAttempt(), seconds=30)

    assert deaths >= 3
    assert everything(ben) == everything(ada)


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
    monkeypatch.setattr(at_once, "AT_ONCE_SECONDS", 0.0)

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

    assert (accepted.status, accepted.json["state"], accepted.json["url"]) == (202, "queued", None)
    assert (done.status, done.json["state"], file.status) == (200, "done", 200)
    assert (waiting.status, still_waiting.json["state"]) == (202, "waiting")
    assert (imported.json["state"], imported.json["counts"]["sessions"]) == ("done", 2)
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
    assert job["state"] == "failed"
    assert "2" in job["problem"]


def test_an_import_that_two_workers_are_given_is_done(
    ada: Learner, ben: Learner, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A queue may deliver a message twice, and a request sent again asks again."""
    ada.add_example()
    waiting = ben.post("/import")
    by_link("PUT", waiting.json["upload_url"], ada.get("/export").body)
    check, other = imports.check, iter([lambda: deliver(stack, ben, waiting.json["import_id"])])

    def overtaken(lines: Callable[[], Any]) -> Any:
        next(other, lambda: None)()
        return check(lines)

    monkeypatch.setattr(imports, "check", overtaken)
    deliver(stack, ben, waiting.json["import_id"])

    job = ben.get(waiting.headers["location"]).json
    assert (job["state"], job["problem"], job["counts"]["examples"]) == ("done", None, 1)


def test_a_file_that_never_comes_is_looked_for_less_and_less_often() -> None:
    looks, age = 0, timedelta()
    while age < jobs.KEPT:
        age += timedelta(seconds=jobs.poll_delay(age))
        looks += 1

    assert jobs.poll_delay(timedelta(seconds=20)) == 2
    assert jobs.poll_delay(timedelta(minutes=10)) <= 30
    assert looks < 1000


def test_files_go_with_an_erasure(
    ada: Learner, stack: Stack, monkeypatch: pytest.MonkeyPatch, hand_in: Callable[..., Any]
) -> None:
    ada.add_example()
    monkeypatch.setattr(at_once, "AT_ONCE_SECONDS", 0.0)
    monkeypatch.setattr(accounts, "REMEMBERED_SECONDS", 0.0)
    accepted = ada.get("/export")
    deliver(stack, ada, accepted.json["export_id"])
    link = ada.get(accepted.headers["location"]).json["url"]
    assert by_link("GET", link).status == 200

    hand_in("UserErased", {"user_id": ada.user_id, "updated_at": "2100-01-01T00:00:00Z"})
    event = {"Records": [{"messageId": "1", "body": json.dumps({"user_id": ada.user_id}), "attributes": {}}]}
    stack.invoker.invoke("erase_items", event)

    assert by_link("GET", link).status == 404
