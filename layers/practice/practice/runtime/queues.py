"""Sends messages to queues, and permanent failures to dead-letter queues."""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from botocore.config import Config as ClientConfig
from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnection

from practice.runtime import aws, log

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient

MESSAGE_BYTES: Final = 1024 * 1024
"""The most that SQS accepts as a message with its attributes."""
ENTRIES: Final = 10
"""The most in one batch of messages, or of events."""
REASON_CHARACTERS: Final = 500

CLIENT_CONFIG: Final = ClientConfig(
    connect_timeout=2,
    read_timeout=5,
    retries={"mode": "standard", "total_max_attempts": 3},
    parameter_validation=False,
)


class NotSent(Exception):
    """The queue or the bus does not accept it now: worth another attempt."""


@lru_cache(maxsize=1)
def client() -> "SQSClient":
    made: SQSClient = aws.client("sqs", CLIENT_CONFIG)
    return made


def send(url: str, bodies: Sequence[str]) -> list[int]:
    """One request for every ten messages; the places in `bodies` of those that the queue did not accept."""
    unsent: list[int] = []
    for start in range(0, len(bodies), ENTRIES):
        places = range(start, min(start + ENTRIES, len(bodies)))
        entries = [{"Id": str(place), "MessageBody": bodies[place]} for place in places]
        try:
            answer = client().send_message_batch(QueueUrl=url, Entries=entries)  # type: ignore[arg-type]
        except (ClientError, NoConnection, HTTPClientError) as error:
            log.logger.warning("not sent", extra={"cause": code_of(error), "messages": len(entries)})
            unsent += places
            continue
        unsent += [int(each["Id"]) for each in answer.get("Failed", [])]
    return unsent


def send_later(url: str, body: str, seconds: int) -> None:
    """One message that arrives after a delay. Raises NotSent."""
    try:
        client().send_message(QueueUrl=url, MessageBody=body, DelaySeconds=seconds)
    except (ClientError, NoConnection, HTTPClientError) as error:
        raise NotSent(code_of(error)) from error


def dead_letter(url: str, body: str, reason: str, name: str) -> None:
    """Send to the dead-letter queue with the reason as an attribute, log and count it. Raises NotSent.

    The end of a body is cut off when it leaves no room for the reason.
    """
    reason = reason[:REASON_CHARACTERS] or "no reason"
    attributes = {"reason": _attribute(reason), "function": _attribute(name)}
    budget = MESSAGE_BYTES - 4 * REASON_CHARACTERS - 1024
    encoded = body.encode()
    if len(encoded) > budget:
        attributes["cut"] = _attribute(f"from {len(encoded)} bytes")
        body = encoded[:budget].decode(errors="ignore")
    try:
        client().send_message(QueueUrl=url, MessageBody=body or "-", MessageAttributes=attributes)  # type: ignore[arg-type]
    except (ClientError, NoConnection, HTTPClientError) as error:
        raise NotSent(code_of(error)) from error
    log.count("dead_letters")
    log.logger.warning("sent to the dead-letter queue", extra={"reason": reason, "function": name})


def code_of(error: Exception) -> str:
    if isinstance(error, ClientError):
        return str(error.response["Error"]["Code"])
    return type(error).__name__


def _attribute(value: str) -> dict[str, str]:
    return {"DataType": "String", "StringValue": value}
