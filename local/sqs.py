"""SQS for botocore clients, over the local queues."""

import hashlib
import time
from typing import Any

from local.aws import JsonService, ServiceError
from local.intrinsics import ACCOUNT
from local.queues import MESSAGE_LIMIT, Message, Queues, queue_arn
from local.template import queue_url

LONG_POLL_LIMIT = 20


def sqs(queues: Queues) -> JsonService:
    service = _Sqs(queues)
    return JsonService(
        {
            "ChangeMessageVisibility": service.change_visibility,
            "DeleteMessage": service.delete,
            "DeleteMessageBatch": service.delete_batch,
            "GetQueueAttributes": service.attributes,
            "GetQueueUrl": service.url,
            "ListQueues": service.list,
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
        if not entries:
            raise ServiceError(
                "AWS.SimpleQueueService.EmptyBatchRequest", "There is no entry in the request."
            )
        if len(entries) > 10:
            raise ServiceError("AWS.SimpleQueueService.TooManyEntriesInBatchRequest", "More than 10 entries.")
        if len({entry["Id"] for entry in entries}) < len(entries):
            raise ServiceError("AWS.SimpleQueueService.BatchEntryIdsNotDistinct", "Ids are not distinct.")
        if sum(len(entry["MessageBody"].encode()) for entry in entries) > MESSAGE_LIMIT:
            raise ServiceError(
                "AWS.SimpleQueueService.BatchRequestTooLong", f"Longer than {MESSAGE_LIMIT} bytes."
            )
        return {
            "Successful": [{"Id": entry["Id"], **self._send(name, entry)} for entry in entries],
            "Failed": [],
        }

    def receive(self, request: dict[str, Any]) -> dict[str, Any]:
        name = self._name(request)
        limit = int(request.get("MaxNumberOfMessages") or 1)
        deadline = time.monotonic() + min(int(request.get("WaitTimeSeconds") or 0), LONG_POLL_LIMIT)
        while True:
            messages = self._queues.receive(name, limit, request.get("VisibilityTimeout"))
            left = deadline - time.monotonic()
            if messages or left <= 0:
                return {"Messages": [_received(message) for message in messages]} if messages else {}
            with self._queues.changed:
                self._queues.changed.wait(min(left, 1))

    def delete(self, request: dict[str, Any]) -> dict[str, Any]:
        self._name(request)
        self._queues.delete(request["ReceiptHandle"])
        return {}

    def delete_batch(self, request: dict[str, Any]) -> dict[str, Any]:
        self._name(request)
        for entry in request["Entries"]:
            self._queues.delete(entry["ReceiptHandle"])
        return {"Successful": [{"Id": entry["Id"]} for entry in request["Entries"]], "Failed": []}

    def change_visibility(self, request: dict[str, Any]) -> dict[str, Any]:
        self._name(request)
        self._queues.release(request["ReceiptHandle"], int(request["VisibilityTimeout"]))
        return {}

    def attributes(self, request: dict[str, Any]) -> dict[str, Any]:
        name = self._name(request)
        return {
            "Attributes": {
                "ApproximateNumberOfMessages": str(self._queues.counts().get(name, 0)),
                "QueueArn": queue_arn(name),
                "VisibilityTimeout": str(self._queues.declared[name].visibility),
            }
        }

    def url(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"QueueUrl": queue_url(self._known(str(request.get("QueueName"))))}

    def list(self, request: dict[str, Any]) -> dict[str, Any]:
        prefix = str(request.get("QueueNamePrefix") or "")
        return {"QueueUrls": [queue_url(name) for name in self._queues.declared if name.startswith(prefix)]}

    def _send(self, name: str, message: dict[str, Any]) -> dict[str, Any]:
        body = str(message.get("MessageBody") or "")
        if not body:
            raise ServiceError("MissingParameter", "The request must contain the parameter MessageBody.")
        if len(body.encode()) > MESSAGE_LIMIT:
            raise ServiceError("InvalidParameterValue", f"The message is longer than {MESSAGE_LIMIT} bytes.")
        message_id = self._queues.send(
            name, body, message.get("MessageAttributes"), message.get("DelaySeconds")
        )
        return {"MessageId": message_id, "MD5OfMessageBody": md5(body)}

    def _name(self, request: dict[str, Any]) -> str:
        url = str(request.get("QueueUrl", ""))
        if f"/{ACCOUNT}/" not in url:
            raise ServiceError("QueueDoesNotExist", f"{url} is not a queue of this stack.")
        return self._known(url.rsplit("/", 1)[-1])

    def _known(self, name: str) -> str:
        if name not in self._queues.declared:
            raise ServiceError("QueueDoesNotExist", f"The template has no queue {name}.")
        return name


def _received(message: Message) -> dict[str, Any]:
    received: dict[str, Any] = {
        "MessageId": message.message_id,
        "ReceiptHandle": message.receipt,
        "Body": message.body,
        "MD5OfBody": md5(message.body),
        "Attributes": message.system_attributes(),
    }
    if message.attributes:
        received["MessageAttributes"] = message.attributes
    return received


def md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
