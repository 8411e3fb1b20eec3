"""Nothing a learner writes, and no secret, is ever in a log line, a metric, an event or a refusal.

Canaries are planted in every text that a route, an event or a message takes, as their models list them: a new field is
planted without a word here. Everything the functions say counts, at level DEBUG: standard output and error, what libraries
log at the levels that Lambda leaves them, warnings, and the trace of whatever leaves a handler. What is in a
dead-letter queue is the message itself, and holds its texts by necessity; the reason beside it does not.
"""

import contextlib
import importlib
import io
import json
import logging
import os
import pkgutil
import subprocess
import sys
import warnings
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from botocore.awsrequest import AWSResponse
from pydantic import TypeAdapter

import practice
from local.functions import FunctionError
from local.stack import ROOT, Stack, read_template
from practice.http.endpoint import Endpoint
from practice.runtime.log import logger
from practice.store import accounts
from practice.turns import configuration
from practice.turns.providers import bedrock
from tests.support import deliveries, faults
from tests.support.account import ENDPOINTS, Account, one_choice
from tests.support.hooks import hooked
from tests.support.learners import Answer, Learner, made, new_user_id
from tests.support.planted import each_filled, filled
from tests.support.providers import FakeProvider, Play, Played, completion
from tests.support.roles import BEDROCK_MODEL
from tools.event_schemas import TAKEN

Json = dict[str, Any]

CANARY = "quietcanary"
WRONG: list[Any] = [CANARY, [CANARY], {CANARY: [CANARY]}, CANARY * 10_000]
"""For any field: some fit some of them."""


class Overheard(io.StringIO):
    def check(self, what: object) -> None:
        output = self.getvalue()
        assert output, f"nothing was answered to {what}"
        place = output.find(CANARY)
        assert place < 0, f"{what}: ...{output[max(0, place - 600) : place + 60]}"


@pytest.fixture
def overheard(stack: Stack) -> Iterator[Overheard]:
    """Everything that the functions say while the test runs."""
    output = Overheard()
    everything_else = logging.StreamHandler(output)
    level, root = logger.log_level, logging.getLogger()
    with contextlib.ExitStack() as after:
        for handler in logger.handlers:
            assert isinstance(handler, logging.StreamHandler)
            after.callback(handler.setStream, handler.setStream(output) or sys.stdout)
        logger.setLevel("DEBUG")
        after.callback(logger.setLevel, level)
        root.addHandler(everything_else)
        after.callback(root.removeHandler, everything_else)
        after.enter_context(contextlib.redirect_stdout(output))
        after.enter_context(contextlib.redirect_stderr(output))
        after.enter_context(warnings.catch_warnings())
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_: print(message, file=output)
        yield output


def plant(known: Json) -> Callable[[str, Json], Any]:
    """Ids and names that are known, and canaries where any text may stand."""

    def one(name: str, rules: Json) -> Any:
        is_free = (
            rules["type"] == "string" and "format" not in rules and r"\d" not in rules.get("pattern", "")
        )
        own = name.removeprefix("few_shot_").removesuffix("s")
        return known.get(own, f"{CANARY}-{name}" if is_free else ...)

    return one


def a_body(endpoint: Endpoint, account: Account) -> Json:
    """Empty where none is taken."""
    names: Json = {"class_id": 1, "model_name": account.model_name}
    body = filled(endpoint.body_model, plant(account.ids | names)) if endpoint.body_model else {}
    return one_choice(endpoint, body)


def a_raw_body(endpoint: Endpoint, account: Account) -> bytes:
    """JSON, or the account's own export where one is taken."""
    if endpoint.takes:
        return account.owner.get("/export").body
    return json.dumps(a_body(endpoint, account)).encode()


def assert_no_canary(answer: Answer, what: object) -> None:
    """A refusal names the place of what is wrong, and an unknown field by its name where those are forbidden."""
    if answer.status < 400:
        return
    shown = answer.json
    if isinstance(shown.get("detail"), list):
        shown = [each for each in shown["detail"] if each["type"] != "extra_forbidden"]
    assert CANARY not in json.dumps(shown), (what, answer.body[:500])
    assert CANARY not in str(answer.headers), (what, answer.headers)


# Requests


