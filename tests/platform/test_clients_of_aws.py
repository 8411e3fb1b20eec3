"""Clients of AWS start faster than botocore's own and are the same: handlers, descriptions, endpoints, credentials."""

import importlib.util
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import botocore
import botocore.session
import pytest
from botocore.config import Config
from botocore.handlers import BUILTIN_HANDLERS
from botocore.loaders import Loader
from pydantic_core import from_json

from local.stack import ROOT
from practice.runtime import aws
from practice.runtime.config import config
from practice.runtime.services import DESCRIPTIONS, SERVICES
from tests.support.processes import SECONDS

REGION = "eu-central-1"
LIVE = "https://live.example.com/live"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [each for each in os.environ if each.startswith("AWS_ENDPOINT_URL")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "KEY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    forget()
    yield
    forget()


def forget() -> None:
    config.cache_clear()
    aws._session.cache_clear()


@pytest.fixture
def stock() -> Any:
    """An untouched session of boto3. `Any`, because its stubs list each service by a literal."""
    return boto3.Session("KEY", "secret")


@pytest.fixture(scope="module")
def reduced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a build writes, of the botocore that is installed here."""
    packages = tmp_path_factory.mktemp("packages")
    (packages / "botocore").symlink_to(Path(botocore.__file__).parent)
    script().reduce(packages)
    return packages / DESCRIPTIONS


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "reduce_descriptions", ROOT / "layers/reduce_descriptions.py"
    )
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def handlers(client: Any, event: str) -> list[str]:
    """In the order in which they are called, without the one of Powertools: it adds to a header wherever it stands."""
    emitter: Any = client.meta.events._emitter
    names = [
        getattr(each, "__qualname__", type(each).__name__) for each in emitter._handlers.prefix_search(event)
    ]
    names = [each for each in names if "add_powertools_feature" not in each]
    return (
        sorted(names) if event.startswith("creating-client-class") else names
    )  # each adds methods of its own


@pytest.mark.parametrize("service", SERVICES)
def test_a_client_has_the_handlers_of_botocores_own_client(stock: Any, service: str) -> None:
    ours = aws.client(service, Config(), REGION, LIVE)
    theirs = stock.client(service, REGION, endpoint_url=LIVE)
    name = theirs.meta.service_model.service_id.hyphenize()
    kinds = {each[0].partition(".")[0] for each in BUILTIN_HANDLERS} - {"docs"}
    kinds |= {"provide-client-params", "after-call", "response-received", "before-send", "needs-retry"}
    events = [
        f"{kind}.{name}{operation}"
        for kind in sorted(kinds)
        for operation in ("", *(f".{each}" for each in theirs.meta.service_model.operation_names))
    ]

    differing = {
        event: (handlers(ours, event), handlers(theirs, event))
        for event in events
        if handlers(ours, event) != handlers(theirs, event)
    }

    assert not differing
    assert any(handlers(theirs, event) for event in events)


def test_what_a_client_of_one_service_registers_is_registered_once() -> None:
    one, other = (aws.client("s3", Config(), REGION, LIVE) for _ in range(2))

    for event in ("before-parameter-build.s3.PutObject", "before-sign.s3.PutObject"):
        assert handlers(one, event) == handlers(other, event) != []


def test_a_client_has_its_handlers_when_the_session_was_made_anew_before_it(stock: Any) -> None:
    aws.client("dynamodb", Config(), REGION)
    aws._session.cache_clear()
    event = "before-parameter-build.s3.PutObject"

    assert (
        handlers(aws.client("s3", Config(), REGION), event)
        == handlers(stock.client("s3", REGION), event)
        != []
    )


def test_threads_that_make_their_first_clients_at_once_share_one_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second thread comes while the first one makes the session: it waits for it, and does not make its own."""
    made: list[Any] = []
    make = botocore.session.Session.__init__
    second = threading.Thread(target=lambda: made.append(aws.client("s3", Config(), REGION)))

    def slow(self: botocore.session.Session, *given: Any, **named: Any) -> None:
        make(self, *given, **named)
        if second.ident is None:
            second.start()
            second.join(timeout=0.2)

    monkeypatch.setattr(botocore.session.Session, "__init__", slow)

    made.append(aws.client("s3", Config(), REGION))
    second.join(timeout=SECONDS)

    one, other = made
    for event in ("before-parameter-build.s3.PutObject", "before-sign.s3.PutObject"):
        assert handlers(one, event) == handlers(other, event) != []


def test_the_reduced_descriptions_lack_documentation_and_nothing_else(reduced: Path) -> None:
    whole, small = aws._Files(), aws._Files()
    without = script().without_documentation
    names = sorted(path.relative_to(reduced).with_suffix("") for path in reduced.rglob("service-2.json"))

    assert {path.parts[0] for path in names} == set(SERVICES)
    for path in names:
        described = whole.load_file(f"{Loader.BUILTIN_DATA_PATH}/{path}")
        assert described["operations"]
        assert small.load_file(str(reduced / path)) == without(described)
    assert without({"members": {"documentation": {"shape": "Text", "documentation": "x"}}}) == {
        "members": {"documentation": {"shape": "Text", "documentation": ""}}
    }


@pytest.mark.parametrize("service", SERVICES)
def test_the_reduced_descriptions_lead_to_the_same_endpoints_and_signatures(
    stock: Any, service: str, reduced: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the client's own answer, since rules of the service and of the partition both have a say in it."""
    monkeypatch.setattr(aws, "_REDUCED", reduced)
    regions = [
        region
        for partition in stock.get_available_partitions()
        for region in stock.get_available_regions("dynamodb", partition, allow_non_regional=True)
        if region != "local"
    ]

    def endpoint_and_signer(client: Any) -> tuple[Any, ...]:
        signer = client._request_signer
        config = client.meta.config
        return (
            client.meta.endpoint_url,
            client.meta.partition,
            client.meta.region_name,
            signer.signature_version,
            signer.signing_name,
            signer._region_name,
            config.s3,
        )

    assert len(regions) > 30
    for region in [*regions, "eu-nowhere-1"][:: 1 if service == "dynamodb" else 6]:
        ours, theirs = aws.client(service, Config(), region), stock.client(service, region)
        assert endpoint_and_signer(ours) == endpoint_and_signer(theirs), region


CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "apigatewaymanagementapi": ("post_to_connection", {"ConnectionId": "c", "Data": b"{}"}),
    "bedrock-agent-runtime": (
        "retrieve",
        {"knowledgeBaseId": "ABCDEFGHIJ", "retrievalQuery": {"text": "why"}},
    ),
    "bedrock-runtime": (
        "converse",
        {"modelId": "m", "messages": [{"role": "user", "content": [{"text": "?"}]}]},
    ),
    "dynamodb": ("get_item", {"TableName": "t", "Key": {"pk": {"S": "1"}}}),
    "events": ("put_events", {"Entries": [{"Source": "s", "DetailType": "d", "Detail": "{}"}]}),
    "s3": ("put_object", {"Bucket": "bucket", "Key": "key", "Body": b"body"}),
    "sqs": ("send_message", {"QueueUrl": f"https://sqs.{REGION}.amazonaws.com/1/q", "MessageBody": "m"}),
}


class NotSentError(Exception):
    """In place of the network."""


EACH_TIME = {b"amz-sdk-invocation-id", b"amz-sdk-request", b"Authorization", b"User-Agent", b"X-Amz-Date"}


@pytest.mark.parametrize("service", SERVICES)
def test_a_client_with_the_reduced_descriptions_sends_the_same_request(
    stock: Any, service: str, reduced: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws, "_REDUCED", reduced)
    monkeypatch.delenv("_X_AMZN_TRACE_ID", raising=False)
    operation, given = CALLS[service]

    def sent(client: Any) -> tuple[Any, ...]:
        requests: list[Any] = []

        def refuse(request: Any, **_: Any) -> None:
            requests.append(request)
            raise NotSentError

        client.meta.events.register("before-send", refuse)
        with pytest.raises(NotSentError):
            getattr(client, operation)(**given)
        [request] = requests
        headers = {
            name.encode() if isinstance(name, str) else name: value for name, value in request.headers.items()
        }
        scope = bytes(str(request.headers["Authorization"]).partition(",")[0], "utf-8").split(b"/", 2)[-1]
        body = request.body if isinstance(request.body, bytes | str | None) else request.body.read()
        return (
            request.method,
            request.url,
            body,
            scope,
            {n: v for n, v in headers.items() if n not in EACH_TIME},
        )

    endpoint = LIVE if service == "apigatewaymanagementapi" else None
    assert sent(aws.client(service, Config(), REGION, endpoint)) == sent(
        stock.client(service, REGION, endpoint_url=endpoint)
    )


def test_a_link_to_a_file_is_signed_with_the_reduced_descriptions(
    stock: Any, reduced: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws, "_REDUCED", reduced)
    settings = Config(signature_version="s3v4", s3={"addressing_style": "path"})

    def parts(client: Any) -> tuple[str, list[str]]:
        address, _, query = client.generate_presigned_url(
            "get_object", {"Bucket": "b", "Key": "k"}
        ).partition("?")
        return address, sorted(each.partition("=")[0] for each in query.split("&"))

    ours = parts(aws.client("s3", settings, REGION))

    assert ours == parts(stock.client("s3", REGION, config=settings))
    assert ours[0] == f"https://s3.{REGION}.amazonaws.com/b/k"


def test_reduced_descriptions_are_read_where_they_exist(
    reduced: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[bytes] = []

    def parse(text: bytes) -> Any:
        read.append(text)
        return from_json(text)

    monkeypatch.setattr(aws, "from_json", parse)

    def parsed() -> int:
        read.clear()
        forget()
        aws.client("dynamodb", Config(), REGION)
        return sum(map(len, read))

    whole = parsed()
    monkeypatch.setattr(aws, "_REDUCED", reduced)

    assert parsed() < whole / 5


def test_a_client_takes_the_credentials_of_its_environment_and_a_snapshot_those_of_its_container(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    credentials = aws.session().get_credentials()
    assert credentials
    assert (credentials.access_key, credentials.method) == ("KEY", "env")

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "")
    forget()
    resolver = aws.session().get_component("credential_provider")
    assert "container-role" in [each.METHOD for each in resolver.providers]
