"""What follows from a request, in the functions that queues, the stream and the bus start."""

import json
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.request import Request, urlopen

import botocore.session
import pytest
from websockets.sync.client import connect

from local.intrinsics import REGION
from local.stack import read_template
from local.template import queue_url
from practice.limits import PROMPT_BYTES
from tests.support.learners import BASE_URL, Learner, Send, made
from tests.support.live import joined

pytestmark = pytest.mark.e2e

SECONDS = 30.0
Items = Callable[[Learner], dict[str, Any]]


@pytest.fixture(autouse=True)
def only_the_fleet() -> None:
    if not BASE_URL:
        pytest.skip("make e2e starts what this looks at")


@pytest.fixture
def items(send: Send) -> Items:
    """Every item of a learner in the table, by sort key."""
    engine = send("GET", "/_local/state", {"host": "localhost"}, None).json["engine"]["endpoint"]
    client = botocore.session.Session().create_client(
        "dynamodb",
        endpoint_url=engine,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )

    def read(who: Learner) -> dict[str, Any]:
        pages = [
            page
            for pk in (f"USER#{who.user_id}#ACCOUNT", f"USER#{who.user_id}")
            for page in client.get_paginator("query").paginate(
                TableName=read_template().environment["TABLE_NAME"],
                KeyConditionExpression="pk = :pk",
                ExpressionAttributeValues={":pk": {"S": pk}},
                ConsistentRead=True,
            )
        ]
        return {item["sk"]["S"]: item for page in pages for item in page["Items"]}

    return read


def until(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.1)
    return holds()


def put_on_bus(send: Send, kind: str, **detail: Any) -> Any:
    """What the function answered."""
    event = {"source": "practice.catalogue", "detail-type": kind, "detail": {"version": 1, **detail}}
    handed = send("POST", "/_local/events", {"host": "localhost"}, json.dumps(event).encode())
    assert handed.status == 200, handed.body
    return handed.json["outcomes"][0]["answer"]


def send_message(send: Send, queue: str, body: str) -> None:
    [url] = [queue_url(name) for name, each in read_template().queues.items() if each.logical_id == queue]
    request = json.dumps({"QueueUrl": url, "MessageBody": body}).encode()
    headers = {
        "host": "localhost",
        "content-type": "application/x-amz-json-1.0",
        "x-amz-target": "AmazonSQS.SendMessage",
    }
    answer = send("POST", "/_local/aws/sqs/", headers, request)
    assert answer.status == 200, answer.body


def dead_letters(send: Send, queue: str) -> list[str]:
    letters = send("GET", "/_local/state", {"host": "localhost"}, None).json["dead_letters"]
    return [letter["body"] for letter in letters if letter["queue"].endswith(f"-{queue}")]


@pytest.fixture
def lesson(ada: Learner) -> dict[str, Any]:
    """A session with a linked example and responses, some of them long."""
    session = ada.open_session()
    example = ada.add_example()
    chosen = {"few_shot_example_ids": [example["example_id"]]}
    made(ada.patch(f"/sessions/{session['session_id']}/settings", chosen), 200)
    for size in (10, 10_000, 900_000):
        ada.add_response(session, response_text="a" * size)
    return {"session": session, "example": example}


def test_nothing_of_a_deleted_session_stays(ada: Learner, lesson: dict[str, Any], items: Items) -> None:
    session_id = lesson["session"]["session_id"]
    assert len([sk for sk in items(ada) if sk.startswith("SESSION#")]) >= 6

    assert ada.delete(f"/sessions/{session_id}").status == 204

    assert until(lambda: not [sk for sk in items(ada) if sk.startswith("SESSION#")]), items(ada).keys()


def test_nothing_of_a_deleted_model_stays(ada: Learner, lesson: dict[str, Any], items: Items) -> None:
    [primary, *_] = ada.models_of(lesson["session"])

    assert ada.delete(f"/models/{primary['session_model_id']}").status == 204

    assert until(lambda: not [sk for sk in items(ada) if "RESPONSE#" in sk]), items(ada).keys()


def test_a_deleted_example_leaves_every_selection(ada: Learner, lesson: dict[str, Any], items: Items) -> None:
    example_id = lesson["example"]["example_id"]

    assert ada.delete(f"/few-shot-examples/{example_id}").status == 204

    assert until(lambda: not [item for item in items(ada).values() if "linking" in item])


def test_a_turn_in_the_background_is_run_by_its_worker(ada: Learner) -> None:
    session = ada.open_session()

    accepted = ada.post(
        f"/sessions/{session['session_id']}/chat",
        {"prompt_text": "Why?"},
        headers={"prefer": "respond-async"},
    )

    assert accepted.status == 202, accepted.body
    turn = accepted.headers["location"]
    assert until(lambda: ada.get(turn).json["status"] == "done"), ada.get(turn).json
    assert len(ada.get(turn).json["results"]) == len(ada.models_of(session))


