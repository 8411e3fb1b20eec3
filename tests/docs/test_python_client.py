"""The Python client: generated from openapi.json, used against the local stack and against a service that fails."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from local.http import Response
from local.stack import ROOT, Stack
from practice_client import (
    Client,
    ConnectionFailed,
    Invalid,
    NotFound,
    PracticeError,
    PreconditionFailed,
    Unauthorized,
)
from practice_client.models import Counts, OwnSession, Session, SessionWithSettings, TurnAccepted, TurnAnswer
from tests.support.learners import Learner
from tests.support.unreliable import Unreliable, busy
from tools import python_client
from tools.openapi import TARGET, endpoints

CONTRACT: dict[str, Any] = json.loads(TARGET.read_text())
LIVE_CONTRACT: dict[str, Any] = json.loads(python_client.LIVE_CONTRACT.read_text())


@pytest.fixture
def client(stack: Stack, ada: Learner) -> Iterator[Client]:
    with Client(stack.url, ada.token) as made:
        yield made


# What is generated


def test_it_is_what_the_contract_says_now() -> None:
    for name, text in python_client.files(CONTRACT, LIVE_CONTRACT).items():
        assert (python_client.TARGET / name).read_text() == text, "run `make openapi`"


def test_a_stale_one_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    contract = tmp_path / "openapi.json"
    contract.write_text(TARGET.read_text().replace('"knowledge_ids"', '"facts"'))
    live_contract = tmp_path / "asyncapi.json"
    live_contract.write_text(json.dumps(LIVE_CONTRACT).replace('"offset"', '"position"'))
    monkeypatch.setattr(python_client, "CONTRACT", contract)
    monkeypatch.setattr(python_client, "LIVE_CONTRACT", live_contract)

    assert python_client.main(["--check"]) == 1
    output = capsys.readouterr().err
    assert "practice_client/client.py" in output
    assert "practice_client/models.py" in output
    assert "practice_client/live_messages.py" in output
    assert "make openapi" in output


def test_every_operation_has_a_method() -> None:
    assert {endpoint.name for endpoint in endpoints()} <= set(dir(Client))


def test_integers_are_as_wide_as_the_ids() -> None:
    """Generators for typed languages make a 32-bit integer of one without a format."""
    for name, schema in CONTRACT["components"]["schemas"].items():
        for field, described in schema.get("properties", {}).items():
            if field.endswith("_id"):
                assert described.get("format") == "int64", f"{name}.{field}"
    assert CONTRACT["components"]["parameters"]["session_id"]["schema"]["format"] == "int64"


def test_a_type_error_in_use_is_caught(tmp_path: Path) -> None:
    used = tmp_path / "used.py"
    used.write_text(
        "from practice_client import Client\n"
        "client = Client('http://127.0.0.1', 'token')\n"
        "client.update_session(1, title=7)\n"
        "client.update_settings(1, style_preset='cheerful')\n"
        "client.create_session(klass_id=1)\n"
        "number: int = client.get_session(1).title\n"
        "client.get_session(1).responses[0].response_text.upper()\n"
        "client.live.chat(1)\n"
        "client.live.run(class_id=1, prompt_text='', style_preset='cheerful')\n"
    )

    checked = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--no-incremental",
            "--config-file",
            ROOT / "pyproject.toml",
            used,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    found = [
        line.partition(":")[2].partition(":")[0] for line in checked.stdout.splitlines() if "error:" in line
    ]
    assert found == ["3", "4", "5", "6", "8", "9"], checked.stdout


# Against the local stack


def test_a_learner_practises_with_it(client: Client) -> None:
    session = client.create_session(class_id=101, title="Kind and short", knowledge_ids=[5, 5, 7])
    assert isinstance(session, Session)
    assert session.knowledge_ids == [5, 7]
    assert abs(session.created_at - datetime.now(UTC)).total_seconds() < 60
    example = client.create_example(input_text="2+2", output_text="4", meta={"level": 1})

    settings = client.update_settings(
        session.session_id,
        style_preset="accurate",
        generation_params={"temperature": 0.2, "seed": 7},
        few_shot_example_ids=[example.example_id],
    )
    assert settings.generation_params["seed"] == 7
    assert settings.few_shot_links[0].example == example

    answer = client.chat(session.session_id, prompt_text="And 3+3?")
    assert isinstance(answer, TurnAnswer)
    assert [each.model_name for each in answer.results] == [
        each.model_name for each in client.list_models(session.session_id)
    ]
    [turn] = client.iterate_turns(session.session_id)
    assert turn.settings
    assert turn.settings.few_shot_example_ids == [example.example_id]

    client.delete_session(session.session_id)
    with pytest.raises(NotFound, match="session not found"):
        client.get_session(session.session_id)


def test_null_clears_and_what_is_not_given_stays(client: Client) -> None:
    session = client.create_session(class_id=101, title="One", notes="Two")

    changed = client.update_session(session.session_id, title=None)

    assert (changed.title, changed.notes) == (None, "Two")


def test_a_turn_can_be_left_to_the_background(client: Client) -> None:
    accepted = client.run_session(class_id=101, prompt_text="Later", prefer="respond-async")

    assert isinstance(accepted, TurnAccepted)
    assert client.get_turn(accepted.session_id, accepted.turn_id).prompt_text == "Later"


def test_no_learner_overwrites_what_they_have_not_seen(client: Client) -> None:
    session = client.create_session(class_id=101)
    client.update_session(session.session_id, title="Changed meanwhile", if_match=session.etag)

    with pytest.raises(PreconditionFailed) as refused:
        client.update_session(session.session_id, title="Me too", if_match=session.etag)

    assert refused.value.etag == client.get_session(session.session_id).etag != session.etag
    assert (
        client.update_session(session.session_id, title="Me too", if_match=refused.value.etag).title
        == "Me too"
    )


def test_what_does_not_fit_is_reported_field_by_field(client: Client) -> None:
    with pytest.raises(Invalid) as refused:
        client.create_session(class_id=-1, title="x" * 10_001)

    assert [each.loc for each in refused.value.problems] == [["body", "class_id"], ["body", "title"]]
    assert refused.value.detail.startswith("body.class_id: Input should be")
    assert refused.value.request_id


def test_a_key_that_comes_with_another_request_is_an_error(client: Client) -> None:
    client.create_example(input_text="a", output_text="b", idempotency_key="mine")

    with pytest.raises(Invalid) as refused:
        client.create_example(input_text="a", output_text="c", idempotency_key="mine")

    assert (refused.value.detail, refused.value.problems) == ("idempotency_key_reused", [])


def test_a_post_with_the_same_key_is_done_once(client: Client) -> None:
    first = client.create_example(input_text="a", output_text="b", idempotency_key="mine")

    assert client.create_example(input_text="a", output_text="b", idempotency_key="mine") == first
    assert len(list(client.iterate_examples())) == 1


def test_lists_are_walked_to_their_end(client: Client) -> None:
    made = [client.create_example(input_text=str(number), output_text="") for number in range(5)]
    session = client.create_session(class_id=101)
    model = client.list_models(session.session_id)[0].session_model_id
    for number in range(5):
        client.add_response(model, prompt_text=str(number), response_text="")

    assert [each.example_id for each in client.iterate_examples(size=2)] == [
        each.example_id for each in reversed(made)
    ]
    assert [each.prompt_text for each in client.iterate_responses(model, size=2)] == ["0", "1", "2", "3", "4"]
    first = client.list_responses(model, size=2)
    assert (len(first), bool(first.next_cursor)) == (2, True)
    pieces = [each.prompt_text for each in client.iterate_session_responses(session.session_id, size=2)]
    assert sorted(pieces) == ["0", "1", "2", "3", "4"]
    assert pieces[:2] == ["3", "4"]


def test_a_list_has_as_much_of_a_session_as_was_asked_for(client: Client) -> None:
    session = client.create_session(class_id=101)

    assert [type(each) for each in client.iterate_sessions()] == [OwnSession]
    assert [type(each) for each in client.iterate_sessions(expand=["settings"])] == [SessionWithSettings]
    [whole] = client.iterate_sessions(expand=["settings", "responses"])
    assert whole == session


def test_an_account_comes_out_as_text_and_goes_in_again(
    client: Client, stack: Stack, another_learner: Callable[[], Learner]
) -> None:
    client.create_example(input_text="é", output_text="")

    exported = client.create_export()

    assert isinstance(exported, str)
    with Client(stack.url, lambda: another_learner().token) as other:
        counts = other.create_import(text=exported)
    assert counts.examples == 1  # type: ignore[union-attr]


def test_a_wrong_token_is_refused(stack: Stack) -> None:
    with Client(stack.url, "no-token") as unreachable, pytest.raises(Unauthorized, match="401 unauthorized"):
        unreachable.list_sessions()


# Against a service that fails


@pytest.fixture
def pauses() -> list[float]:
    return []


def waiting(unreliable: Unreliable, who: Learner, pauses: list[float], **options: Any) -> Client:
    return Client(unreliable.server.url, who.token, sleep=pauses.append, **options)


@pytest.mark.parametrize("status", [429, 503])
def test_it_waits_as_long_as_it_is_asked_to_and_tries_again(
    unreliable: Unreliable, ada: Learner, pauses: list[float], status: int
) -> None:
    unreliable.plays = [busy(status, retry_after="3"), busy(status)]

    waiting(unreliable, ada, pauses).list_sessions()

    assert len(unreliable.asked) == 3
    assert 3 <= pauses[0] < 4
    assert pauses[1] < 2


def test_a_post_takes_its_key_along_and_is_done_once(
    unreliable: Unreliable, ada: Learner, pauses: list[float]
) -> None:
    unreliable.plays = ["lost", "done", busy(409, retry_after="1")]
    client = waiting(unreliable, ada, pauses)

    client.create_example(input_text="a", output_text="b")
    client.create_example(input_text="a", output_text="b")

    keys = [request.header("idempotency-key") for request in unreliable.asked]
    assert keys[0] == keys[1] != keys[2] == keys[3]
    assert len(list(client.iterate_examples())) == 2


def test_it_gives_up_after_its_tries(unreliable: Unreliable, ada: Learner, pauses: list[float]) -> None:
    unreliable.plays = [busy(retry_after="1")] * 2

    with pytest.raises(PracticeError) as refused:
        waiting(unreliable, ada, pauses, tries=2).list_sessions()

    assert (refused.value.status, refused.value.retry_after) == (503, 1)
    assert (len(unreliable.asked), len(pauses)) == (2, 1)


def test_it_does_not_wait_for_hours(unreliable: Unreliable, ada: Learner, pauses: list[float]) -> None:
    unreliable.plays = [busy(retry_after="3600")]

    with pytest.raises(PracticeError):
        waiting(unreliable, ada, pauses).list_sessions()

    assert pauses == []


def test_a_conditional_change_is_not_sent_again_when_it_may_be_done_already(
    unreliable: Unreliable, ada: Learner, pauses: list[float]
) -> None:
    client = waiting(unreliable, ada, pauses)
    session = client.create_session(class_id=101)
    unreliable.plays = [busy(retry_after="1")]

    with pytest.raises(PracticeError, match="503"):
        client.update_session(session.session_id, title="x", if_match=session.etag)
    unreliable.plays = [busy(429, retry_after="1")]

    assert client.update_session(session.session_id, title="x", if_match=session.etag).title == "x"


def test_an_answer_of_a_gateway_that_is_no_json_is_reported_as_it_is(
    unreliable: Unreliable, ada: Learner, pauses: list[float]
) -> None:
    unreliable.plays = [Response(502, [("content-type", "text/html")], b"<html>Bad gateway</html>")]

    with pytest.raises(PracticeError, match="502 <html>Bad gateway"):
        waiting(unreliable, ada, pauses).list_sessions()


def test_an_error_of_the_connection_has_the_key_to_ask_again_with(pauses: list[float]) -> None:
    with socket.socket() as unreachable:
        unreachable.bind(("127.0.0.1", 0))
        client = Client(f"http://127.0.0.1:{unreachable.getsockname()[1]}", "token", sleep=pauses.append)

        with pytest.raises(ConnectionFailed) as failed:
            client.create_session(class_id=1)

    assert len(pauses) == 3
    assert failed.value.idempotency_key


def test_fields_that_a_newer_service_has_added_are_left_out(
    unreliable: Unreliable, ada: Learner, pauses: list[float]
) -> None:
    counts = {"examples": 1, "sessions": 2, "turns": 3, "responses": 4, "medals": 5}
    unreliable.plays = [Response(201, [("content-type", "application/json")], json.dumps(counts).encode())]

    assert waiting(unreliable, ada, pauses).create_import(text="") == Counts(
        examples=1, sessions=2, turns=3, responses=4
    )


# Examples from a file


def imported(stack: Stack, who: Learner, file: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "clients/python/import_examples.py", file, "--url", stack.url, *arguments],
        env={**os.environ, "TOKEN": who.token},
        capture_output=True,
        text=True,
    )


def test_a_library_is_imported_and_imported_again(stack: Stack, ada: Learner, tmp_path: Path) -> None:
    file = tmp_path / "examples.csv"
    file.write_text('title,input_text,output_text\nGreeting,"Hi,\nyou",Hello\n,2+2,4\n,2+2,4\n')

    first, second = imported(stack, ada, file), imported(stack, ada, file)

    assert (first.returncode, first.stdout) == (0, "2 in the library, 0 refused\n")
    assert second.stdout == first.stdout
    library = ada.get("/few-shot-examples").json["items"]
    assert [(each["title"], each["input_text"]) for each in library] == [
        ("", "2+2"),
        ("Greeting", "Hi,\nyou"),
    ]


def test_what_does_not_fit_is_reported_by_its_line_and_the_rest_is_imported(
    stack: Stack, ada: Learner, tmp_path: Path
) -> None:
    file = tmp_path / "examples.jsonl"
    rows = [
        {"input_text": "a", "output_text": "b", "meta": {"level": 1}},
        {"input_text": "only a question"},
        {"input_text": "x" * 40_000, "output_text": ""},
        {"input_text": "c", "output_text": "d"},
    ]
    file.write_text("\n".join(map(json.dumps, rows)) + "\n{half a line\n")

    done = imported(stack, ada, file)

    assert (done.returncode, done.stdout) == (1, "2 in the library, 3 refused\n")
    assert [line.partition(f"{file}:")[2][:2] for line in done.stderr.splitlines()] == ["2:", "3:", "5:"]
    assert {each["input_text"] for each in ada.get("/few-shot-examples").json["items"]} == {"a", "c"}


LONG = "x" * 1_000
READABLE = "input_text,output_text\n" + "".join(f"{number},{LONG}\n" for number in range(12))
"""More than a reader's buffer of 8 KiB, so that valid rows are read before the unreadable part."""
UNREADABLE: dict[str, tuple[bytes | None, str]] = {
    "cp1252.csv": ((READABLE + "café,coffee\n").encode("cp1252"), "not UTF-8"),
    "cp1252.jsonl": (
        ('{"input_text": "a", "output_text": "b"}\n' + f"{LONG}\n" * 12 + "é\n").encode("cp1252"),
        "not UTF-8",
    ),
    "semicolons.csv": (b"input_text;output_text\n2+2;4\n3+3;6\n", "separated by commas"),
    "SEMICOLONS.CSV": (b"input_text;output_text\n2+2;4\n", "separated by commas"),
    "header.csv": (b"input_text,answer\n2+2,4\n3+3,6\n", "header is without output_text"),
    "quote.csv": ((READABLE + '"' + LONG * 200).encode(), "field larger than field limit"),
    "empty.csv": (b"", "no examples"),
    "empty.jsonl": (b"", "no examples"),
    "directory.csv": (None, "Is a directory"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_an_unreadable_file_is_reported_in_one_line_and_nothing_is_imported(
    stack: Stack, ada: Learner, tmp_path: Path, name: str
) -> None:
    file = tmp_path / name
    content, problem = UNREADABLE[name]
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)

    done = imported(stack, ada, file)

    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"{file}: ")
    assert problem in line
    assert ada.get("/few-shot-examples").json["items"] == []


def test_a_file_that_does_not_exist_is_reported_in_one_line(
    stack: Stack, ada: Learner, tmp_path: Path
) -> None:
    file = tmp_path / "missing.csv"

    done = imported(stack, ada, file)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"{file}: No such file or directory\n"


@pytest.mark.usefixtures("under_load")
def test_the_first_fifty_are_selected_in_a_session(stack: Stack, ada: Learner, tmp_path: Path) -> None:
    file = tmp_path / "examples.jsonl"
    file.write_text("\n".join(json.dumps({"input_text": str(n), "output_text": ""}) for n in range(51)))
    session_id = ada.open_session()["session_id"]

    done = imported(stack, ada, file, "--session", str(session_id))

    assert done.stdout.splitlines() == ["51 in the library, 0 refused", "50 selected"]
    links = ada.get(f"/sessions/{session_id}/settings").json["few_shot_links"]
    assert [link["example"]["input_text"] for link in links] == [str(number) for number in range(50)]
