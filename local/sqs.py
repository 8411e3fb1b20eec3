"""SQS for botocore clients, over the local queues: the operations that the functions and the tools call."""

import hashlib
import time
from typing import Any

from local.aws import JsonService, ServiceError
from local.intrinsics import ACCOUNT
from local.queues import MESSAGE_LIMIT, Message, Queues

LONG_POLL_LIMIT = 20
BATCH_LIMIT = 10


def sqs(queues: Queues) -> JsonService:
    service = _Sqs(queues)
    return JsonService(
        {
            "ChangeMessageVisibility": service.change_visibility,
            "DeleteMessage": service.delete,
            "ReceiveMessage": service.receive,
            "SendMessage": service.send,
            "SendMessageBatch": service.send_batch,
        }
    )


class _Sqs:
    def __init__(self, queues: Queues) -> None:
        self._queues = queues

    def send(self, request: dict[str, Any]) -> dict[str, Any]:
        return self._send(self._name(request), request)

    def send_batch(self, request: dict[str, Any]) -> dict[str, Any]:
        name, entries = self._name(request), request.get("Entries") or []
        refusals = {
            "EmptyBatchRequest": not entries,
            "TooManyEntriesInBatchRequest": len(entries) > BATCH_LIMIT,
            "BatchEntryIdsNotDistinct": len({entry["Id"] for entry in entries}) < len(entries),
            "BatchRequestTooLong": sum(len(entry["MessageBody"].encode()) for entry in entries)
            > MESSAGE_LIMIT,
        }
        for code, refused in refusals.items():
            if refused:
                raise ServiceError(f"AWS.SimpleQueueService.{code}", "The batch cannot be sent.")
        sent = [{"Id": entry["Id"], **self._send(name, entry)} for entry in entries]
        return {"Successful": sent, "Failed": []}

    def receive(self, request: dict[str, Any]) -> dict[str, Any]:
        name = self._name(request)
        limit = int(request.get("MaxNumberOfMessages") or 1)
        deadline = time.monotonic() + min(int(request.get("WaitTimeSeconds") or 0), LONG_POLL_LIMIT)
        while True:
            messages = self._queues.receive(name, limit, request.get("VisibilityTimeout"))
            left = deadline - time.monotonic()
            if messages or left <= 0:
                return {"Messages": list(map(_received, messages))} if messages else {}
            with self._queues.changed:
                self._queues.changed.wait(min(left, 1))

    def delete(self, request: dict[str, Any]) -> dict[str, Any]:
        self._name(request)
        self._queues.delete(request["ReceiptHandle"])
        return {}

    def change_visibility(self, request: dict[str, Any]) -> dict[str, Any]:
        self._name(request)
        self._queues.release(request["ReceiptHandle"], int(request["VisibilityTimeout"]))
        return {}

    def _send(self, name: str, message: dict[str, Any]) -> dict[str, Any]:
        body = str(message.get("MessageBody") or "")
        if not body:
            raise ServiceError("MissingParameter", "The request must contain the parameter MessageBody.")
        if len(body.encode()) > MESSAGE_LIMIT:
            raise ServiceError("InvalidParameterValue", f"The message is longer than {MESSAGE_LIMIT} bytes.")
        attributes, delay = message.get("MessageAttributes"), message.get("DelaySeconds")
        return {"MessageId": self._queues.send(name, body, attributes, delay), "MD5OfMessageBody": md5(body)}

    def _name(self, request: dict[str, Any]) -> str:
        _, account, name = str(request.get("QueueUrl", "")).rpartition(f"/{ACCOUNT}/")
        if not account or name not in self._queues.declared:
            raise ServiceError("QueueDoesNotExist", f"The template has no queue {request.get('QueueUrl')}.")
        return name


def _received(message: Message) -> dict[str, Any]:
    received: dict[str, Any] = {
        "MessageId": message.message_id,
        "ReceiptHandle": message.receipt,
        "Body": message.body,
        "MD5OfBody": md5(message.body),
        "Attributes": message.system_attributes(),
    }
    return received | ({"MessageAttributes": message.attributes} if message.attributes else {})


def md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
