"""The local stack as a whole: a template of its own, a real engine, real sockets, functions that leave traces."""

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import ClientError

from local.engine import find_dynoxide
from local.functions import InProcess
from local.intrinsics import TemplateError
from local.queues import Queues
from local.stack import ROOT, SHELL, Stack, read_template
from local.template import Template
from local.terminal import Readable

TEMPLATE = """
Transform: AWS::Serverless-2016-10-31
Parameters:
  Stage: {Type: String, Default: dev}
  TokenSecretArn: {Type: String, Default: ""}
  UnclaimedModels: {Type: String, Default: ""}
  UserRequestsPerMinute: {Type: Number, Default: 0}
  ProviderSecretArn: {Type: String, Default: ""}
Globals:
  Function:
    Runtime: python3.13
    Handler: handler.lambda_handler
    Timeout: 30
    Environment:
      Variables:
        TABLE_NAME: !Ref Table
        TOKEN_SECRET_ARN: !Ref TokenSecretArn
        WORK_QUEUE_URL: !Ref Work
        STAGE: !Ref Stage
Resources:
  Table:
    Type: AWS::DynamoDB::Table
    Properties:
      KeySchema: [{AttributeName: pk, KeyType: HASH}]
      AttributeDefinitions: [{AttributeName: pk, AttributeType: S}]
      BillingMode: PAY_PER_REQUEST
      StreamSpecification: {StreamViewType: NEW_AND_OLD_IMAGES}
  Work:
    Type: AWS::SQS::Queue
    Properties:
      VisibilityTimeout: 60
      RedrivePolicy: {deadLetterTargetArn: !GetAtt WorkDead.Arn, maxReceiveCount: 2}
  WorkDead: {Type: AWS::SQS::Queue}
  StreamDead: {Type: AWS::SQS::Queue}
  Put:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/put/
      Events:
        Route: {Type: HttpApi, Properties: {Method: PUT, Path: "/items/{item_id}"}}
  Worker:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/worker/
      Events:
        Work:
          Type: SQS
          Properties:
            Queue: !GetAtt Work.Arn
            BatchSize: 10
            FunctionResponseTypes: [ReportBatchItemFailures]
  Listener:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/listener/
      EventInvokeConfig:
        MaximumRetryAttempts: 1
        DestinationConfig: {OnFailure: {Type: SQS, Destination: !GetAtt WorkDead.Arn}}
      Events:
        Greeted:
          Type: EventBridgeRule
          Properties:
            Pattern: {source: [test], detail-type: [{prefix: Greet}], detail: {loud: [{exists: false}]}}
  Stream:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/stream/
      Events:
        Changes:
          Type: DynamoDB
          Properties:
            Stream: !GetAtt Table.StreamArn
            StartingPosition: TRIM_HORIZON
            BatchSize: 10
            BisectBatchOnFunctionError: true
            MaximumRetryAttempts: 1
            DestinationConfig: {OnFailure: {Type: SQS, Destination: !GetAtt StreamDead.Arn}}
            FilterCriteria: {Filters: [{Pattern: '{"eventName": ["INSERT"]}'}]}
"""
PUT = """
import os
import botocore.session

def lambda_handler(event, context):
    client = botocore.session.get_session().create_client("dynamodb")
    item_id = event["pathParameters"]["item_id"]
    client.put_item(TableName=os.environ["TABLE_NAME"], Item={"pk": {"S": item_id}, "blob": {"B": b"\\x00"}})
    return {"statusCode": 204}
"""
# Each appends what it was given to a list that the tests read, and fails on what is called "poison".
WORKER = """
seen = []
def lambda_handler(event, context):
    bodies = [record["body"] for record in event["Records"]]
    seen.extend(bodies)
    failed = [r["messageId"] for r in event["Records"] if r["body"] == "poison"]
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}
"""
LISTENER = """
seen = []
def lambda_handler(event, context):
    seen.append(event["detail"])
    if event["detail"].get("poison"):
        raise ValueError("poison")
    return "heard"
"""
STREAM = """
seen = []
events = []
def lambda_handler(event, context):
    names = [record["dynamodb"]["Keys"]["pk"]["S"] for record in event["Records"]]
    if "poison" in names:
        raise ValueError("poison")
    seen.extend(names)
    events.extend(event["Records"])
"""