def test_a_live_turn_is_shown_while_its_worker_runs_it(ada: Learner) -> None:
    headers = {"authorization": f"Bearer {ada.token}"}
    with connect(BASE_URL.replace("http", "ws", 1) + "/live", additional_headers=headers) as client:
        client.send(json.dumps({"action": "run", "id": "1", "class_id": 1, "prompt_text": "Why?"}))
        events = [json.loads(client.recv(SECONDS))]
        while events[-1]["type"] not in ("turn.done", "error"):
            events.append(json.loads(client.recv(SECONDS)))
        started = events[0]
        follow = {"session_id": started["session_id"], "turn_id": started["turn_id"]}
        client.send(json.dumps({"action": "cancel", "id": "2", **follow}))
        refused = json.loads(client.recv(SECONDS))

    turn = made(ada.get(f"/sessions/{started['session_id']}/turns/{started['turn_id']}"), 200)
    assert joined(events) == {each["response_id"]: each["response_text"] for each in turn["results"]}
    assert len(turn["results"]) == len(started["models"])
    assert (refused["type"], refused["status"]) == ("error", 409)


def test_of_an_erased_learner_a_receipt_stays(
    ada: Learner, lesson: dict[str, Any], items: Items, send: Send
) -> None:
    now = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime())
    put_on_bus(send, "UserErased", user_id=ada.user_id, updated_at=now)

    assert until(lambda: list(items(ada)) == ["ACCOUNT"]), items(ada).keys()
    assert until(
        lambda: any(
            event["detail-type"] == "UserDataErased" and event["detail"]["user_id"] == ada.user_id
            for event in send("GET", "/_local/state", {"host": "localhost"}, None).json["published"]
        )
    )


def test_a_response_made_elsewhere_becomes_one_of_the_session(ada: Learner, send: Send) -> None:
    session = ada.open_session()
    [model, *_] = ada.models_of(session)
    message = {
        "user_id": ada.user_id,
        "session_model_id": model["session_model_id"],
        "prompt_text": "Why?",
        "response_text": "Because.",
        "token_usage": None,
        "latency_ms": 5,
        "dedup_id": "worker/1",
    }

    for _ in range(2):
        send_message(send, "IngestionQueue", json.dumps(message))

    path = f"/models/{model['session_model_id']}/responses"
    assert until(lambda: len(ada.get(path).json) == 1)
    time.sleep(1)
    assert [response["response_text"] for response in ada.get(path).json] == ["Because."]


@pytest.mark.parametrize("name", ["Ingestion", "Sweep", "Erasure", "Turn"])
def test_a_message_that_no_worker_can_handle_goes_to_the_dead_letter_queue(send: Send, name: str) -> None:
    nonsense = f"nonsense {secrets.token_hex(8)}"

    send_message(send, f"{name}Queue", nonsense)

    assert until(lambda: nonsense in dead_letters(send, f"{name}DeadLetters"))


@pytest.mark.parametrize("kind", ["ClassUpdated", "UserErased", "TokensRevoked"])
def test_an_event_that_cannot_be_handled_goes_to_the_dead_letter_queue(send: Send, kind: str) -> None:
    wrong = secrets.token_hex(8)

    assert put_on_bus(send, kind, class_id=wrong, user_id=wrong)["outcome"] == "dead_letter"

    assert any(wrong in body for body in dead_letters(send, "CatalogueDeadLetters"))


def test_a_long_prompt_of_an_agent_is_replaced_whole(ada: Learner, send: Send) -> None:
    agent = {
        "agent_id": secrets.randbelow(2**40) + 1,
        "user_id": ada.user_id,
        "is_active": True,
        "shared_class_ids": [],
        "name": "Socrates",
        "generation_params": {},
    }

    for prompt in (secrets.token_hex(PROMPT_BYTES // 2), "short"):
        now = datetime.now(UTC).isoformat()
        announced = put_on_bus(send, "AgentUpdated", updated_at=now, system_prompt=prompt, **agent)
        assert announced["outcome"] == "stored"
        session = ada.open_session(agent_id=agent["agent_id"])
        assert session["settings"]["agent_snapshot"]["system_prompt"] == prompt


def test_an_account_too_large_for_one_answer_moves_by_file(ada: Learner, ben: Learner) -> None:
    session = ada.open_session(title="Lesson")
    ada.add_example()
    for _ in range(6):
        ada.add_response(session, response_text="x" * 1_000_000)

    export = ada.get("/export")
    assert export.status == 202, export.body[:200]
    assert until(lambda: ada.get(export.headers["location"]).json["status"] == "done")
    file = by_link("GET", ada.get(export.headers["location"]).json["url"])
    job = ben.post("/import")
    by_link("PUT", job.json["upload_url"], file)

    assert until(lambda: ben.get(job.headers["location"]).json["status"] == "done")
    [moved] = ben.get("/sessions").json["items"]
    responses = ben.get(f"/sessions/{moved['session_id']}").json["responses"]
    assert moved["title"] == "Lesson"
    assert {response["response_text"] for response in responses} == {"x" * 1_000_000}
    assert ben.get("/few-shot-examples").json["total"] == 1


def by_link(method: str, url: str, body: bytes | None = None) -> bytes:
    with urlopen(Request(url, body, method=method), timeout=30) as response:
        content: bytes = response.read()
        return content
