"""The roles of template.yaml, held against every request to AWS that a function makes.

Nothing local refuses a request that a role does not allow, so these do, as AWS would; and what no request needed is told
at the end. A function signs its requests with its own name as access key.
"""

import http.client
import json
import re
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from local.aws import secret_arn
from local.data import TOKEN_SECRET
from local.http import Request, Response, json_response
from local.intrinsics import ACCOUNT, REGION, Evaluator, parse
from local.server import Server

CALLER = re.compile(r"Credential=([a-z_]+)/")
PARTITION = re.compile(r"\bpk = (:\w+)")
WRITES = {
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
}


# What Lambda asks for in a function's name, to read its queue or its stream.
POLLED = {
    "dynamodb:DescribeStream",
    "dynamodb:GetRecords",
    "dynamodb:GetShardIterator",
    "dynamodb:ListStreams",
    "sqs:DeleteMessage",
    "sqs:GetQueueAttributes",
    "sqs:ReceiveMessage",
}


class Use(NamedTuple):
    """One permission that a request needs."""

    action: str
    resource: str
    keys: frozenset[str] = frozenset()


class Grant(NamedTuple):
    """One permission that a role gives; `family` is a pattern for leading keys."""

    action: str
    resource: str
    family: str = "*"


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
        return (
            use.action in self.actions
            and use.resource in self.resources
            and all(any(fnmatchcase(key, family) for family in self.families) for key in use.keys)
        )


class Roles:
    def __init__(self, template: Path) -> None:
        document = parse(template.read_text())
        value = Evaluator(
            document, {"TokenSecretArn": secret_arn(TOKEN_SECRET)}, str, lambda name, attribute: name
        )
        resources: Mapping[str, Any] = document["Resources"]
        self._statements: dict[str, list[Statement]] = {}
        for resource in resources.values():
            if resource["Type"] != "AWS::Serverless::Function":
                continue
            role = resources[value(resource["Properties"]["Role"])]["Properties"]
            managed = [resources[name]["Properties"] for name in value(role["ManagedPolicyArns"])]
            policies = [value(policy["PolicyDocument"]) for policy in [*role.get("Policies", []), *managed]]
            name = Path(resource["Properties"]["CodeUri"]).name
            self._statements[name] = [_statement(each) for policy in policies for each in policy["Statement"]]
        self._used: set[tuple[str, Grant]] = set()
        self.refused: list[str] = []

    def allow(self, function: str, operation: str, request: Mapping[str, Any]) -> bool:
        service, _, action = operation.partition(":")
        uses = list(USES[service](action, request))
        statements = self._statements[function]
        for use in uses:
            if not any(statement.allows(use) for statement in statements):
                self.refused.append(
                    f"{function}: {use.action} on {use.resource} {', '.join(sorted(use.keys))}"
                )
                return False
        for use in uses:
            for statement in statements:
                self._used |= {
                    (function, grant)
                    for grant in statement.grants()
                    if (grant.action, grant.resource) == (use.action, use.resource)
                    and (not use.keys or any(fnmatchcase(key, grant.family) for key in use.keys))
                }
        return True

    def unused(self) -> list[str]:
        """Grants of the services above that no request needed."""
        return sorted(
            f"{function}: {grant.action} on {grant.resource} {grant.family}"
            for function, statements in self._statements.items()
            for statement in statements
            for grant in statement.grants()
            if grant.action.partition(":")[0] in USES
            and grant.action not in POLLED
            and (function, grant) not in self._used
        )


class Gate:
    """A proxy before an AWS endpoint that asks the roles."""

    def __init__(self, roles: Roles, service: str, endpoint: str) -> None:
        self._roles = roles
        self._service = service
        self._endpoint = urlsplit(endpoint)
        self._server = Server(self._answer, body_limit=lambda target: 1 << 26)
        self._server.start()

    @property
    def url(self) -> str:
        return self._server.url

    def close(self) -> None:
        self._server.close()

    def _answer(self, request: Request) -> Response:
        caller = CALLER.search(request.header("authorization") or "")
        assert caller, "a request without a function's name"
        action = (request.header("x-amz-target") or "").rpartition(".")[2]
        if not self._roles.allow(caller.group(1), f"{self._service}:{action}", json.loads(request.body)):
            text = f"{caller.group(1)} is not authorized to perform {self._service}:{action}"
            return json_response(
                400, {"__type": "com.amazon.coral.service#AccessDeniedException", "message": text}
            )
        assert self._endpoint.hostname
        connection = http.client.HTTPConnection(
            self._endpoint.hostname, self._endpoint.port or 80, timeout=60
        )
        try:
            sent = {
                name: text for name, text in request.headers if name.lower() not in ("host", "connection")
            }
            connection.request(request.method, self._endpoint.path or "/", request.body, sent)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        kept = [
            (name, text)
            for name, text in answer.getheaders()
            if name.lower().startswith(("content-type", "x-amz"))
        ]
        return Response(answer.status, kept, body)


def _statement(declared: Mapping[str, Any]) -> Statement:
    condition = declared.get("Condition", {}).get("ForAllValues:StringLike", {})
    return Statement(
        _list(declared["Action"]), _list(declared["Resource"]), condition.get("dynamodb:LeadingKeys", ["*"])
    )


def _list(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def _secret_uses(action: str, request: Mapping[str, Any]) -> Iterator[Use]:
    arn = str(request["SecretId"])
    yield Use(f"secretsmanager:{action}", arn if arn == secret_arn(TOKEN_SECRET) else _resource(arn))


def _queue_uses(action: str, request: Mapping[str, Any]) -> Iterator[Use]:
    yield Use(f"sqs:{action.removesuffix('Batch')}", _resource(str(request["QueueUrl"])))


def _bus_uses(action: str, request: Mapping[str, Any]) -> Iterator[Use]:
    for entry in request["Entries"]:
        bus = entry.get("EventBusName", "default").rsplit("/", 1)[-1]
        yield Use(f"events:{action}", f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/{bus}")


def _resource(name: str) -> str:
    """The local stack calls a resource by its name in the template, after that of the stack."""
    return name.rsplit("-", 1)[-1]


def _table_uses(action: str, request: Mapping[str, Any]) -> Iterator[Use]:
    table = "PracticeTable"
    if action == "Query":
        partition = PARTITION.search(request["KeyConditionExpression"])
        assert partition, request["KeyConditionExpression"]
        keys = frozenset([request["ExpressionAttributeValues"][partition.group(1)]["S"]])
        index = request.get("IndexName")
        yield Use("dynamodb:Query", f"{table}/index/{index}" if index else table, keys)
    elif action == "BatchGetItem":
        asked = [key for each in request["RequestItems"].values() for key in each["Keys"]]
        yield Use("dynamodb:BatchGetItem", table, frozenset(key["pk"]["S"] for key in asked))
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


def _leading_key(request: Mapping[str, Any]) -> frozenset[str]:
    key = request.get("Key") or request.get("Item")
    return frozenset([key["pk"]["S"]]) if key else frozenset()


USES: Mapping[str, Callable[[str, Mapping[str, Any]], Iterator[Use]]] = {
    "dynamodb": _table_uses,
    "secretsmanager": _secret_uses,
    "sqs": _queue_uses,
    "events": _bus_uses,
}