HEADERS = {
    "idempotency-key": CANARY,
    "prefer": f"{CANARY}=1",
    "user-agent": CANARY,
    "x-own": CANARY,
    "cookie": f"session={CANARY}",
    "referer": f"https://{CANARY}.example/",
    "x-amzn-trace-id": f"Root={CANARY}",
}


def requests_to(endpoint: Endpoint, account: Account) -> Iterator[Answer]:
    """The refused ones first, so that what is named is still there."""
    ask, method = account.owner.ask, endpoint.method
    body, raw_body = a_body(endpoint, account), a_raw_body(endpoint, account)
    plain = account.target(endpoint)
    for name in endpoint.path_parameters:
        yield ask(method, account.target(endpoint, "", **{name: CANARY}), raw=b"{}")
    for name in [*(endpoint.query_model.model_fields if endpoint.query_model else ()), CANARY]:
        for value in (CANARY, f"1,{CANARY}{'x' * 2000}"):
            yield ask(method, account.target(endpoint, urlencode({name: value})), raw=raw_body)
    for raw in (
        f'{{"{CANARY}": {CANARY}}}'.encode(),
        f'["{CANARY}"]'.encode(),
        f'"{CANARY}"'.encode(),
        CANARY.encode() + b"\xff",
        f'{{"{CANARY}": NaN}}'.encode(),
        b'{"type": "' + CANARY.encode() + b'"}',
        b"{" * 100_000 + CANARY.encode(),
    ):
        yield ask(method, plain, raw=raw)
    yield ask(method, plain, raw=raw_body, headers={"content-type": CANARY})
    yield ask(method, plain, raw=b"[]", headers=HEADERS)
    yield ask(method, plain, raw=b"[]", headers={name: value * 30 for name, value in HEADERS.items()})
    for token in tokens(account.owner):
        yield ask(method, plain, raw=raw_body, headers={"authorization": token})
    for name in body:
        for wrong in WRONG:
            yield ask(method, plain, body | {name: wrong})
        yield ask(method, plain, body | {f"{CANARY}-{name}": CANARY})
    yield ask(method, plain, raw=raw_body, headers={"if-match": f'"{CANARY}"'})
    yield ask(method, plain, raw=raw_body, headers=HEADERS)
    yield ask(method, plain, raw=raw_body + b" ", headers=HEADERS)
    yield ask(method, plain, raw=raw_body)


def tokens(who: Learner) -> Iterator[str]:
    header, claims, signature = who.token.split(".")
    for head in (
        {"alg": "HS256", "kid": CANARY},
        {"alg": CANARY},
        {"alg": "none"},
        {"typ": CANARY},
        {"crit": [CANARY]},
    ):
        yield f"Bearer {segment(head)}.{segment({'sub': CANARY, 'exp': CANARY})}.{signature}"
    yield f"Bearer {CANARY}"
    yield f"{CANARY} {who.token}"
    yield f"Bearer {header}.{claims}.{CANARY}"
    yield f"Bearer {header}.{segment({'sub': 1, 'exp': 2**40, 'jti': CANARY})}.{signature}"
    yield f"Bearer {CANARY.encode().hex()}é"


def segment(claims: Json) -> str:
    return urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda each: each.name)
def test_a_request_leaves_no_text_in_the_logs(
    endpoint: Endpoint, another_learner: Callable[[], Learner], overheard: Overheard
) -> None:
    account = Account(another_learner(), CANARY)

    seen = set()
    for number, answer in enumerate(requests_to(endpoint, account)):
        assert_no_canary(answer, (endpoint.name, number))
        seen.add(answer.status)

    assert answer.status < 300 or answer.status in (404, 409), answer.body[:500]
    assert 401 in seen
    assert 500 not in seen
    overheard.check(endpoint.name)
    assert account.owner.token not in overheard.getvalue()
    assert account.owner.token.split(".")[2] not in overheard.getvalue()


# Faults of the table


def garbage(request: Any) -> AWSResponse:
    """An answer that is no JSON: botocore quotes it in what it raises."""
    answer = faults.refusal("ValidationException")(request)
    answer.status_code = 200
    answer.raw = faults._Raw(f"<{CANARY}>".encode())
    return answer


