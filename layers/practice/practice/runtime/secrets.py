"""Secrets Manager, asked without a client of its own.

Building a second botocore client costs a cold start a tenth of its time; a signed GetSecretValue is one POST
(https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html, AWS JSON 1.1).
"""

import json
import os
import time
from typing import Final

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ConnectionError as NoConnection
from botocore.exceptions import HTTPClientError
from botocore.httpsession import URLLib3Session

from practice.errors import StoreUnavailable
from practice.runtime import aws
from practice.runtime.config import config
from practice.runtime.snapshots import clear_on_restore

LIFETIME_SECONDS: Final = 300.0
"""How long a rotated secret may go unnoticed."""

_cache: dict[str, tuple[float, str]] = {}


def secret(secret_id: str) -> str:
    """The string of a secret, cached for five minutes; the last known one serves while Secrets Manager does not answer.

    Raises StoreUnavailable when it never answered.
    """
    known = _cache.get(secret_id)
    if known and time.monotonic() - known[0] < LIFETIME_SECONDS:
        return known[1]
    try:
        value = _fetch(secret_id)
    except StoreUnavailable:
        if known is None:
            raise
        value = known[1]
    _cache[secret_id] = (time.monotonic(), value)
    return value


@clear_on_restore
def clear_cache() -> None:
    _cache.clear()


def _fetch(secret_id: str) -> str:
    region = config().region
    url = (
        os.environ.get("AWS_ENDPOINT_URL_SECRETS_MANAGER") or f"https://secretsmanager.{region}.amazonaws.com"
    )
    request = AWSRequest(
        "POST",
        url.rstrip("/") + "/",
        data=json.dumps({"SecretId": secret_id}),
        headers={
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": "secretsmanager.GetSecretValue",
        },
    )
    credentials = aws.session().get_credentials()
    if credentials is None:
        raise StoreUnavailable("no AWS credentials")
    SigV4Auth(credentials, "secretsmanager", region).add_auth(request)
    try:
        answer = URLLib3Session(timeout=3).send(request.prepare())
    except (NoConnection, HTTPClientError) as error:
        raise StoreUnavailable(f"Secrets Manager: {type(error).__name__}") from error
    if answer.status_code != 200:
        raise StoreUnavailable(f"Secrets Manager answered {answer.status_code}")
    value: str = json.loads(answer.content)["SecretString"]
    return value
