"""Single signed requests to AWS services that a process asks once.

A botocore client for each would cost a cold start a tenth of its time.
"""

import json
import os
from typing import Any, Final
from urllib.parse import quote

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ConnectionError as NoConnection
from botocore.exceptions import HTTPClientError
from botocore.httpsession import URLLib3Session

from practice.errors import StoreUnavailable
from practice.runtime import aws
from practice.runtime.config import config

TIMEOUT_SECONDS: Final = 3


def call(service: str, target: str, body: dict[str, Any]) -> dict[str, Any]:
    """An operation of a service that speaks AWS JSON 1.1. Raises StoreUnavailable."""
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": target}
    request = AWSRequest("POST", _endpoint(service) + "/", data=json.dumps(body), headers=headers)
    SigV4Auth(_credentials(), service, config().region).add_auth(request)
    answer: dict[str, Any] = json.loads(_send(service, request))
    return answer


def get_object(bucket: str, key: str) -> bytes:
    """An object of S3. Raises StoreUnavailable."""
    request = AWSRequest("GET", f"{_endpoint('s3')}/{quote(bucket)}/{quote(key)}")
    S3SigV4Auth(_credentials(), "s3", config().region).add_auth(request)
    return _send("s3", request)


def _endpoint(service: str) -> str:
    override = os.environ.get(f"AWS_ENDPOINT_URL_{_ENDPOINT_NAMES[service]}")
    return (override or f"https://{service}.{config().region}.amazonaws.com").rstrip("/")


_ENDPOINT_NAMES: Final = {"secretsmanager": "SECRETS_MANAGER", "ssm": "SSM", "s3": "S3"}


def _credentials() -> Any:
    credentials = aws.session().get_credentials()
    if credentials is None:
        raise StoreUnavailable("no AWS credentials")
    return credentials


def _send(service: str, request: AWSRequest) -> bytes:
    try:
        answer = URLLib3Session(timeout=TIMEOUT_SECONDS).send(request.prepare())
    except (NoConnection, HTTPClientError) as error:
        raise StoreUnavailable(f"{service}: {type(error).__name__}") from error
    if answer.status_code != 200:
        raise StoreUnavailable(f"{service} answered {answer.status_code}")
    content: bytes = answer.content
    return content
