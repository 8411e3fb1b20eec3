"""Requests that few tests make, so that every grant of a role is needed by one."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context
from typing import Any

import pytest

from local.functions import FunctionError
from local.stack import Stack
from practice import table
from practice.runtime.deadline import Deadline
from practice.table import ids, keys
from practice.transfers import export_jobs, files, import_jobs
from tests.support import deliveries
from tests.support.hooks import hooked
from tests.support.learners import Learner, made
from tests.support.processes import Killed

PLAIN = {"content-type": "application/x-ndjson"}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/models/3/responses", {"prompt_text": "Why?", "response_text": "Because."}, 404),
        ("/sessions/{session_id}/chat", {"prompt_text": "Why?", "model_names": ["unknown"]}, 400),
        ("/sessions/run?class_id=1", {"prompt_text": "Why?", "model_names": ["unknown"]}, 400),
        ("/sessions", {"class_id": 0}, 400),
    ],
)
def test_a_refusal_does_not_keep_its_idempotency_key(
    ada: Learner, path: str, body: dict[str, Any], status: int
) -> None:
    path = path.format(**ada.open_session())
    once = {"idempotency-key": "a"}

    assert ada.post(path, body, headers=once).status == status
    assert ada.post(path, body, headers=once).status == status


def test_a_run_in_the_background_is_accepted(ada: Learner) -> None:
    headers = {"prefer": "respond-async"}

    accepted = ada.post("/sessions/run?class_id=1", {"prompt_text": "Why?"}, headers=headers)

    assert accepted.status == 202, accepted.body
    assert ada.get(accepted.headers["location"]).status == 200


def test_cursors_lead_to_what_an_answer_leaves_out(ada: Learner) -> None:
    session = ada.open_session()
    path = f"/sessions/{session['session_id']}"
    response, second = ada.add_response(session), ada.add_response(session)
    of_model = f"/models/{response['session_model_id']}/responses"

    changed = made(ada.patch(f"{path}?responses=0", {"title": "Sources"}), 200)
    older = ada.get(f"{path}/responses?cursor={changed['responses_next_cursor']}")
    assert older.json["items"] == [response, second]

    first = ada.get(f"{of_model}?size=1")
    assert first.json == [response]
    assert ada.get(f"{of_model}?cursor={first.headers['x-next-cursor']}").json == [second]


@pytest.fixture
def job(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Callable[[Learner, int], Any]:
    """Does a job of the learner's, as its queue would; an export is one whatever its size."""
    monkeypatch.setattr(export_jobs, "AT_ONCE_SECONDS", 0.0)

    def work(who: Learner, transfer_id: int) -> Any:
        body = json.dumps({"user_id": who.user_id, "transfer_id": transfer_id})
        return stack.invoker.invoke("work_transfer", {"Records": [{"messageId": "1", "body": body}]})

    return work


@contextmanager
def at_file(operation: str, happens: Callable[[], Any]) -> Iterator[None]:
    """Something else happens just before a request for a file, and is none of the function's doing."""

    def before_send(**_: Any) -> None:
        Context().run(happens)

    with hooked(f"before-send.s3.{operation}", before_send, files.client()):
        yield


def die() -> None:
    raise Killed


def by_dead_import(who: Learner) -> None:
    """Leaves what an import had written when its process ended."""
    example = keys.example(who.user_id, who.add_example()["example_id"])
    table.write(table.update(example, set_to={"imported": table.number(1)}))
    claim = {"importing": table.text("dead"), "import_until": table.number(1)}
    table.write(table.update(keys.account(who.user_id), set_to=claim))


@pytest.mark.usefixtures("stack")
def test_a_refused_example_does_not_keep_its_idempotency_key(ada: Learner) -> None:
    claim = {"importing": table.text("another_learner"), "import_until": table.number(2**52)}
    table.write(table.update(keys.account(ada.user_id), set_to=claim))
    new = {"input_text": "a", "output_text": "b"}

    for _ in range(2):
        refused = ada.post("/few-shot-examples", new, headers={"idempotency-key": "a"})
        assert (refused.status, refused.detail) == (409, "import_in_progress")


def test_a_refused_import_does_not_keep_its_idempotency_key(ada: Learner) -> None:
    ada.add_example()
    everything = ada.get("/export").body

    for _ in range(2):
        refused = ada.post("/import", raw=everything, headers=PLAIN | {"idempotency-key": "a"})
        assert (refused.status, refused.detail) == (409, "account_not_empty")


