"""Consumers: they deliver messages, events and stream records to their function."""

import base64
import json
import logging
import threading
from typing import Any, Protocol

from local.bus import inbox
from local.engine import Engine
from local.envelopes import failed_items, failure_record, iso_time, sqs_records, within_payload
from local.functions import FunctionError
from local.intrinsics import ACCOUNT, REGION
from local.patterns import matches
from local.queues import DROPPED, Message, Queues
from local.template import QueueTrigger, StreamTrigger

FIRST_RETRY_SECONDS = 0.5
LONGEST_RETRY_SECONDS = 8.0

log = logging.getLogger("local.triggers")


class Delivery(Protocol):
    """How a consumer reaches its function, until the stack closes."""

    queues: Queues
    closing: threading.Event

    def __call__(self, function: str, event: dict[str, Any]) -> Any:
        """The function's answer; FunctionError with the reason when it has none."""


def retry_delay(attempts: int) -> float:
    return min(FIRST_RETRY_SECONDS * 2.0 ** (attempts - 1), LONGEST_RETRY_SECONDS)


class QueueConsumer:
    """Batches of a queue; what fails comes back, until the queue's redrive policy makes it a dead letter."""

    def __init__(self, delivery: Delivery, trigger: QueueTrigger) -> None:
        self._delivery = delivery
        self._trigger = trigger

    def step(self) -> bool:
        queues, trigger = self._delivery.queues, self._trigger
        received = queues.receive(trigger.queue, trigger.batch_size)
        messages = []
        for message in received:
            if not trigger.filters or any(matches(f, _filterable(message)) for f in trigger.filters):
                messages.append(message)
            else:
                queues.delete(message.receipt)  # as Lambda: what no filter takes is gone
        by_id = {message.message_id: message for message in messages}
        for records in within_payload(sqs_records(trigger.queue, messages)):
            self._deliver([by_id[record["messageId"]] for record in records], records)
        return bool(received)

    def _deliver(self, messages: list[Message], records: list[dict[str, Any]]) -> None:
        queues, trigger = self._delivery.queues, self._trigger
        ids = {message.message_id for message in messages}
        try:
            answer = self._delivery(trigger.function, {"Records": records})
            failed = failed_items(answer) if trigger.reports_failures else set()
            reason = f"{trigger.function} reported it as failed"
        except FunctionError as error:
            failed, reason = ids, str(error)
            log.warning("%s: %s", trigger.function, error.trace or error)
        if failed - ids:
            failed = ids  # as Lambda: an answer that names what it was not given fails the whole batch
        for message in messages:
            if message.message_id in failed:
                queues.return_failed(message, retry_delay(message.receives), reason)
            else:
                queues.delete(message.receipt)


class EventConsumer:
    """Asynchronous invocations: two more attempts, then the function's failure destination."""

    def __init__(
        self, delivery: Delivery, function: str, physical_name: str, retries: int, on_failure: str | None
    ) -> None:
        self._delivery = delivery
        self._function = function
        self._physical_name = physical_name
        self._retries = retries
        self._on_failure = on_failure

    def step(self) -> bool:
        queues = self._delivery.queues
        messages = queues.receive(inbox(self._function), 1, visibility=3600)
        for message in messages:
            event = json.loads(message.body)
            try:
                self._delivery(self._function, event)
            except FunctionError as error:
                log.warning("%s: %s", self._function, error.trace or error)
                if message.receives <= self._retries:
                    queues.return_failed(message, retry_delay(message.receives), str(error))
                    continue
                failure = failure_record(self._physical_name, "RetriesExhausted", message.receives, error)
                failure["requestPayload"] = event
                queues.send(self._on_failure or DROPPED, json.dumps(failure), reason=str(error))
            queues.delete(message.receipt)
        return bool(messages)