def write_project(root: Path) -> Template:
    for name, code in (("put", PUT), ("worker", WORKER), ("listener", LISTENER), ("stream", STREAM)):
        folder = root / "functions" / name
        folder.mkdir(parents=True)
        (folder / "handler.py").write_text(code)
    (root / "template.yaml").write_text(TEMPLATE)
    (root / "node_modules").symlink_to(ROOT / "node_modules")
    return read_template(root / "template.yaml")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(template=write_project(tmp_path_factory.mktemp("project"))) as stack:
        stack.triggers.start()
        yield stack


def seen(stack: Stack, function: str, name: str = "seen") -> list[Any]:
    assert isinstance(stack.invoker, InProcess)
    handler: Any = stack.invoker.handler(function)
    found: list[Any] = handler.__globals__[name]
    return found


def call(stack: Stack, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    connection = HTTPConnection("127.0.0.1", stack.server.port, timeout=60)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request(method, path, None if body is None else json.dumps(body), named)
        response = connection.getresponse()
        content = response.read()
    finally:
        connection.close()
    is_json = response.headers.get("content-type") == "application/json"
    return response.status, json.loads(content) if is_json else content.decode()


def client(service: str) -> Any:
    return botocore.session.get_session().create_client(service)


def needs_streams(stack: Stack) -> None:
    if "streams" not in stack.capabilities:
        pytest.skip(f"{stack.engine.name} has no streams")


def test_a_write_reaches_the_stream_function_as_lambda_would_send_it(stack: Stack) -> None:
    needs_streams(stack)

    assert call(stack, "PUT", "/items/first")[0] == 204
    stack.triggers.settle()

    assert "first" in seen(stack, "stream")
    record = next(
        r for r in seen(stack, "stream", "events") if r["dynamodb"]["Keys"] == {"pk": {"S": "first"}}
    )
    assert record["eventSource"] == "aws:dynamodb"
    assert record["dynamodb"]["NewImage"]["blob"] == {"B": "AA=="}
    assert record["eventSourceARN"].startswith("arn:aws:dynamodb:")
    assert abs(record["dynamodb"]["ApproximateCreationDateTime"] - time.time()) < 60


def test_stream_records_arrive_in_order_past_a_poison_one_which_goes_to_the_dead_letter_queue(
    stack: Stack,
) -> None:
    needs_streams(stack)
    names = ["a1", "a2", "poison", "a3", "a4"]

    for name in names:
        call(stack, "PUT", f"/items/{name}")
    stack.triggers.settle()

    assert [name for name in seen(stack, "stream") if name.startswith("a")] == ["a1", "a2", "a3", "a4"]
    [letter] = [letter for letter in stack.state["dead_letters"] if letter["queue"].endswith("StreamDead")]
    reported = json.loads(letter["body"])
    assert reported["requestContext"]["condition"] == "RetryAttemptsExhausted"
    assert reported["DDBStreamBatchInfo"]["batchSize"] == 1
    assert "ValueError: poison" in letter["reason"]


def test_queued_messages_reach_the_worker_and_only_the_poison_one_becomes_a_dead_letter(stack: Stack) -> None:
    sqs = client("sqs")
    url = os.environ["WORK_QUEUE_URL"]

    sqs.send_message_batch(
        QueueUrl=url,
        Entries=[{"Id": str(n), "MessageBody": body} for n, body in enumerate(["one", "poison", "two"])],
    )
    sent = sqs.send_message(QueueUrl=url, MessageBody="three")
    stack.triggers.settle()

    assert sorted(body for body in seen(stack, "worker") if body != "poison") == ["one", "three", "two"]
    assert seen(stack, "worker").count("poison") == 2
    letters = sqs.receive_message(QueueUrl=url.replace("Work", "WorkDead"), MaxNumberOfMessages=10)[
        "Messages"
    ]
    assert [letter["Body"] for letter in letters] == ["poison"]
    assert sent["MessageId"] not in {letter["MessageId"] for letter in letters}
    for letter in letters:
        sqs.delete_message(QueueUrl=url.replace("Work", "WorkDead"), ReceiptHandle=letter["ReceiptHandle"])


def test_large_messages_arrive_in_as_many_events_as_lambda_would_need(
    stack: Stack, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqs = client("sqs")
    bodies = [str(number) + "x" * 1_000_000 for number in range(8)]

    for body in bodies:
        # Delayed, so that one consumer finds them all.
        sqs.send_message(QueueUrl=os.environ["WORK_QUEUE_URL"], MessageBody=body, DelaySeconds=900)
    later = time.time() + 901
    monkeypatch.setattr(time, "time", lambda: later)
    stack.triggers.settle()

    assert set(bodies) <= set(seen(stack, "worker"))
    assert not caplog.records  # where a batch that Lambda refuses would be logged


def test_a_queue_the_template_does_not_declare_is_refused(stack: Stack) -> None:
    with pytest.raises(ClientError, match="QueueDoesNotExist"):
        client("sqs").send_message(QueueUrl=os.environ["WORK_QUEUE_URL"] + "x", MessageBody="lost")


def test_what_no_client_of_aws_would_send_is_refused_in_its_shape(stack: Stack) -> None:
    for target, body, content_type in (
        ("AmazonSQS.SendMessage", "{", "application/x-amz-json-1.0"),
        ("AmazonSQS.SendMessage", "[]", "application/x-amz-json-1.0"),
        ("AWSEvents.Erase", "{}", "application/x-amz-json-1.1"),
        ("AmazonSQS.SendMessage", "{}", "text/plain"),
    ):
        headers = {"Content-Type": content_type}
        connection = HTTPConnection("127.0.0.1", stack.server.port, timeout=60)
        connection.request("POST", "/_local/aws/sqs", body, headers | {"X-Amz-Target": target})
        response = connection.getresponse()
        assert (response.status, sorted(json.loads(response.read()))) == (400, ["__type", "message"])
        connection.close()


@pytest.mark.parametrize(
    ("path", "status"), [("/_local/events", 400), ("/_local/token", 422), ("/_local/aws/sqs", 400)]
)
def test_a_body_that_is_nested_too_deeply_to_be_read_is_refused(stack: Stack, path: str, status: int) -> None:
    headers = {"Content-Type": "application/json", "X-Amz-Target": "AmazonSQS.SendMessage"}
    if "aws" in path:
        headers["Content-Type"] = "application/x-amz-json-1.0"
    connection = HTTPConnection("127.0.0.1", stack.server.port, timeout=60)
    connection.request("POST", path, "[" * 100_000, headers)

    assert connection.getresponse().status == status
    connection.close()


def test_an_event_whose_detail_is_nested_too_deeply_is_refused(stack: Stack) -> None:
    entry = {"Source": "test", "DetailType": "Greeting", "Detail": "[" * 100_000}

    assert client("events").put_events(Entries=[entry])["FailedEntryCount"] == 1


def put_event(**detail: Any) -> Any:
    entry = {"Source": "test", "DetailType": "Greeting", "Detail": json.dumps(detail)}
    return client("events").put_events(Entries=[entry])


def test_events_on_the_bus_reach_the_functions_whose_rule_takes_them(stack: Stack) -> None:
    assert put_event(name="ada")["FailedEntryCount"] == 0
    assert put_event(name="bob", loud=True)["FailedEntryCount"] == 0
    assert client("events").put_events(Entries=[{"Source": "test", "DetailType": "G", "Detail": "[]"}])[
        "FailedEntryCount"
    ]
    stack.triggers.settle()

    assert {"name": "ada"} in seen(stack, "listener")
    assert {"name": "bob", "loud": True} not in seen(stack, "listener")
    assert [event["detail"]["name"] for event in stack.state["published"][:2]] == ["bob", "ada"]


def test_an_event_that_keeps_failing_is_tried_again_and_then_a_dead_letter(stack: Stack) -> None:
    put_event(name="eve", poison=True)
    stack.triggers.settle()

    assert seen(stack, "listener").count({"name": "eve", "poison": True}) == 2
    [letter] = [letter for letter in stack.state["dead_letters"] if "eve" in letter["body"]]
    assert json.loads(letter["body"])["requestPayload"]["detail"] == {"name": "eve", "poison": True}
    assert "ValueError: poison" in letter["reason"]


def test_a_handed_in_event_goes_to_the_function_that_its_trigger_names(stack: Stack) -> None:
    def hand_in(event: Any) -> tuple[int, Any]:
        return call(stack, "POST", "/_local/events", event)

    sqs_record = {"eventSource": "aws:sqs", "messageId": "m1", "body": "by hand"}
    arn = "arn:aws:sqs:eu-central-1:123456789012:practice-prod-Work-AbCdEf"
    greeting = {"source": "test", "detail-type": "Greeting", "detail": {"by": "hand"}}
    http = {
        "version": "2.0",
        "routeKey": "PUT /items/{item_id}",
        "requestContext": {"http": {"method": "PUT"}},
    }
    http |= {"rawPath": "/items/by-hand", "pathParameters": {"item_id": "by-hand"}}

    assert hand_in(greeting) == (200, {"outcomes": [{"function": "listener", "answer": "heard"}]})
    assert hand_in({"Records": [sqs_record | {"eventSourceARN": arn}]})[0] == 200
    assert "by hand" in seen(stack, "worker")
    assert hand_in(http) == (200, {"outcomes": [{"function": "put", "answer": {"statusCode": 204}}]})

    refused = [
        greeting | {"source": "elsewhere"},
        greeting | {"detail": {"poison": True}},
        {"Records": [sqs_record | {"eventSourceARN": arn, "body": "poison"}]},
        {"Records": [sqs_record | {"eventSourceARN": arn.replace("Work", "Other")}]},
        {},
        [],
        None,
    ]
    for event in refused:
        status, answer = hand_in(event)
        assert (status, list(answer)) == (422 if event is not None else 400, ["refused"])


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "rebound.example.com"},
        {"Host": "rebound.example.com:3000"},
        {"Host": "192.0.2.1"},
        {"Host": "localhost:80.example.com"},
        {"Host": ""},
        {"Origin": "https://evil.example.com"},
        {"Origin": "http://localhost:1"},
        {"Origin": "null"},
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/_local/state"),
        ("POST", "/_local/events"),
        ("POST", "/_local/aws/sqs"),
        ("PUT", "/_local/aws/s3/b/k"),
    ],
)
def test_the_stacks_own_paths_are_closed_to_other_sites(
    stack: Stack, method: str, path: str, headers: dict[str, str]
) -> None:
    assert call(stack, method, path, {}, **headers) == (403, {"message": "Forbidden"})


