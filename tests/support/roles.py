"""The roles of template.yaml as AWS reads them, and what each request of a function needs of them.

Every condition of the template holds here, and a resource is called by its logical id. A key stands for its family: what
`USER#7` needs is written `USER#*`.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from local.aws import PROVIDER_KEYS, secret_arn
from local.data import TOKEN_SECRET
from local.intrinsics import ACCOUNT, REGION, parse
from tools.expansion import deployed, grants

BEDROCK_MODEL: Final = "anthropic.claude-3-haiku-20240307-v1:0"
KNOWLEDGE_BASE: Final = "KB12345678"
PARAMETERS: Final = {
    "TokenSecretArn": secret_arn(TOKEN_SECRET),
    "ProviderSecretArn": secret_arn(PROVIDER_KEYS),
    "BedrockModelArns": f"arn:aws:bedrock:{REGION}::foundation-model/{BEDROCK_MODEL}",
    "KnowledgeBaseId": KNOWLEDGE_BASE,
}

POLLED: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "AWS::SQS::Queue": (
        ("sqs:ReceiveMessage", "{source}"),
        ("sqs:DeleteMessage", "{source}"),
        ("sqs:GetQueueAttributes", "{source}"),
    ),
    "AWS::DynamoDB::Table": (
        ("dynamodb:DescribeStream", "{source}"),
        ("dynamodb:GetRecords", "{source}"),
        ("dynamodb:GetShardIterator", "{source}"),
        ("dynamodb:ListStreams", "*"),
    ),
}
"""What Lambda asks for in a function's name to read its queue or its stream (its guide, "Using Lambda with Amazon SQS" and
"... with Amazon DynamoDB")."""

STARTED_BY: Final = {"AWS::Lambda::EventSourceMapping", "AWS::Lambda::EventInvokeConfig"}
"""What starts a function without a caller who waits, and says where its failures go."""

WITHOUT_RESOURCE: Final[Mapping[str, str]] = {
    "dynamodb:ListStreams": "It lists the streams of an account; IAM knows no resource for it."
}
"""The actions that are granted on `*`, and why they cannot be granted on less."""

WRITES: Final = {
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
}
SIGNATURE: Final = re.compile(r"([A-Za-z_]+)/\d{8}/[a-z0-9-]+/([a-z0-9-]+)/aws4_request")
PARTITION: Final = re.compile(r"\bpk = (:\w+)")


class Call(NamedTuple):
    """A signed request, as it goes over the wire."""

    method: str
    url: str
    headers: Mapping[str, str]
    """By names in lower case."""
    body: bytes

    @property
    def signature(self) -> tuple[str, str] | None:
        """Whose access key signed it, and for which service; None when it is no request to AWS."""
        query = dict(parse_qsl(urlsplit(self.url).query))
        signed = SIGNATURE.search(query.get("X-Amz-Credential") or self.headers.get("authorization", ""))
        return (signed[1], signed[2]) if signed else None


class Use(NamedTuple):
    """One permission that a request needs."""

    action: str
    resource: str
    families: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return " ".join([f"{self.action} on {self.resource}", *sorted(self.families)])


class Grant(NamedTuple):
    """One permission that a role gives, for keys of one family."""

    action: str
    resource: str
    family: str = "*"

    def __str__(self) -> str:
        return f"{self.action} on {self.resource} {self.family}".removesuffix(" *")


class Statement(NamedTuple):
    actions: list[str]
    resources: list[str]
    families: list[str]

    def grants(self) -> Iterator[Grant]:
        for action in self.actions:
            for resource in self.resources:
                for family in self.families:
                    yield Grant(action, resource, family)

    def allows(self, use: Use) -> bool:
        """The keys of one request must all match the same statement."""
        return (
            use.action in self.actions
            and use.resource in self.resources
            and all(any(fnmatchcase(key, family) for family in self.families) for key in use.families)
        )


class Roles:
    """`statements` are each function's, `standing` what Lambda itself does in its name, whatever the function does."""

    def __init__(self, template: Path) -> None:
        document = parse(template.read_text())
        self._resources: Mapping[str, Any] = document["Resources"]
        whole = deployed(PARAMETERS, lambda name: (template.parent / name).read_text(), attribute=_attribute)
        self.statements: dict[str, list[Statement]] = {}
        self.standing: dict[str, set[Use]] = {}
        for logical_id, resource in self._resources.items():
            if resource["Type"] != "AWS::Serverless::Function":
                continue
            name = Path(resource["Properties"]["CodeUri"]).name
            role = whole.resources[logical_id]["Properties"]["Role"]
            assert role == f"{logical_id}Role", logical_id
            self.statements[name] = [
                Statement([grant.action], [grant.resource], sorted(grant.families))
                for grant in grants(role, whole.resources)
            ]
            self.standing[name] = set(_standing(whole.resources, logical_id))

    def uses(self, call: Call) -> list[Use]:
        """What a request to AWS needs."""
        assert call.signature
        service = call.signature[1]
        return list(USES[service](self._resources, call))

    def uses_of_absence(self, call: Call) -> list[Use]:
        """To hear that there is no such file, and not that it is forbidden, takes the right to list its bucket."""
        return [
            Use("s3:ListBucket", use.resource.removesuffix("/*"))
            for use in self.uses(call)
            if use.action == "s3:GetObject"
        ]

    def refused(self, function: str, uses: Iterable[Use]) -> list[Use]:
        statements = self.statements[function]
        return [use for use in uses if not any(statement.allows(use) for statement in statements)]

    def unneeded(self, function: str, uses: Iterable[Use]) -> list[Grant]:
        """What the role gives and neither these uses nor Lambda itself need."""
        needed = {*uses, *self.standing[function]}
        return [
            grant
            for statement in self.statements[function]
            for grant in statement.grants()
            if not any(_needs(use, grant) for use in needed)
        ]


