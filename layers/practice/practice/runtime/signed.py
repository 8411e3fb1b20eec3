"""Single signed requests to AWS services that a process asks once.

A botocore client for each would cost a cold start a tenth of its time.
"""

import json
from typing import Any, Final
from urllib.parse import quote

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.configprovider import ConfiguredEndpointProvider
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
    request = AWSRequest(
        "POST", endpoint(service, config().region) + "/", data=json.dumps(body), headers=headers
    )
    SigV4Auth(_credentials(), service, config().region).add_auth(request)
    answer: dict[str, Any] = json.loads(_send(service, request))
    return answer


def get_object(bucket: str, key: str) -> bytes:
    """An object of S3. Raises StoreUnavailable."""
    request = AWSRequest("GET", f"{endpoint('s3', config().region)}/{quote(bucket)}/{quote(key)}")
    S3SigV4Auth(_credentials(), "s3", config().region).add_auth(request)
    return _send("s3", request)


def endpoint(service: str, region: str) -> str:
    """As botocore finds it: what is configured (AWS_ENDPOINT_URL), else the host in the region's partition."""
    session = aws.session()
    configured = ConfiguredEndpointProvider(session.full_config, session.get_scoped_config(), service)
    if url := configured.provide():
        return str(url).rstrip("/")
    partition = session.get_partition_for_region(region)
    [suffix] = [
        each["outputs"]["dnsSuffix"]
        for each in session.get_data("partitions")["partitions"]
        if each["id"] == partition
    ]
    return f"https://{service}.{region}.{suffix}"


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
