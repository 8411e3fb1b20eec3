"""The resources of the template in a deployment: a stack of an AWS account, or the local stack."""

import json
from dataclasses import dataclass
from functools import cache
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlsplit

import botocore.session
from botocore.config import Config

from local.aws import PREFIX
from local.intrinsics import REGION
from local.stack import read_template
from local.template import queue_url

ALIAS = "live"
"""The alias that every trigger invokes; a rollback moves it."""
ADAPTIVE = Config(retries={"mode": "adaptive", "total_max_attempts": 8})


class NotTaken(Exception):
    """A function raised an error, or reported its input as failed."""


class NotDeployed(Exception):
    """The stack does not have this resource."""


@dataclass(frozen=True)
class Stack:
    """A stack in AWS. CloudFormation provides the names; credentials and region are those of the shell."""

    name: str

    def physical(self, logical_id: str) -> str:
        """The physical id: the name of a function, the URL of a queue. Raises NotDeployed."""
        for each in _listed(self.name):
            if each["LogicalResourceId"] == logical_id:
                return str(each["PhysicalResourceId"])
        raise NotDeployed(f"{self.name} has no {logical_id}")

    @property
    def table(self) -> str:
        """The table that the functions use. After a restore it is not a resource of the stack until it is adopted."""
        values = {each["OutputKey"]: each["OutputValue"] for each in self._described()["Outputs"]}
        return str(values["TableName"])

    def all_of(self, kind: str) -> list[str]:
        """The physical names of all resources of a type."""
        return sorted(
            each["PhysicalResourceId"] for each in _listed(self.name) if each["ResourceType"] == kind
        )

    def parameter(self, name: str) -> str:
        values = {each["ParameterKey"]: each["ParameterValue"] for each in self._described()["Parameters"]}
        return str(values[name])

    def _described(self) -> dict[str, Any]:
        [stack] = self.client("cloudformation").describe_stacks(StackName=self.name)["Stacks"]
        return dict(stack)

    def client(self, service: str) -> Any:
        return _client(service)

    def invoke(self, logical_id: str, event: object) -> None:
        """Invokes the function and waits for it. Raises NotTaken."""
        answer = self.client("lambda").invoke(
            FunctionName=self.physical(logical_id), Qualifier=ALIAS, Payload=json.dumps(event).encode()
        )
        result = json.loads(answer["Payload"].read() or b"null")
        if "FunctionError" in answer or (result or {}).get("batchItemFailures"):
            raise NotTaken(f"{logical_id}: {answer.get('FunctionError', 'reported as failed')}")


@cache
def _client(service: str) -> Any:
    return botocore.session.get_session().create_client(service, config=ADAPTIVE)


@cache
def _listed(stack: str) -> list[dict[str, Any]]:
    pages = _client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=stack)
    return [each for page in pages for each in page["StackResourceSummaries"]]


template = cache(read_template)
"""The template; logical ids and references are the same in every deployment."""


@dataclass(frozen=True)
class LocalStack:
    """The local stack at this URL."""

    url: str

    def physical(self, logical_id: str) -> str:
        for queue in template().queues.values():
            if queue.logical_id == logical_id:
                return queue_url(queue.name)
        return logical_id

    @property
    def table(self) -> str:
        return str(template().table["TableName"])

    def parameter(self, name: str) -> str:
        defaults = {"EventBusName": "default", "CatalogueSource": "practice.catalogue"}
        return defaults[name]

    def client(self, service: str) -> Any:
        return _local_client(self.url, service)

    def invoke(self, logical_id: str, event: object) -> None:
        """Invokes the function through the trigger that the template declares. Raises NotTaken."""
        _ask(self.url, "POST", "/_local/events", json.dumps(event).encode())


@cache
def _local_client(url: str, service: str) -> Any:
    engine = _ask(url, "GET", "/_local/state")["engine"]["endpoint"]
    return botocore.session.Session().create_client(
        service,
        endpoint_url=engine if service.startswith("dynamodb") else f"{url}{PREFIX}{service}",
        region_name=REGION,
        aws_access_key_id="local",
        aws_secret_access_key="local",  # noqa: S106 (the local stack accepts any)
        # The sequence numbers of the engine are shorter than the minimum that botocore validates.
        config=Config(parameter_validation=service != "dynamodbstreams"),
    )


def _ask(url: str, method: str, path: str, body: bytes | None = None) -> Any:
    connection = HTTPConnection(urlsplit(url).netloc, timeout=60)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        answer = json.loads(response.read())
    except (OSError, HTTPException, ValueError) as error:
        raise NotDeployed(
            f"no local stack answers at {url} ({error}): start it with make run, or set STACK"
        ) from error
    finally:
        connection.close()
    if response.status != 200:
        raise NotTaken(str(answer.get("refused", response.status)))
    return answer


Deployed = Stack | LocalStack