def test_the_stacks_own_paths_are_open_to_this_machine(stack: Stack) -> None:
    for name in (f"localhost:{stack.server.port}", "127.0.0.1", "[::1]:3000"):
        assert call(stack, "GET", "/_local/state", Host=name, Origin=f"http://{name}")[0] == 200


@pytest.mark.parametrize("path", ["/_local/events", "/_local/token"])
def test_what_is_not_declared_as_json_is_refused(stack: Stack, path: str) -> None:
    status, answer = call(stack, "POST", path, {"user_id": 1}, Content_Type="text/plain")

    assert (status, answer) == (415, {"refused": "the body is application/json, not text/plain"})


def test_functions_fetch_the_local_secrets_and_no_others(stack: Stack) -> None:
    secrets = client("secretsmanager")

    found = secrets.get_secret_value(SecretId=os.environ["TOKEN_SECRET_ARN"])

    assert found["SecretString"] == stack.token_secret
    assert len(stack.token_secret) >= 32
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        secrets.get_secret_value(SecretId="of-another-stack")


def test_the_stack_shows_what_it_serves(stack: Stack) -> None:
    status, page = call(stack, "GET", "/_local/")
    assert status == 200
    assert "PUT /items/{item_id}" in page

    status, state = call(stack, "GET", "/_local/state")
    assert status == 200
    assert [function["name"] for function in state["functions"]] == ["listener", "put", "stream", "worker"]
    assert state["engine"]["name"] == stack.engine.name


