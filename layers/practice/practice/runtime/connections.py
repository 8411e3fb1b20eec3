"""Sends messages to live connections, and closes them."""

import time
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final

from botocore.config import Config as ClientConfig
from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnection

from practice.runtime import aws
from practice.runtime.config import config
from practice.runtime.log import count, logger

PAUSES: Final = (0.05, 0.2, 0.8)
"""Before a message that API Gateway throttled is sent again."""

CLIENT_CONFIG: Final = ClientConfig(
    connect_timeout=1,
    read_timeout=3,
    # None by botocore: after a lost answer the message may have been delivered.
    retries={"mode": "standard", "total_max_attempts": 1},
    parameter_validation=False,
    max_pool_connections=20,
)


class Gone(Exception):
    """The connection is closed."""


class Unclear(Exception):
    """The message may have been delivered or not."""


@lru_cache(maxsize=1)
def client() -> Any:
    return aws.client("apigatewaymanagementapi", CLIENT_CONFIG, endpoint=config().live_api_url)


def post(connection_id: str, message: str) -> None:
    """Delivers a message once. Raises Gone or Unclear."""
    for pause in (*PAUSES, None):
        try:
            client().post_to_connection(ConnectionId=connection_id, Data=message.encode())
        except (ClientError, NoConnection, HTTPClientError) as error:
            status = _status_of(error)
            if status == HTTPStatus.GONE:
                raise Gone from error
            if pause is None or not (status == HTTPStatus.TOO_MANY_REQUESTS or isinstance(error, _NOT_SENT)):
                raise Unclear(type(error).__name__) from error
            time.sleep(pause)
        else:
            count("live_messages")
            return


_NOT_SENT: Final = (EndpointConnectionError, ConnectTimeoutError)


def close(connection_id: str) -> None:
    """Closes a connection that may be closed already.

    Of one that cannot be closed now nothing is accepted either: it has no item any more.
    """
    try:
        client().delete_connection(ConnectionId=connection_id)
    except (ClientError, NoConnection, HTTPClientError) as error:
        if _status_of(error) != HTTPStatus.GONE:
            logger.warning("a connection was not closed", extra={"cause": type(error).__name__})


def _status_of(error: Exception) -> int | None:
    """None without an answer."""
    if not isinstance(error, ClientError):
        return None
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