def _needs(use: Use, grant: Grant) -> bool:
    return (use.action, use.resource) == (grant.action, grant.resource) and (
        not use.families or any(fnmatchcase(key, grant.family) for key in use.families)
    )


def _attribute(logical_id: str, attribute: str) -> str:
    return logical_id if attribute == "Arn" else f"{logical_id}.{attribute}"


def _standing(resources: Mapping[str, Any], function: str) -> Iterator[Use]:
    yield Use("logs:CreateLogStream", "FunctionLogs")
    yield Use("logs:PutLogEvents", "FunctionLogs")
    for resource in resources.values():
        properties = resource.get("Properties", {})
        called = str(properties.get("FunctionName", "")).removesuffix("Aliaslive")
        if called != function or resource["Type"] not in STARTED_BY:
            continue
        if source := properties.get("EventSourceArn"):
            for action, named in POLLED[resources[source.partition(".")[0]]["Type"]]:
                yield Use(action, named.format(source=source))
        if failure := properties.get("DestinationConfig"):
            yield Use("sqs:SendMessage", failure["OnFailure"]["Destination"])


def _family(key: str) -> str:
    family, separator, _ = key.partition("#")
    return f"{family}{separator}*" if separator else key


def _local(name: str) -> str:
    """The local stack calls a resource by its name in the template, after that of the stack."""
    return name.rsplit("-", 1)[-1]


def _action(call: Call) -> str:
    return call.headers["x-amz-target"].rpartition(".")[2]


Resources = Mapping[str, Any]


def _secret_uses(_: Resources, call: Call) -> Iterator[Use]:
    arn = str(json.loads(call.body)["SecretId"])
    yield Use(
        f"secretsmanager:{_action(call)}",
        arn if arn in PARAMETERS.values() else _local(arn),
    )


def _queue_uses(_: Resources, call: Call) -> Iterator[Use]:
    url = str(json.loads(call.body)["QueueUrl"])
    yield Use(f"sqs:{_action(call).removesuffix('Batch')}", _local(url))