def test_the_api_reference_comes_with_its_assets(stack: Stack) -> None:
    if not (ROOT / "node_modules" / "swagger-ui-dist").exists():
        pytest.skip("npm packages are not installed")
    status, page = call(stack, "GET", "/docs")
    assert status == 200
    assert "https://" not in page
    assert call(stack, "GET", "/docs/swagger-ui-bundle.js")[0] == 200
    assert call(stack, "GET", "/docs/../package.json")[0] == 404


def test_messages_that_a_consumer_held_when_the_stack_died_are_delivered_after_it(tmp_path: Path) -> None:
    before = Queues(tmp_path / "queues.db", [])
    before.send("work", "kept")
    assert [message.body for message in before.receive("work", 1, visibility=3600)] == ["kept"]
    before.close()

    after = Queues(tmp_path / "queues.db", [])
    [message] = after.receive("work", 1)
    after.close()

    assert (message.body, message.receives) == ("kept", 2)


def test_variables_that_differ_between_functions_are_refused(tmp_path: Path) -> None:
    own = "CodeUri: functions/{0}/\n      Environment: {{Variables: {{STAGE: {0}}}}}"
    text = TEMPLATE.replace("CodeUri: functions/put/", own.format("put"))
    (tmp_path / "template.yaml").write_text(text)

    with pytest.raises(TemplateError, match="STAGE differs"):
        _ = read_template(tmp_path / "template.yaml").environment