@pytest.mark.usefixtures("stack")
def test_what_a_dead_import_left_makes_room_for_another(ada: Learner, ben: Learner) -> None:
    ada.add_example(title="Sums")
    by_dead_import(ben)

    assert ben.post("/import", raw=ada.get("/export").body, headers=PLAIN).status == 201

    assert [each["title"] for each in ben.get("/few-shot-examples").json["items"]] == ["Sums"]


def test_what_a_dead_import_left_makes_room_for_a_file(
    ada: Learner, ben: Learner, job: Callable[[Learner, int], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ada.add_example(title="Sums")
    monkeypatch.setattr(import_jobs, "LINES_AT_ONCE", 1)
    with monkeypatch.context() as patch:
        patch.setattr(export_jobs, "AT_ONCE_SECONDS", 15.0)
        everything = ada.get("/export").body
    accepted = ben.post("/import", raw=everything, headers=PLAIN)
    by_dead_import(ben)
    ids.clear_lease()

    job(ben, accepted.json["import_id"])

    assert [each["title"] for each in ben.get("/few-shot-examples").json["items"]] == ["Sums"]


@pytest.mark.usefixtures("stack")
def test_an_import_that_dies_at_its_file_leaves_no_part_of_it(
    ada: Learner, ben: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada.add_example()
    everything = ada.get("/export").body
    monkeypatch.setattr(import_jobs, "LINES_AT_ONCE", 1)

    with at_file("UploadPart", die):
        assert ben.post("/import", raw=everything, headers=PLAIN).status == 500


def test_an_export_that_dies_at_its_file_is_done_when_it_comes_again(
    ada: Learner, job: Callable[[Learner, int], Any]
) -> None:
    ids.clear_lease()
    accepted = ada.get("/export")

    with at_file("UploadPart", die), pytest.raises(FunctionError, match="Killed"):
        job(ada, accepted.json["export_id"])
    job(ada, accepted.json["export_id"])

    assert ada.get(accepted.headers["location"]).json["status"] == "done"


def test_of_a_learner_erased_meanwhile_no_file_stays(
    ada: Learner, job: Callable[[Learner, int], Any]
) -> None:
    export_id = ada.get("/export").json["export_id"]
    key = keys.transfer(ada.user_id, export_id)

    with at_file("CompleteMultipartUpload", lambda: table.write(table.delete(key))):
        job(ada, export_id)

    assert files.size(files.name(ada.user_id, export_id)) is None


@pytest.mark.parametrize(("function", "queue"), [("erase_items", "Erasure"), ("work_transfer", "Transfer")])
def test_a_message_that_no_worker_can_handle_goes_to_the_dead_letter_queue(
    stack: Stack, function: str, queue: str
) -> None:
    record = {"messageId": "1", "body": "nonsense"}

    assert stack.invoker.invoke(function, {"Records": [record]}) == {"batchItemFailures": []}

    assert deliveries.of(stack).dead_letters_in(f"{queue}DeadLetters")[0]["body"] == "nonsense"


def test_an_erasure_goes_on_in_another_message_when_its_time_is_up(
    ada: Learner, stack: Stack, hand_in: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(15):
        ada.add_example()
    delivered = deliveries.of(stack)
    hand_in("UserErased", {"user_id": ada.user_id, "updated_at": "2100-01-01T00:00:00Z"})
    monkeypatch.setattr(Deadline, "remaining", lambda deadline: 0.0)

    assert delivered.step_of("erase_items")

    assert [json.loads(each["body"])["user_id"] for each in delivered.waiting("ErasureQueue")] == [
        ada.user_id
    ]
    delivered.run()
    assert delivered.published(ada.user_id)


@pytest.mark.usefixtures("stack")
def test_a_selection_leases_ids_for_its_links_when_a_process_has_none_left(ada: Learner) -> None:
    example, session = ada.add_example(), ada.open_session()
    ids.clear_lease()

    changed = ada.patch(
        f"/sessions/{session['session_id']}/settings", {"few_shot_example_ids": [example["example_id"]]}
    )

    assert [link["example_id"] for link in changed.json["few_shot_links"]] == [example["example_id"]]