def _bus_uses(_: Resources, call: Call) -> Iterator[Use]:
    for entry in json.loads(call.body)["Entries"]:
        bus = entry.get("EventBusName", "default").rsplit("/", 1)[-1]
        yield Use(f"events:{_action(call)}", f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/{bus}")


def _bedrock_uses(_: Resources, call: Call) -> Iterator[Use]:
    kind, name, verb = unquote(urlsplit(call.url).path).strip("/").split("/")
    if kind == "model":
        # Which models may be invoked is the deployment's parameter; tests configure many.
        action = {"converse": "InvokeModel", "converse-stream": "InvokeModelWithResponseStream"}[verb]
        yield Use(f"bedrock:{action}", PARAMETERS["BedrockModelArns"])
    else:
        assert (kind, verb) == ("knowledgebases", "retrieve"), call.url
        yield Use("bedrock:Retrieve", f"arn:aws:bedrock:{REGION}:{ACCOUNT}:knowledge-base/{name}")


def _bucket_uses(resources: Resources, call: Call) -> Iterator[Use]:
    url = urlsplit(call.url)
    name, _, key = unquote(url.path).partition("/s3/")[2].partition("/")
    [bucket] = [each for each in resources if each.lower() == _local(name)]
    query = dict(parse_qsl(url.query, keep_blank_values=True))
    match call.method:
        case "GET" if not key and "list-type" in query:
            yield Use("s3:ListBucket", bucket)
        case "GET" | "HEAD" if key:
            yield Use("s3:GetObject", f"{bucket}/*")
        case "PUT" | "POST" if key:  # a multipart upload is the same right
            yield Use("s3:PutObject", f"{bucket}/*")
        case "DELETE" if key and "uploadId" in query:
            yield Use("s3:AbortMultipartUpload", f"{bucket}/*")
        case "DELETE" if key:
            yield Use("s3:DeleteObject", f"{bucket}/*")
        case _:
            raise AssertionError(f"no action is known for {call.method} {call.url}")


def _table_uses(_: Resources, call: Call) -> Iterator[Use]:
    action, request, table = _action(call), json.loads(call.body), "PracticeTable"
    if action == "Query":
        partition = PARTITION.search(request["KeyConditionExpression"])
        assert partition, request["KeyConditionExpression"]
        keys = frozenset([_family(request["ExpressionAttributeValues"][partition.group(1)]["S"])])
        index = request.get("IndexName")
        yield Use("dynamodb:Query", f"{table}/index/{index}" if index else table, keys)
    elif action == "BatchGetItem":
        asked = [key for each in request["RequestItems"].values() for key in each["Keys"]]
        yield Use("dynamodb:BatchGetItem", table, frozenset(_family(key["pk"]["S"]) for key in asked))
    elif action == "BatchWriteItem":
        written = [one for each in request["RequestItems"].values() for one in each]
        leading = [_leading_key(one.get("PutRequest") or one["DeleteRequest"]) for one in written]
        yield Use("dynamodb:BatchWriteItem", table, frozenset().union(*leading))
    elif action == "TransactWriteItems":
        for each in request["TransactItems"]:
            [(kind, one)] = each.items()
            yield Use(f"dynamodb:{WRITES[kind]}", table, _leading_key(one))
    else:
        yield Use(f"dynamodb:{action}", table, _leading_key(request))


def _connection_uses(_: Resources, call: Call) -> Iterator[Use]:
    assert "/@connections/" in unquote(call.url), call.url
    resource = f"LiveApi/live/{call.method}/@connections/*"
    yield Use("execute-api:ManageConnections", f"arn:aws:execute-api:{REGION}:{ACCOUNT}:{resource}")


def _leading_key(request: Mapping[str, Any]) -> frozenset[str]:
    key = request.get("Key") or request.get("Item")
    return frozenset([_family(key["pk"]["S"])]) if key else frozenset()


USES: Final[Mapping[str, Callable[[Resources, Call], Iterator[Use]]]] = {
    "bedrock": _bedrock_uses,
    "dynamodb": _table_uses,
    "events": _bus_uses,
    "execute-api": _connection_uses,
    "s3": _bucket_uses,
    "secretsmanager": _secret_uses,
    "sqs": _queue_uses,
}