Run = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def run(data: Path) -> Iterator[Run]:
    """Starts the stack as a process of its own, which does not outlive the test."""
    with ExitStack() as started:

        def start(port: int, **environment: str) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, "run"],
                cwd=data.parent / "project",
                env={**SHELL, "DATA": str(data), "PORT": str(port), "PYTHONPATH": str(ROOT), **environment},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            started.enter_context(process)
            started.callback(process.kill)
            return process

        yield start


# The command line, on the template of this test.
PROGRAM = """
import sys
from pathlib import Path
import local.stack
local.stack.ROOT = Path.cwd()
from local.__main__ import main
sys.exit(main())
"""


def put(port: int, path: str) -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("PUT", path)
        return connection.getresponse().status
    finally:
        connection.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ready_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def end(process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str]:
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    return process.returncode, out


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_project(tmp_path / "project")
    return tmp_path / "data"


@pytest.mark.skipif(find_dynoxide(ROOT) is None, reason="needs an engine that keeps its data")
def test_what_was_acknowledged_survives_a_kill(data: Path, run: Run) -> None:
    port = free_port()
    process = run(port)
    assert ready_line(process) == f"ready: http://127.0.0.1:{port} (docs at /docs, data in {data})\n"
    assert [put(port, f"/items/k{number}") for number in range(5)] == [204] * 5
    assert end(process, signal.SIGKILL) == (-signal.SIGKILL, "")

    with Stack(data, template=read_template(data.parent / "project" / "template.yaml")) as stack:
        items = stack.engine.client().scan(TableName=stack.template.table["TableName"])["Items"]
        assert sorted(item["pk"]["S"] for item in items) == [f"k{number}" for number in range(5)]


