"""What a template deploys, as far as the local stack serves it: functions, routes, triggers, table, queues, buckets."""

import json
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local.intrinsics import ACCOUNT, NO_VALUE, REGION, STACK, Evaluator, TemplateError, translate
from local.patterns import check

log = logging.getLogger("local.template")

ARN_SERVICES = {
    "AWS::DynamoDB::Table": "dynamodb",
    "AWS::Events::EventBus": "events",
    "AWS::Lambda::Function": "lambda",
    "AWS::SNS::Topic": "sns",
    "AWS::SQS::Queue": "sqs",
    "AWS::SecretsManager::Secret": "secretsmanager",
}
NAME_PROPERTIES = {
    "AWS::DynamoDB::Table": "TableName",
    "AWS::Events::EventBus": "Name",
    "AWS::S3::Bucket": "BucketName",
    "AWS::SQS::Queue": "QueueName",
    "AWS::SecretsManager::Secret": "Name",
    "AWS::Lambda::Function": "FunctionName",
}


@dataclass(frozen=True)
class Route:
    method: str
    path: str
    function: str

    @property
    def key(self) -> str:
        return self.path if self.path == "$default" else f"{self.method} {self.path}"


@dataclass(frozen=True)
class QueueTrigger:
    function: str
    queue: str
    batch_size: int
    reports_failures: bool
    filters: list[dict[str, Any]]
    concurrency: int
    """How many batches are worked on at the same time, where it is declared; else 0."""


@dataclass(frozen=True)
class StreamTrigger:
    function: str
    table: str
    batch_size: int
    bisects: bool
    attempts: int | None
    """None: a failing batch is tried until it succeeds."""
    reports_failures: bool
    on_failure: str | None
    filters: list[dict[str, Any]]


@dataclass(frozen=True)
class Rule:
    bus: str
    pattern: dict[str, Any]
    function: str


@dataclass(frozen=True)
class Queue:
    name: str
    logical_id: str
    visibility: int
    delay: int
    dead_letters: str | None
    max_receives: int | None


@dataclass(frozen=True)
class Function:
    name: str
    """The folder's name: the operation."""
    logical_id: str
    physical_name: str
    folder: Path
    handler: str
    timeout: float
    memory: int
    environment: dict[str, str]
    retries: int
    on_failure: str | None


@dataclass(frozen=True)
class Cors:
    origins: list[str] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)
    exposed: list[str] = field(default_factory=list)
    max_age: int | None = None
    credentials: bool = False


