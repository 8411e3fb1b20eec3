"""Stand-ins for the AWS services that the functions call, on the stack's port under /_local/aws/."""

import os
from collections.abc import Callable
from typing import Any, Protocol

from local.data import DataFolder
from local.http import Request, Response, json_response, read_json
from local.intrinsics import ACCOUNT, REGION

PREFIX = "/_local/aws/"
PROVIDER_KEYS = "practice-local-provider-keys"
"""A secret that is given in the environment, as `PROVIDER_KEYS`: keys of model providers, a JSON object."""


class ServiceError(Exception):
    """A refusal as the service itself would send it."""

    def __init__(self, code: str, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.code = code
        self.status = status


class Service(Protocol):
    def answer(self, request: Request) -> Response: ...


Operation = Callable[[dict[str, Any]], dict[str, Any]]


class JsonService:
    """A service of the AWS JSON protocols: the operation is named in a header."""

    def __init__(self, operations: dict[str, Operation]) -> None:
        self._operations = operations

    def answer(self, request: Request) -> Response:
        if not (request.header("content-type") or "").startswith("application/x-amz-json-"):
            return _refusal("SerializationException", "the content type is not JSON of AWS", 400)
        name = (request.header("x-amz-target") or "").rpartition(".")[2]
        operation = self._operations.get(name)
        if operation is None:
            return _refusal("UnknownOperationException", f"{name or 'no operation'} is not known here", 400)
        try:
            return json_response(200, operation(read_json(request.body or b"{}")))
        except ServiceError as error:
            return _refusal(error.code, str(error), error.status)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            return _refusal("SerializationException", f"malformed request: {error!r}", 400)


def _refusal(code: str, text: str, status: int) -> Response:
    return json_response(status, {"__type": code, "message": text})


def secrets_manager(data: DataFolder, names: list[str]) -> JsonService:
    def get_secret_value(request: dict[str, Any]) -> dict[str, Any]:
        name = str(request.get("SecretId", "")).rsplit(":", 1)[-1]
        if name not in (PROVIDER_KEYS, *names):
            raise ServiceError(
                "ResourceNotFoundException", "Secrets Manager can't find the specified secret."
            )
        value = os.environ.get("PROVIDER_KEYS", "{}") if name == PROVIDER_KEYS else data.secret(name)
        return {"ARN": secret_arn(name), "Name": name, "SecretString": value, "VersionStages": ["AWSCURRENT"]}

    return JsonService({"GetSecretValue": get_secret_value})


def secret_arn(name: str) -> str:
    return f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{name}"