def test_standard_output_is_for_the_ready_line_alone(tmp_path: Path) -> None:
    """A reader that stops there must not block the functions, which log what they do."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "local", "run"],
        cwd=ROOT,
        env={**SHELL, "DATA": str(tmp_path / "data"), "PORT": str(port)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert ready_line(process).startswith("ready: ")
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/user/practice/sessions")
        assert connection.getresponse().status == 401
        connection.close()
        process.send_signal(signal.SIGTERM)
        out, log = process.communicate(timeout=60)

    assert out == ""
    assert "GET /user/practice/sessions" in log


@pytest.mark.skipif(find_dynoxide(ROOT) is None, reason="needs an engine with streams")
def test_a_restarted_stack_goes_on_in_the_stream_where_it_was(data: Path) -> None:
    template = read_template(data.parent / "project" / "template.yaml")
    with Stack(data, template=template) as stack:
        call(stack, "PUT", "/items/before")  # nothing delivers yet
    with Stack(data, template=template) as stack:
        stack.triggers.start()
        stack.triggers.settle()
        assert seen(stack, "stream") == ["before"]
    with Stack(data, template=template) as stack:
        stack.triggers.start()
        call(stack, "PUT", "/items/after")
        stack.triggers.settle()
        assert seen(stack, "stream") == ["after"]


def test_a_signal_ends_the_stack_cleanly_and_the_secret_stays(data: Path, run: Run) -> None:
    port = free_port()
    environment = {**SHELL, "DATA": str(data)}
    command = [sys.executable, "-m", "local", "token", "--user-id", "7"]
    token = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    ).stdout
    secret = (data / "secrets" / "practice-local-token").read_text()

    process = run(port)
    assert ready_line(process).startswith("ready: ")

    assert end(process, signal.SIGTERM) == (0, "")
    assert token.count(".") == 2
    assert (data / "secrets" / "practice-local-token").read_text() == secret
    assert (data / "secrets" / "practice-local-token").stat().st_mode & 0o777 == 0o600


def refused(process: subprocess.Popen[str]) -> str:
    """The one line in which it says why it does not start."""
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out, errors.count("\n")) == (1, "", 1), errors
    return errors


def test_a_port_in_use_is_refused_with_one_that_is_free(data: Path, run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        output = refused(run(taken.getsockname()[1]))

    [free] = re.findall(r"in use, PORT=(\d+) is free$", output.strip())
    process = run(int(free))
    assert ready_line(process).startswith(f"ready: http://127.0.0.1:{free} ")


def test_a_configuration_of_models_that_means_nothing_is_refused_in_one_line(run: Run) -> None:
    output = refused(run(free_port(), MODELS='{"m": {"provider": "echo", "omits": ["temprature"]}}'))

    assert output.startswith("MODELS cannot be used: m: omits.0: ")


def test_a_folder_in_use_is_refused(data: Path, run: Run) -> None:
    with Stack(data, template=read_template(data.parent / "project" / "template.yaml")):
        assert "in use by another stack" in refused(run(free_port()))


@pytest.mark.parametrize("command", [["run"], ["token"]])
@pytest.mark.parametrize("kind", ["a file", "below a file", "not writable"])
def test_a_folder_that_cannot_be_used_is_refused(tmp_path: Path, command: list[str], kind: str) -> None:
    (tmp_path / "file").write_text("")
    folders = {
        "a file": tmp_path / "file",
        "below a file": tmp_path / "file" / "x",
        "not writable": Path("/proc/x"),
    }
    environment = {**SHELL, "DATA": str(folders[kind])}

    ended = local(*command, **environment)

    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1), ended.stderr
    assert f"DATA={folders[kind]} is not a folder to write to" in ended.stderr
    assert "set DATA to another" in ended.stderr


PARTS: dict[str, Callable[[Path], object]] = {
    "lock": Path.mkdir,
    "objects": Path.touch,
    "queues.db": lambda path: path.write_bytes(b"no queues" * 1000),
    "secrets/practice-local-token": lambda path: path.mkdir(parents=True),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_folder_with_a_part_that_cannot_be_used_is_refused(data: Path, run: Run, part: str) -> None:
    data.mkdir()
    PARTS[part](data / part)

    output = refused(run(free_port()))

    assert output.startswith(f"{data / part} cannot be used (")
    assert output.endswith("): set DATA to another folder\n")


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:1", "nonsense"])
def test_an_engine_elsewhere_that_does_not_answer_is_refused(run: Run, endpoint: str) -> None:
    output = refused(run(free_port(), DYNAMODB_ENDPOINT=endpoint))

    assert output.startswith(f"DYNAMODB_ENDPOINT={endpoint} does not answer as DynamoDB (")


def local(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "local", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment or SHELL, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("user_id", ["0", "-1", "1.5", "x", "", "9007199254740992", "1" * 5000])
def test_a_token_is_for_a_user_id_that_the_api_takes(user_id: str) -> None:
    ended = local("token", f"--user-id={user_id}")

    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
    assert "is not an integer from 1 to 9007199254740991" in ended.stderr


def test_an_event_for_a_stack_that_does_not_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "event.json").write_text("{}")
    port = free_port()

    ended = local("event", str(tmp_path / "event.json"), **{**SHELL, "PORT": str(port)})

    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
    assert f"no local stack answers on 127.0.0.1:{port}, start it with make run" in ended.stderr


def test_a_redrive_of_a_stack_that_does_not_run_is_refused() -> None:
    port = free_port()
    command = [sys.executable, "-m", "tools.redrive", "SweepDeadLetters"]
    environment = {**SHELL, "PORT": str(port), "HOST": "0.0.0.0", "STACK": ""}

    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)

    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
    assert f"no local stack answers at http://127.0.0.1:{port}" in ended.stderr
    assert "start it with make run, or set STACK" in ended.stderr


@pytest.mark.parametrize("port", ["http", "70000", "-1"])
def test_a_port_that_is_none_is_refused(data: Path, port: str) -> None:
    ended = local("run", **{**SHELL, "DATA": str(data), "PORT": port})

    assert ended.stderr == f"PORT={port} is not a port: set it to a number from 1024 to 65535\n"


needs_dynoxide = pytest.mark.skipif(find_dynoxide(ROOT) is None, reason="needs dynoxide")


@needs_dynoxide
def test_an_engine_that_does_not_start_is_shown_with_what_it_printed(data: Path, run: Run) -> None:
    data.mkdir()
    (data / "table.db").write_bytes(b"no table" * 100)
    assert "not a valid SQLite database" in refused(run(free_port()))

    assert "did not start (exit code 1)" in refused(run(free_port(), DYNOXIDE="/bin/false"))
    assert "DYNOXIDE=/nowhere is not a program" in refused(run(free_port(), DYNOXIDE="/nowhere"))
    text = data.parent / "text"
    text.write_bytes(b"\x7fELF")
    text.chmod(0o700)
    assert f"DYNOXIDE={text} is not a program" in refused(run(free_port(), DYNOXIDE=str(text)))


@needs_dynoxide
def test_an_engine_that_dies_is_started_again_with_its_data(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local.engine.SHORTEST_LIFE_SECONDS", 0)
    with Stack(data, template=read_template(data.parent / "project" / "template.yaml")) as stack:
        assert call(stack, "PUT", "/items/before")[0] == 204
        first = (data / "engine.pid").read_text()
        os.kill(int(first), signal.SIGKILL)
        deadline = time.monotonic() + 30
        while (data / "engine.pid").read_text() in ("", first) or call(stack, "PUT", "/items/after")[
            0
        ] != 204:
            assert time.monotonic() < deadline
        items = stack.engine.client().scan(TableName=stack.template.table["TableName"])["Items"]

    assert sorted(item["pk"]["S"] for item in items) == ["after", "before"]


@needs_dynoxide
def test_an_engine_that_cannot_live_ends_the_stack_with_one_line(data: Path, run: Run) -> None:
    process = run(free_port())
    ready_line(process)

    # One that has lived for some time is started again.
    while process.poll() is None:
        with suppress(OSError, ValueError):
            os.kill(int((data / "engine.pid").read_text()), signal.SIGKILL)
        time.sleep(0.02)

    _, errors = process.communicate(timeout=60)
    [*restarts, reason] = errors.splitlines()
    assert process.returncode == 1
    assert "the database engine ended by itself (exit code -9" in reason
    assert all("starting it again" in each for each in restarts), restarts


LOGGED = {
    "level": "INFO",
    "location": "_write:123",
    "message": "invocation",
    "service": "practice-api",
    "route": "GET /items",
    "status": 404,
    "error": "ItemNotFound",
    "lambda_function": "practice-local-GetItem",
    "throttles": 0,
    "_aws": {"Timestamp": 1},
}


def test_the_terminal_shows_lines_to_read() -> None:
    out = io.StringIO()
    terminal = Readable(out)
    print("plain", file=terminal)
    print(json.dumps(LOGGED), file=terminal)
    print(json.dumps({"message": "é", "level": "ERROR", "exception": "Traceback\n  ..."}), file=terminal)

    plain, invocation, error, *trace = out.getvalue().splitlines()
    assert plain == "plain"
    assert re.sub("[0-9]{2}:[0-9]{2}:[0-9]{2}", "*", invocation) == (
        "* GetItem route=GET /items status=404 error=ItemNotFound"
    )
    assert error.endswith("ERROR é")
    assert trace == ["Traceback", "  ..."]


def test_the_terminal_shows_json_on_request(data: Path, run: Run) -> None:
    port = free_port()
    process = run(port, LOG="json")
    ready_line(process)
    put(port, "/items/1")

    process.send_signal(signal.SIGTERM)
    _, shown = process.communicate(timeout=60)
    assert any("PUT /items/1 204" in json.loads(line)["message"] for line in shown.splitlines())


def test_without_dynoxide_moto_serves_and_reports_it_once(data: Path, run: Run) -> None:
    port = free_port()
    process = run(port, DYNOXIDE="none")
    assert ready_line(process).startswith("ready: ")
    assert put(port, "/items/1") == 204

    process.send_signal(signal.SIGINT)
    _, output = process.communicate(timeout=60)
    assert process.returncode == 0
    assert output.count("its data ends with this process") == 1