ITEM = {"pk": {"S": CANARY}, "sk": {"S": CANARY}, "doc": {"S": CANARY}, "v": {"N": "1"}}
FAULTS: dict[str, Callable[[Any], Any]] = {
    "a refusal that quotes the item": faults.refusal("ValidationException", message=CANARY),
    "an unknown refusal": faults.refusal(CANARY, message=CANARY),
    "throttling": faults.refusal("ThrottlingException", message=CANARY),
    "a condition that failed": faults.refusal("ConditionalCheckFailedException", message=CANARY, Item=ITEM),
    "a transaction that was cancelled": faults.refusal(
        "TransactionCanceledException",
        message=CANARY,
        CancellationReasons=[{"Code": "ValidationError", "Message": CANARY, "Item": ITEM}] * 5,
    ),
    "an answer that is no JSON": garbage,
}


@contextlib.contextmanager
def unreadable_documents() -> Iterator[None]:
    """Every document that is read says something that it should not."""

    def after_call(parsed: Json, **_: Any) -> None:
        found = [
            *parsed.get("Items", ()),
            *(item for items in parsed.get("Responses", {}).values() for item in items),
        ]
        for item in found:
            for name in item.keys() & {"doc", "outcome", "errors"}:
                item[name] = {"S": f'{{"title": ["{CANARY}"], "prompt_text": "{CANARY}'}
            if "status" in item:
                item["status"] = {"S": CANARY}

    with hooked("after-call.dynamodb", after_call):
        yield


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda each: each.name)
def test_a_fault_of_the_table_leaves_no_text_in_the_logs(
    endpoint: Endpoint,
    another_learner: Callable[[], Learner],
    overheard: Overheard,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr("practice.table.client.TIMEOUT_SECONDS", 0.0)
    account = Account(another_learner(), CANARY)
    raw = a_raw_body(endpoint, account)
    statuses = set()

    def send(what: str) -> None:
        answer = account.owner.ask(
            endpoint.method, account.target(endpoint), raw=raw, headers={"idempotency-key": what}
        )
        assert_no_canary(answer, (endpoint.name, what))
        statuses.add(answer.status)

    with unreadable_documents():
        send("unreadable documents")
    for name, fault in FAULTS.items():
        for number in (1, 2, 3):
            accounts.clear_cache()
            with faults.at(number, fault, times=1000):
                send(f"{name} {number}")

    assert statuses & {500, 503}
    overheard.check(endpoint.name)


# Models


def without_a_body(request: Json) -> Played:
    return Played(CANARY.encode(), 500, {"x-error": CANARY, "content-type": CANARY})


PLAYS: dict[str, Play] = {
    "an answer": lambda _: Played(completion(CANARY) | {"model": "fake", "id": CANARY}),
    "an error": without_a_body,
    "throttling": lambda _: Played({"error": {"message": CANARY}}, 429, {"retry-after": CANARY}),
    "a refused key": lambda _: Played({"error": {"message": CANARY}}, 401),
    "a redirect": lambda _: Played(b"", 302, {"location": f"http://{CANARY}.example/"}),
    "no JSON": lambda _: Played(CANARY.encode()),
    "other JSON": lambda _: Played({"choices": [{"message": CANARY}], "output": {"message": CANARY}}),
    "a malformed header": lambda _: Played(completion("x"), 200, {f"x {CANARY}": f"\r\n{CANARY}"}),
    "a malformed length": lambda _: Played(completion("x"), 200, {"content-length": CANARY}),
    "a false encoding": lambda _: Played(CANARY.encode(), 200, {"content-encoding": "gzip"}),
    "an answer that is cut": lambda _: Played(CANARY.encode(), cut=True),
    "an exception of Bedrock's": lambda _: Played(
        {"message": CANARY}, 400, {"x-amzn-errortype": "ValidationException"}
    ),
}


@pytest.mark.parametrize("kind", ["openai", "bedrock"])
def test_what_a_provider_answers_stays_out_of_the_logs(
    kind: str, ada: Learner, stack: Stack, overheard: Overheard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("practice.turns.ask.LONGEST_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr("practice.turns.ask.FIRST_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr("practice.turns.worker.MARGIN_SECONDS", 28.5)
    session = ada.open_session(knowledge_ids=[1])
    with FakeProvider() as fake:
        served = {"provider": kind, "id": BEDROCK_MODEL, "base_url": f"{fake.url}/v1", "key": "acme"}
        monkeypatch.setenv("MODELS", json.dumps({"*": served}))
        monkeypatch.setenv("KNOWLEDGE_BASE_ID", "KB12345678")
        monkeypatch.setattr("practice.turns.providers.openai.secret", lambda _: json.dumps({"acme": CANARY}))
        for service in ("BEDROCK_RUNTIME", "BEDROCK_AGENT_RUNTIME"):
            monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", fake.url)
        forget()
        statuses = []
        for what, play in PLAYS.items():
            fake.plays = {quote(BEDROCK_MODEL, safe=""): play, BEDROCK_MODEL: play, "KB12345678": play}
            answer = ada.post(f"/sessions/{session['session_id']}/chat", {"prompt_text": CANARY})
            if answer.status >= 400:
                assert_no_canary(answer, what)
            elif answer.json["errors"]:
                assert CANARY not in str(answer.json["errors"]), what
            statuses.append(answer.status)
        assert fake.requests
    monkeypatch.undo()
    forget()

    assert {502} <= set(statuses)
    overheard.check(kind)


def forget() -> None:
    configuration.clear_cache()
    bedrock.clear_cache()


# Events, messages and stream records


def shapes() -> list[Json]:
    """Of all that is read from events, messages and files: each has an adapter somewhere in our modules."""
    load_everything()
    modules = [
        module for name, module in sys.modules.items() if name.startswith(("practice.", "local_functions."))
    ]
    found = [each for module in modules for each in vars(module).values() if isinstance(each, TypeAdapter)]
    assert len(found) > 10
    return [each.json_schema() for each in {id(each): each for each in found}.values()]


def load_everything() -> None:
    for module in pkgutil.walk_packages(practice.__path__, "practice."):
        importlib.import_module(module.name)


def messages(schema: Json, user_id: int, ids: dict[str, int]) -> Iterator[Json]:
    """What fits, and what does not, field by field."""
    others = {"class_id": new_user_id(), "agent_id": new_user_id()}
    for whole in each_filled(schema, plant(ids | others | {"user_id": user_id})):
        if isinstance(whole, dict):
            yield whole
            yield {**whole, CANARY: CANARY}
            for name in whole:
                yield whole | {name: {CANARY: CANARY}}


JUNK: list[Any] = [
    CANARY,
    [CANARY],
    {CANARY: CANARY},
    {"sweep": CANARY},
    {"version": CANARY, "user_id": CANARY},
]


def invoke(stack: Stack, function: str, event: Json, output: Overheard) -> Any:
    """What leaves a handler is logged by the runtime, trace and all."""
    try:
        return stack.invoker.invoke(function, event)
    except FunctionError as error:
        output.write(f"{error} {error.trace}")
        return None


def sqs_event(*bodies: str) -> Json:
    return {
        "Records": [
            {"messageId": f"message-{number}", "body": body, "attributes": {"SentTimestamp": "1767763916000"}}
            for number, body in enumerate(bodies)
        ]
    }


def triggered(kind: str) -> list[str]:
    """The functions that the template starts by queues, rules or the stream."""
    found = getattr(read_template(), kind)
    return sorted({each.function for each in found if each.function})


def reasons(stack: Stack) -> list[str]:
    """Of the dead letters."""
    return [json.dumps([each["attributes"], each["reason"]]) for each in stack.state["dead_letters"]]


@pytest.mark.parametrize("function", triggered("queue_triggers"))
def test_a_message_leaves_no_text_in_the_logs(
    function: str, stack: Stack, another_learner: Callable[[], Learner], overheard: Overheard
) -> None:
    account = Account(another_learner(), CANARY)
    user_id = account.owner.user_id
    taken = [each for schema in shapes() for each in messages(schema, user_id, account.ids)]
    bodies = [CANARY, f'{{"{CANARY}', "[" * 100_000 + CANARY, *map(json.dumps, JUNK + taken)]

    for start in range(0, len(bodies), 10):
        answer = invoke(stack, function, sqs_event(*bodies[start : start + 10]), overheard)
        assert CANARY not in str(answer)

    assert not [each for each in reasons(stack) if CANARY in each]
    overheard.check(function)


def test_an_event_leaves_no_text_in_the_logs(
    stack: Stack, another_learner: Callable[[], Learner], overheard: Overheard
) -> None:
    account = Account(another_learner(), CANARY)

    for function in triggered("rules"):
        for model in TAKEN:
            for detail in (*messages(model.model_json_schema(), account.owner.user_id, {}), *JUNK):
                event = {"id": "1", "detail-type": model.__name__, "detail": detail}
                answer = invoke(stack, function, event, overheard)
                assert CANARY not in str(answer)

    assert not [each for each in reasons(stack) if CANARY in each]
    overheard.check("events")


def test_a_record_of_the_stream_leaves_no_text_in_the_logs(
    stack: Stack,
    another_learner: Callable[[], Learner],
    items_of: Callable[[Learner], dict[tuple[str, str], Any]],
    overheard: Overheard,
) -> None:
    account = Account(another_learner(), CANARY)
    [function] = triggered("stream_triggers")
    overheard.truncate(0)

    for item in items_of(account.owner).values():
        image = json.loads(json.dumps(item, default=lambda packed: b64encode(packed).decode()))
        keys = {name: image[name] for name in ("pk", "sk")}
        for name in image:
            for value in ({"S": CANARY}, {"N": CANARY}, {"B": CANARY}, {"S": json.dumps({CANARY: CANARY})}):
                broken = image | {name: value}
                changes: list[tuple[str, Json]] = [
                    ("INSERT", {"NewImage": broken}),
                    ("REMOVE", {"OldImage": broken}),
                    ("MODIFY", {"OldImage": image, "NewImage": broken}),
                    (CANARY, {CANARY: broken}),
                ]
                records = [
                    {"eventName": kind, "dynamodb": {"Keys": keys, "SequenceNumber": "1", **change}}
                    for kind, change in changes
                ]
                answer = invoke(stack, function, {"Records": records}, overheard)
                assert CANARY not in str(answer)

    assert not [each for each in reasons(stack) if CANARY in each]
    overheard.check(function)


def test_what_is_published_on_the_bus_holds_no_text(
    stack: Stack, another_learner: Callable[[], Learner], overheard: Overheard
) -> None:
    """With every function at work on it."""
    delivered = deliveries.of(stack)
    account = Account(another_learner(), CANARY)
    for endpoint in sorted(ENDPOINTS, key=lambda each: each.method == "DELETE"):
        raw = a_raw_body(endpoint, account)
        account.owner.ask(endpoint.method, account.target(endpoint), raw=raw)
    delivered.run()

    events = delivered.published(account.owner.user_id)

    assert {each["detail-type"] for each in events} >= {"SessionCreated", "TurnCompleted", "ExampleCreated"}
    assert CANARY not in json.dumps(events)
    overheard.check("the whole stack")


def test_a_library_is_as_quiet_at_debug_as_ever() -> None:
    """LOG_LEVEL is the level of our own logger: botocore's own at that level would tell whole requests."""
    program = (
        "import logging; from tools.openapi import endpoints; endpoints(); from practice.runtime.log import logger\n"
        "assert logger.log_level == logging.DEBUG\n"
        "for name, each in logging.root.manager.loggerDict.items():\n"
        "    if isinstance(each, logging.Logger) and each.name != logger.name:\n"
        "        assert each.getEffectiveLevel() >= logging.WARNING or not each.handlers, name\n"
        "print(logging.getLogger('botocore').getEffectiveLevel(), logging.root.level)"
    )
    environment = os.environ | {
        "LOG_LEVEL": "DEBUG",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "layers" / "practice")]),
    }
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(logging.WARNING)] * 2


def test_a_model_name_that_came_in_a_file_leaves_no_text_in_the_logs(
    stack: Stack, another_learner: Callable[[], Learner], overheard: Overheard
) -> None:
    """Elsewhere models are named by the catalogue. Events of turns name them, as the contract does."""
    delivered = deliveries.of(stack)
    account, importing = Account(another_learner(), "text"), another_learner()
    file = account.owner.get("/export").body.replace(account.model_name.encode(), CANARY.encode())
    made(importing.post("/import", raw=file, headers={"content-type": "application/x-ndjson"}), 201)
    [session] = importing.get("/sessions").json["items"]
    importing.patch(f"/sessions/{session['session_id']}", {"title": None})

    importing.add_response(session)
    importing.post(f"/sessions/{session['session_id']}/chat", {"prompt_text": "Why?"})
    delivered.run()

    assert CANARY in {each["model_name"] for each in importing.models_of(session)}
    events = delivered.published(importing.user_id)
    named = [
        name
        for each in events
        for result in each["detail"].get("results", ())
        for name in [result.pop("model_name")]
    ]
    assert CANARY in named
    assert CANARY not in json.dumps(events)
    overheard.check("a file")