class Template:
    """One template and the stacks nested in it, with local values for everything that AWS would fill in."""

    def __init__(self, path: Path, parameters: Mapping[str, str] | None = None) -> None:
        self.root = path.resolve().parent
        document = translate(path, parameters or {})
        self._declared: Mapping[str, Any] = document["Resources"]
        self._outputs: Mapping[str, Any] = document.get("Outputs") or {}
        self._value = Evaluator(document, parameters or {}, self._reference, self._attribute)
        self._stacks: dict[str, Template] = {}
        self.functions: dict[str, Function] = {}
        for function in self._functions():
            if self.functions.setdefault(function.name, function) is not function:
                raise TemplateError(f"two functions have the folder {function.name}")
        self.queues = {queue.name: queue for queue in self._queues()}
        self.routes = list(self._routes())
        self._live_routes = list(self._read_live_routes())
        self.queue_triggers: list[QueueTrigger] = []
        self.stream_triggers: list[StreamTrigger] = []
        self.rules: list[Rule] = []
        for _, mapping in self._of("AWS::Lambda::EventSourceMapping"):
            self._read_mapping(mapping)
        for name, rule in self._of("AWS::Events::Rule"):
            self._read_rule(name, rule)
        self.cors = self._cors()
        self.tables: list[dict[str, Any]] = [
            table | {"TableName": self._name(name)} for name, table in self._of("AWS::DynamoDB::Table")
        ]
        self.buckets: dict[str, dict[str, Any]] = {
            self._name(name): bucket for name, bucket in self._of("AWS::S3::Bucket")
        }
        self.secrets = [self._name(name) for name, _ in self._of("AWS::SecretsManager::Secret")]
        self.buses = ["default", *(self._name(name) for name, _ in self._of("AWS::Events::EventBus"))]
        for name, _ in self._of("AWS::CloudFormation::Stack"):
            self._include(self._stack(name))

    @property
    def live_routes(self) -> list[Route]:
        """Of the WebSocket API; a route's key is its path. A nested stack is given the functions that its routes call."""
        return [Route("", key, self._called(uri)) for key, uri in self._live_routes]

    @property
    def table(self) -> dict[str, Any]:
        """The one table's properties, as CloudFormation spells them."""
        if len(self.tables) != 1:
            raise TemplateError(f"the local stack serves one table, the template has {len(self.tables)}")
        return self.tables[0]

    @property
    def environment(self) -> dict[str, str]:
        """The variables of all functions together, which one process must share."""
        merged: dict[str, str] = {}
        for function in self.functions.values():
            for name, value in function.environment.items():
                if merged.setdefault(name, value) != value:
                    raise TemplateError(
                        f"{name} differs between functions (in {function.name}): one process cannot hold both"
                    )
        return merged

    def output(self, name: str) -> Any:
        return self._value(self._outputs[name]["Value"])

    def _of(self, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """The resources of a type whose condition holds, with their properties."""
        for name, resource in self._declared.items():
            if resource["Type"] == kind and self._value.condition_of(resource):
                yield name, self._value(resource.get("Properties") or {})

    def _stack(self, logical_id: str) -> "Template":
        """A nested stack, from the file that is packaged for it."""
        if logical_id not in self._stacks:
            nested = self._value(self._declared[logical_id]["Properties"])
            path = self.root / str(nested["TemplateURL"])
            if not path.is_file():
                raise TemplateError(f"{logical_id} has no template at {path}")
            given = {name: _text(value) for name, value in (nested.get("Parameters") or {}).items()}
            self._stacks[logical_id] = Template(path, given)
        return self._stacks[logical_id]

    def _include(self, nested: "Template") -> None:
        self.functions |= nested.functions
        self.queues |= nested.queues
        self.buckets |= nested.buckets
        for name in (
            "routes",
            "_live_routes",
            "queue_triggers",
            "stream_triggers",
            "rules",
            "tables",
            "secrets",
            "buses",
        ):
            getattr(self, name).extend(getattr(nested, name))

    def _name(self, logical_id: str) -> str:
        resource = self._declared[logical_id]
        given = (resource.get("Properties") or {}).get(NAME_PROPERTIES.get(resource["Type"], ""), NO_VALUE)
        name = self._value(given)
        if name is NO_VALUE or not name:
            name = f"{STACK}-{logical_id}"
        return str(name).lower() if resource["Type"] == "AWS::S3::Bucket" else str(name)

    def _reference(self, logical_id: str) -> Any:
        kind = self._kind(logical_id)
        if kind == "AWS::SQS::Queue":
            return queue_url(self._name(logical_id))
        if kind in ("AWS::SecretsManager::Secret", "AWS::SNS::Topic"):
            return self._attribute(logical_id, "Arn")
        if kind == "AWS::Lambda::Alias":
            alias = self._value(self._declared[logical_id]["Properties"])
            return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{alias['FunctionName']}:{alias['Name']}"
        return self._name(logical_id)

    def _attribute(self, logical_id: str, attribute: str) -> Any:
        kind, name = self._kind(logical_id), self._name(logical_id)
        if kind == "AWS::CloudFormation::Stack":
            return self._stack(logical_id).output(attribute.removeprefix("Outputs."))
        if attribute in ("Name", "QueueName"):
            return name
        if attribute == "QueueUrl":
            return queue_url(name)
        if kind == "AWS::S3::Bucket":
            return f"arn:aws:s3:::{name}"
        path = {
            "AWS::DynamoDB::Table": f"table/{name}" + ("/stream/local" if attribute == "StreamArn" else ""),
            "AWS::SecretsManager::Secret": f"secret:{name}",
            "AWS::Events::EventBus": f"event-bus/{name}",
            "AWS::Lambda::Function": f"function:{name}",
        }
        return f"arn:aws:{ARN_SERVICES.get(kind, 'local')}:{REGION}:{ACCOUNT}:{path.get(kind, name)}"

    def _kind(self, logical_id: str) -> str:
        if logical_id not in self._declared:
            raise TemplateError(f"the template has no resource or parameter {logical_id}")
        return str(self._declared[logical_id]["Type"])

    def _functions(self) -> Iterator[Function]:
        asynchronous = {
            invoked["FunctionName"]: invoked for _, invoked in self._of("AWS::Lambda::EventInvokeConfig")
        }
        for logical_id, own in self._of("AWS::Lambda::Function"):
            folder = self.root / own["Code"]["S3Key"]
            invoked = asynchronous.get(self._name(logical_id), {})
            failure = invoked.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination")
            yield Function(
                name=folder.name,
                logical_id=logical_id,
                physical_name=self._name(logical_id),
                folder=folder,
                handler=str(own["Handler"]),
                timeout=float(own.get("Timeout", 3)),
                memory=int(own.get("MemorySize", 128)),
                environment={
                    name: _text(value)
                    for name, value in own.get("Environment", {}).get("Variables", {}).items()
                },
                retries=int(invoked.get("MaximumRetryAttempts", 2)),
                on_failure=_last_part(failure or own.get("DeadLetterConfig", {}).get("TargetArn")),
            )

    def _called(self, arn: str) -> str:
        """The function that an ARN or a name means, whatever alias it is called by."""
        physical_name = re.split("[:/]", arn.rpartition(":function:")[2], maxsplit=1)[0]
        for function in self.functions.values():
            if function.physical_name == physical_name:
                return function.name
        raise TemplateError(f"the template has no function {arn}")

    def _queues(self) -> Iterator[Queue]:
        for logical_id, declared in self._of("AWS::SQS::Queue"):
            redrive = declared.get("RedrivePolicy", {})
            yield Queue(
                name=self._name(logical_id),
                logical_id=logical_id,
                visibility=int(declared.get("VisibilityTimeout", 30)),
                delay=int(declared.get("DelaySeconds", 0)),
                dead_letters=_last_part(redrive.get("deadLetterTargetArn")),
                max_receives=int(redrive["maxReceiveCount"]) if redrive else None,
            )

    def _routes(self) -> Iterator[Route]:
        for _, api in self._of("AWS::ApiGatewayV2::Api"):
            for path, operations in api.get("Body", {}).get("paths", {}).items():
                for method, operation in operations.items():
                    integration = operation.get("x-amazon-apigateway-integration")
                    if integration:
                        named = "ANY" if method == "x-amazon-apigateway-any-method" else method.upper()
                        shown = "$default" if path == "/$default" else path
                        yield Route(named, shown, self._called(integration["uri"]))

    def _read_live_routes(self) -> Iterator[tuple[str, str]]:
        integrations = {self._name(name): each for name, each in self._of("AWS::ApiGatewayV2::Integration")}
        for _, route in self._of("AWS::ApiGatewayV2::Route"):
            integration = integrations[str(route["Target"]).rpartition("/")[2]]
            yield str(route["RouteKey"]), str(integration["IntegrationUri"])

    def _read_mapping(self, mapping: Mapping[str, Any]) -> None:
        if mapping.get("Enabled") is False:
            return
        function, source = self._called(mapping["FunctionName"]), str(mapping["EventSourceArn"])
        reports = "ReportBatchItemFailures" in mapping.get("FunctionResponseTypes", [])
        filters = [
            json.loads(each["Pattern"]) for each in mapping.get("FilterCriteria", {}).get("Filters", [])
        ]
        for each in filters:
            check(each)
        if ":sqs:" in source:
            queue = source.rsplit(":", 1)[-1]
            self.queue_triggers.append(
                QueueTrigger(
                    function,
                    queue,
                    int(mapping.get("BatchSize", 10)),
                    reports,
                    filters,
                    int(mapping.get("ScalingConfig", {}).get("MaximumConcurrency", 0)),
                )
            )
        elif ":dynamodb:" in source:
            attempts = int(mapping.get("MaximumRetryAttempts", -1))
            failure = mapping.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination")
            self.stream_triggers.append(
                StreamTrigger(
                    function=function,
                    table=source.split("/")[1],
                    batch_size=int(mapping.get("BatchSize", 100)),
                    bisects=bool(mapping.get("BisectBatchOnFunctionError", False)),
                    attempts=None if attempts < 0 else attempts,
                    reports_failures=reports,
                    on_failure=_last_part(failure),
                    filters=filters,
                )
            )
        else:
            raise TemplateError(f"{function}: events of {source} are not known to the local stack")

    def _read_rule(self, name: str, rule: Mapping[str, Any]) -> None:
        if "EventPattern" not in rule:
            log.warning("%s: schedules do not fire on the local stack", name)
        elif rule.get("State") != "DISABLED":
            check(rule["EventPattern"])
            for target in rule["Targets"]:
                bus = str(rule.get("EventBusName") or "default").rsplit("/", 1)[-1]
                self.rules.append(Rule(bus, rule["EventPattern"], self._called(target["Arn"])))

    def _cors(self) -> Cors | None:
        for _, api in self._of("AWS::ApiGatewayV2::Api"):
            cors = api.get("Body", {}).get("x-amazon-apigateway-cors")
            if cors and not isinstance(cors, dict):
                raise TemplateError("SAM loses the CORS of the API: say it as x-amazon-apigateway-cors")
            if cors:
                age = cors.get("maxAge")
                return Cors(
                    origins=cors.get("allowOrigins", []),
                    methods=cors.get("allowMethods", []),
                    headers=cors.get("allowHeaders", []),
                    exposed=cors.get("exposeHeaders", []),
                    max_age=None if age is None else int(age),
                    credentials=_text(cors.get("allowCredentials", False)) == "true",
                )
        return None


def queue_url(name: str) -> str:
    return f"http://sqs.{REGION}.localhost/{ACCOUNT}/{name}"


def _last_part(arn: str | None) -> str | None:
    return arn.rsplit(":", 1)[-1] if arn else None


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
