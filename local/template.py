"""What `template.yaml` declares, as the local stack needs it: functions, routes, triggers, table, queues."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local.intrinsics import ACCOUNT, NO_VALUE, REGION, STACK, Evaluator, TemplateError, parse
from local.patterns import check

ARN_SERVICES = {
    "AWS::DynamoDB::Table": "dynamodb",
    "AWS::Events::EventBus": "events",
    "AWS::Lambda::Function": "lambda",
    "AWS::SNS::Topic": "sns",
    "AWS::SQS::Queue": "sqs",
    "AWS::SecretsManager::Secret": "secretsmanager",
    "AWS::Serverless::Function": "lambda",
}
NAME_PROPERTIES = {
    "AWS::DynamoDB::Table": "TableName",
    "AWS::Events::EventBus": "Name",
    "AWS::S3::Bucket": "BucketName",
    "AWS::SQS::Queue": "QueueName",
    "AWS::SecretsManager::Secret": "Name",
    "AWS::Serverless::Function": "FunctionName",
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
    function: str | None = None
    queue: str | None = None


@dataclass(frozen=True)
class Schedule:
    function: str
    expression: str
    input: str | None


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
    """One template with local values for everything that AWS would fill in."""

    def __init__(self, path: Path, parameters: Mapping[str, str] | None = None) -> None:
        self.root = path.resolve().parent
        document = parse(path.read_text(encoding="utf-8"))
        self._globals: Mapping[str, Any] = document.get("Globals") or {}
        self._declared: Mapping[str, Any] = document["Resources"]
        self._value = Evaluator(document, parameters or {}, self._reference, self._attribute)
        self._resources = {
            name: resource
            for name, resource in self._declared.items()
            if "Condition" not in resource or self._value.condition(resource["Condition"])
        }
        self.functions: dict[str, Function] = {}
        for function in self._functions():
            if self.functions.setdefault(function.name, function) is not function:
                raise TemplateError(f"two functions have the folder {function.name}")
        self.queues = {q.name: q for q in self._queues()}
        self.routes: list[Route] = []
        self.queue_triggers: list[QueueTrigger] = []
        self.stream_triggers: list[StreamTrigger] = []
        self.rules: list[Rule] = []
        self.schedules: list[Schedule] = []
        self._read_triggers()
        for rule in self.rules:
            check(rule.pattern)
        self.cors = self._cors()
        self.tables: list[dict[str, Any]] = [
            self._value(r["Properties"]) | {"TableName": self._name(n)}
            for n, r in self._of("AWS::DynamoDB::Table")
        ]
        self.buckets: dict[str, dict[str, Any]] = {
            self._name(name): self._value(resource["Properties"])
            for name, resource in self._of("AWS::S3::Bucket")
        }
        self.secrets = [self._name(name) for name, _ in self._of("AWS::SecretsManager::Secret")]
        self.buses = ["default", *(self._name(name) for name, _ in self._of("AWS::Events::EventBus"))]

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

    def function_of(self, arn_or_name: str) -> str | None:
        name = arn_or_name.rsplit(":function:", 1)[-1]
        return next((f.name for f in self.functions.values() if f.physical_name == name), None)

    def _of(self, kind: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        return (
            (name, r | {"Properties": r.get("Properties") or {}})
            for name, r in self._resources.items()
            if r["Type"] == kind
        )

    def _name(self, logical_id: str) -> str:
        resource = self._declared[logical_id]
        given = (resource.get("Properties") or {}).get(NAME_PROPERTIES.get(resource["Type"], ""), NO_VALUE)
        name = self._value(given)
        if name is NO_VALUE or not name:
            name = f"{STACK}-{logical_id}"
        return str(name).lower() if resource["Type"] == "AWS::S3::Bucket" else str(name)

    def _reference(self, logical_id: str) -> Any:
        if logical_id not in self._declared:
            # What SAM generates (roles, versions, the implicit API) has a name and nothing else here.
            return f"{STACK}-{logical_id}"
        kind = self._declared[logical_id]["Type"]
        if kind == "AWS::SQS::Queue":
            return queue_url(self._name(logical_id))
        if kind in ("AWS::SecretsManager::Secret", "AWS::SNS::Topic"):
            return self._attribute(logical_id, "Arn")
        return self._name(logical_id)

    def _attribute(self, logical_id: str, attribute: str) -> Any:
        kind = self._declared[logical_id]["Type"] if logical_id in self._declared else ""
        name = self._name(logical_id) if kind else f"{STACK}-{logical_id}"
        if attribute in ("Name", "QueueName"):
            return name
        if attribute == "QueueUrl":
            return queue_url(name)
        if kind == "AWS::S3::Bucket":
            return f"arn:aws:s3:::{name}"
        prefix = f"arn:aws:{ARN_SERVICES.get(kind, 'local')}:{REGION}:{ACCOUNT}:"
        if kind == "AWS::DynamoDB::Table":
            return f"{prefix}table/{name}" + ("/stream/local" if attribute == "StreamArn" else "")
        if kind == "AWS::SecretsManager::Secret":
            return f"{prefix}secret:{name}"
        if kind == "AWS::Events::EventBus":
            return f"{prefix}event-bus/{name}"
        if kind == "AWS::Serverless::Function":
            return f"{prefix}function:{name}"
        return prefix + name

    def _functions(self) -> Iterator[Function]:
        shared: Mapping[str, Any] = self._globals.get("Function") or {}
        for logical_id, resource in self._of("AWS::Serverless::Function"):
            own = resource["Properties"]
            folder = self.root / self._value(own.get("CodeUri", shared.get("CodeUri", ".")))
            variables = {
                **(shared.get("Environment") or {}).get("Variables", {}),
                **(own.get("Environment") or {}).get("Variables", {}),
            }
            asynchronous = self._value(own.get("EventInvokeConfig", shared.get("EventInvokeConfig", {})))
            failure = asynchronous.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination")
            failure = failure or self._value(own.get("DeadLetterQueue", {})).get("TargetArn")
            yield Function(
                name=folder.name,
                logical_id=logical_id,
                physical_name=self._name(logical_id),
                folder=folder,
                handler=str(self._value(own.get("Handler", shared.get("Handler", "handler.lambda_handler")))),
                timeout=float(self._value(own.get("Timeout", shared.get("Timeout", 3)))),
                memory=int(self._value(own.get("MemorySize", shared.get("MemorySize", 128)))),
                environment={name: _text(value) for name, value in self._value(variables).items()},
                retries=int(asynchronous.get("MaximumRetryAttempts", 2)),
                on_failure=_last_part(failure),
            )

    def _queues(self) -> Iterator[Queue]:
        for logical_id, resource in self._of("AWS::SQS::Queue"):
            declared = self._value(resource["Properties"])
            redrive = declared.get("RedrivePolicy", {})
            yield Queue(
                name=self._name(logical_id),
                logical_id=logical_id,
                visibility=int(declared.get("VisibilityTimeout", 30)),
                delay=int(declared.get("DelaySeconds", 0)),
                dead_letters=_last_part(redrive.get("deadLetterTargetArn")),
                max_receives=int(redrive["maxReceiveCount"]) if redrive else None,
            )

    def _read_triggers(self) -> None:
        by_logical_id = {function.logical_id: function.name for function in self.functions.values()}
        for logical_id, resource in self._of("AWS::Serverless::Function"):
            for declared in (resource["Properties"].get("Events") or {}).values():
                self._read_trigger(
                    by_logical_id[logical_id], declared["Type"], self._value(declared.get("Properties") or {})
                )
        for _, resource in self._of("AWS::Events::Rule"):
            declared = self._value(resource["Properties"])
            for target in declared.get("Targets", []) if "EventPattern" in declared else []:
                function = self.function_of(target["Arn"])
                queue = None if function else _last_part(target["Arn"])
                self.rules.append(
                    Rule(_bus(declared.get("EventBusName")), declared["EventPattern"], function, queue)
                )

    def _read_trigger(self, function: str, kind: str, event: Mapping[str, Any]) -> None:
        if event.get("Enabled") is False or event.get("State") == "DISABLED":
            return
        reports = "ReportBatchItemFailures" in event.get("FunctionResponseTypes", [])
        filters = [_filter(f["Pattern"]) for f in event.get("FilterCriteria", {}).get("Filters", [])]
        if kind == "HttpApi":
            path = event.get("Path", "$default")
            method = str(event.get("Method", "ANY")).upper()
            self.routes.append(
                Route("ANY" if method in ("*", "X-AMAZON-APIGATEWAY-ANY-METHOD") else method, path, function)
            )
        elif kind == "SQS":
            queue = _last_part(event["Queue"])
            assert queue is not None
            self.queue_triggers.append(
                QueueTrigger(function, queue, int(event.get("BatchSize", 10)), reports, filters)
            )
        elif kind == "DynamoDB":
            table = str(event["Stream"]).split("/")[1]
            attempts = int(event.get("MaximumRetryAttempts", -1))
            failure = event.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination")
            self.stream_triggers.append(
                StreamTrigger(
                    function=function,
                    table=table,
                    batch_size=int(event.get("BatchSize", 100)),
                    bisects=bool(event.get("BisectBatchOnFunctionError", False)),
                    attempts=None if attempts < 0 else attempts,
                    reports_failures=reports,
                    on_failure=_last_part(failure),
                    filters=filters,
                )
            )
        elif kind in ("EventBridgeRule", "CloudWatchEvent"):
            self.rules.append(Rule(_bus(event.get("EventBusName")), event["Pattern"], function))
        elif kind in ("Schedule", "ScheduleV2"):
            expression = event.get("Schedule") or event.get("ScheduleExpression")
            self.schedules.append(Schedule(function, str(expression), event.get("Input")))
        else:
            raise TemplateError(f"{function}: events of type {kind} are not known to the local stack")

    def _cors(self) -> Cors | None:
        declared = (self._globals.get("HttpApi") or {}).get("CorsConfiguration")
        for _, resource in self._of("AWS::Serverless::HttpApi"):
            declared = resource["Properties"].get("CorsConfiguration", declared)
        cors = self._value(declared)
        if not cors:
            return None
        if cors is True:
            cors = {"AllowOrigins": ["*"]}
        elif not isinstance(cors, dict):
            cors = {"AllowOrigins": cors if isinstance(cors, list) else [cors]}
        age = cors.get("MaxAge")
        return Cors(
            origins=cors.get("AllowOrigins", []),
            methods=cors.get("AllowMethods", []),
            headers=cors.get("AllowHeaders", []),
            exposed=cors.get("ExposeHeaders", []),
            max_age=None if age is None else int(age),
            credentials=str(cors.get("AllowCredentials", "false")).lower() == "true",
        )


def queue_url(name: str) -> str:
    return f"http://sqs.{REGION}.localhost/{ACCOUNT}/{name}"


def _filter(pattern: str) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(pattern)
    check(parsed)
    return parsed


def _last_part(arn: str | None) -> str | None:
    return arn.rsplit(":", 1)[-1] if arn else None


def _bus(name: str | None) -> str:
    return (name or "default").rsplit("/", 1)[-1]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
