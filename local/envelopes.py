"""Events as Lambda receives them from queues, and what it sends when it does not try again."""

import json
import time
from collections.abc import Iterator
from typing import Any

from local.functions import PAYLOAD_LIMIT, FunctionError
from local.intrinsics import ACCOUNT, REGION
from local.queues import Message, queue_arn
from local.sqs import md5

ROOM_FOR_ENVELOPE = 1024


def within_payload(records: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The records in batches that an invocation takes."""
    batch: list[dict[str, Any]] = []
    size = 0
    for record in records:
        length = len(json.dumps(record))
        if batch and size + length > PAYLOAD_LIMIT - ROOM_FOR_ENVELOPE:
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += length + 2
    if batch:
        yield batch


def sqs_records(queue: str, messages: list[Message]) -> list[dict[str, Any]]:
    return [
        {
            "messageId": message.message_id,
            "receiptHandle": message.receipt,
            "body": message.body,
            "attributes": message.system_attributes(),
            "messageAttributes": {
                name: {
                    "stringValue": value.get("StringValue"),
                    "stringListValues": [],
                    "binaryListValues": [],
                    "dataType": value["DataType"],
                }
                for name, value in message.attributes.items()
            },
            "md5OfBody": md5(message.body),
            "eventSource": "aws:sqs",
            "eventSourceARN": queue_arn(queue),
            "awsRegion": REGION,
        }
        for message in messages
    ]


def failed_items(answer: Any) -> set[str]:
    """The items that a function reports as failed."""
    if not isinstance(answer, dict):
        return set()
    return {str(item.get("itemIdentifier") or "") for item in answer.get("batchItemFailures") or []}


def failure_record(function: str, condition: str, attempts: int, error: FunctionError) -> dict[str, Any]:
    """What Lambda sends to a failure destination."""
    return {
        "version": "1.0",
        "timestamp": iso_time(time.time()),
        "requestContext": {
            "functionArn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function}:$LATEST",
            "condition": condition,
            "approximateInvokeCount": attempts,
        },
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "responsePayload": {"errorMessage": str(error)},
    }


def iso_time(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(seconds))