class StreamConsumer:
    """The records of the table's stream, in order; a batch that fails blocks the later ones."""

    def __init__(self, delivery: Delivery, trigger: StreamTrigger, engine: Engine) -> None:
        self._delivery = delivery
        self._trigger = trigger
        self._client = engine.streams()
        self._table = engine.client()
        self._stream_arn = ""
        self._iterators: dict[str, str] = {}

    def step(self) -> bool:
        if not self._stream_arn:
            described = self._table.describe_table(TableName=self._trigger.table)
            self._stream_arn = described["Table"]["LatestStreamArn"]
        busy = False
        shards = self._client.describe_stream(StreamArn=self._stream_arn)["StreamDescription"]["Shards"]
        for shard in sorted(shard["ShardId"] for shard in shards):
            busy |= self._read(shard)
        return busy

    def _read(self, shard: str) -> bool:
        name = f"{self._trigger.function} {self._stream_arn} {shard}"
        iterator = self._iterators.pop(shard, None) or self._iterator(
            shard, self._delivery.queues.checkpoint(name)
        )
        page = self._client.get_records(ShardIterator=iterator, Limit=self._trigger.batch_size)
        records = [json.loads(json.dumps(record, default=_json_value)) for record in page["Records"]]
        for record in records:
            record["awsRegion"] = REGION
            record["eventSourceARN"] = (
                f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{self._trigger.table}/stream/local"
            )
        wanted = [
            r
            for r in records
            if not self._trigger.filters or any(matches(f, r) for f in self._trigger.filters)
        ]
        if not all(self._deliver(batch, name, shard) for batch in within_payload(wanted)):
            return True
        if records:
            self._delivery.queues.save_checkpoint(name, records[-1]["dynamodb"]["SequenceNumber"])
        if following := page.get("NextShardIterator"):
            self._iterators[shard] = following
        return bool(records)

    def _iterator(self, shard: str, checkpoint: str | None) -> str:
        where: dict[str, str] = {"ShardIteratorType": "TRIM_HORIZON"}
        if checkpoint:
            where = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": checkpoint}
        found = self._client.get_shard_iterator(StreamArn=self._stream_arn, ShardId=shard, **where)
        return str(found["ShardIterator"])

    def _deliver(self, records: list[dict[str, Any]], name: str, shard: str) -> bool:
        """Whether all were delivered or are dead letters; False when the stack closes first."""
        attempts = 0
        while records and not self._delivery.closing.is_set():
            try:
                answer = self._delivery(self._trigger.function, {"Records": records})
                failed = failed_items(answer) if self._trigger.reports_failures else set()
                numbers = [record["dynamodb"]["SequenceNumber"] for record in records]
                taken = min(
                    (numbers.index(item) if item in numbers else 0 for item in failed), default=len(records)
                )
                error = FunctionError(
                    f"{self._trigger.function} reported {', '.join(sorted(failed))} as failed"
                )
            except FunctionError as raised:
                taken, error = 0, raised
                log.warning("%s: %s", self._trigger.function, raised.trace or raised)
            if taken:
                self._delivery.queues.save_checkpoint(name, records[taken - 1]["dynamodb"]["SequenceNumber"])
                records, attempts = records[taken:], 0
                if not records:
                    return True
            if self._trigger.bisects and len(records) > 1:
                half = (len(records) + 1) // 2
                return self._deliver(records[:half], name, shard) and self._deliver(
                    records[half:], name, shard
                )
            attempts += 1
            if self._trigger.attempts is not None and attempts > self._trigger.attempts:
                self._dead_letter(records, attempts, error, shard)
                self._delivery.queues.save_checkpoint(name, records[-1]["dynamodb"]["SequenceNumber"])
                return True
            self._delivery.closing.wait(retry_delay(attempts))
        return not records

    def _dead_letter(
        self, records: list[dict[str, Any]], attempts: int, error: FunctionError, shard: str
    ) -> None:
        failure = failure_record(self._trigger.function, "RetryAttemptsExhausted", attempts, error)
        first, last = records[0]["dynamodb"], records[-1]["dynamodb"]
        failure["DDBStreamBatchInfo"] = {
            "shardId": shard,
            "startSequenceNumber": first["SequenceNumber"],
            "endSequenceNumber": last["SequenceNumber"],
            "approximateArrivalOfFirstRecord": iso_time(first.get("ApproximateCreationDateTime", 0)),
            "approximateArrivalOfLastRecord": iso_time(last.get("ApproximateCreationDateTime", 0)),
            "batchSize": len(records),
            "streamArn": records[0]["eventSourceARN"],
        }
        self._delivery.queues.send(
            self._trigger.on_failure or DROPPED, json.dumps(failure), reason=str(error)
        )


def _filterable(message: Message) -> dict[str, Any]:
    try:
        body = json.loads(message.body)
    except ValueError:
        body = message.body
    return {"body": body}


def _json_value(value: Any) -> Any:
    """Bytes and times of a stream record as Lambda's event spells them."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.timestamp()
