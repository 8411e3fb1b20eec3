"""`make redrive QUEUE=SweepDeadLetters [STACK=practice-api-prod] [DRY=0]`: report or redrive dead letters.

Without DRY=0 it only reports the number, reasons, ages and ids of the messages, never a text. With DRY=0 each message that
exists when the run starts is handed back to the function that failed on it, and then deleted. The run stops at the first
message that it cannot hand back. It can be repeated, because every consumer handles a duplicate once.
Without STACK it works on the local stack at HOST and PORT.
"""

import argparse
import base64
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from practice.table import keys
from tools.deployed import Deployed, LocalStack, NotDeployed, NotTaken, Stack, template

HIDDEN_SECONDS: Final = 300
"""Visibility timeout of the messages that this run receives."""
SHOWN: Final = 100
WAIT_SECONDS: Final = 1
"""Long polling queries all servers of the queue; a short poll may miss messages."""
PAGES: Final = 100
"""Maximum reads for the records of one batch: a page may be empty before others, and an open shard has no last page."""
FAILED_TOO_OFTEN: Final = "failed too often"


class CannotHandBack(Exception):
    """The message stays in the queue, for this reason."""


@dataclass(frozen=True)
class Letter:
    """A message of a dead-letter queue."""

    message_id: str
    receipt: str
    body: str
    attributes: Mapping[str, str]
    sent_at: float
    receives: int

    @property
    def content(self) -> Any:
        """The parsed body; None if it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def reason(self) -> str:
        if code := self.attributes.get("ERROR_CODE"):  # not delivered by EventBridge
            return code
        content = self.content
        if isinstance(content, dict) and isinstance(
            content.get("requestContext"), dict
        ):  # given up by Lambda
            error = (content.get("responsePayload") or {}).get("errorType", "")
            return f"{content['requestContext'].get('condition', FAILED_TOO_OFTEN)} {error}".strip()
        return self.attributes.get("reason", FAILED_TOO_OFTEN)

    def line(self, now: float) -> str:
        by = f" by {self.attributes['function']}" if "function" in self.attributes else ""
        named = " ".join(f"{name}={value}" for name, value in ids_in(self.content)) or "no ids"
        return f"  {self.message_id}  {age(now - self.sent_at)}{by}  {named}  ({self.reason})"


def ids_in(content: object) -> Iterator[tuple[str, object]]:
    """Identifying fields of a message: ids, kinds, and the lengths of id lists. Never a text."""
    if not isinstance(content, dict):
        return
    for name, value in content.items():
        if isinstance(value, dict) and name in (
            "detail",
            "requestPayload",
            "DDBStreamBatchInfo",
            "dynamodb",
            "Keys",
        ):
            yield from ids_in(value)
        elif name.endswith("_id") and isinstance(value, int):
            yield name, value
        elif name.endswith("_ids") and isinstance(value, list):
            yield name, len(value)
        elif name in ("sweep", "detail-type", "eventName", "shardId", "batchSize"):
            yield name, value
        elif name in ("pk", "sk"):
            yield name, value["S"] if isinstance(value, dict) else value


def age(seconds: float) -> str:
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


class Redrive:
    """One dead-letter queue of a deployment."""

    def __init__(self, deployed: Deployed, queue: str) -> None:
        queues, functions = template().queues.values(), template().functions.values()
        by_name = {each.name: each.logical_id for each in queues}
        self.sources = {by_name[each.dead_letters]: each.logical_id for each in queues if each.dead_letters}
        self.of_events = {by_name[each.on_failure] for each in functions if each.on_failure}
        logical_ids = {each.name: each.logical_id for each in functions}
        self.of_streams = {
            by_name[each.on_failure]: logical_ids[each.function]
            for each in template().stream_triggers
            if each.on_failure
        }
        known = sorted({*self.sources, *self.of_events, *self.of_streams})
        if queue not in known:
            raise SystemExit(f"QUEUE is one of {', '.join(known)}")
        self.queue = queue
        self._deployed = deployed
        self._url = deployed.physical(queue)
        self._held: dict[str, Letter] = {}
        self.is_cut_short = False
        """Whether the first messages became visible again before the last were read, so the count may be too low."""

    @cached_property
    def _sqs(self) -> Any:
        return self._deployed.client("sqs")

    @cached_property
    def _table(self) -> str:
        return self._deployed.table

    def look(self) -> list[Letter]:
        """All messages; they are visible again afterwards."""
        with self._received() as letters:
            return list(letters)

    def drop(self, message_id: str) -> bool:
        """Deletes one message permanently and returns whether it existed."""
        with self._received() as letters:
            for letter in letters:
                if letter.message_id == message_id:
                    self._delete(letter)
                    return True
        return False

    def hand_back(self, only: frozenset[str] = frozenset()) -> Iterator[tuple[Letter, str]]:
        """Hands back each message that existed at the start and yields it with the result.

        Raises CannotHandBack at the first message that stays.
        """
        with self._received() as letters:
            for letter in letters:
                if only and letter.message_id not in only:
                    continue
                try:
                    became = self._hand_back(letter)
                    self._delete(letter)
                except (ClientError, BotoCoreError, NotDeployed, NotTaken) as error:
                    raise CannotHandBack(f"{letter.message_id}: {error}") from error
                yield letter, became

    @contextmanager
    def _received(self) -> Iterator[Iterator[Letter]]:
        """Messages sent before now, each once; a message that fails again is left to the next run.

        Messages that are not deleted become visible again at the end.
        """
        began = time.time()
        self._held, self.is_cut_short = {}, False

        def receive() -> Iterator[Letter]:
            seen: set[str] = set()
            while messages := self._receive():
                letters = [_letter(each) for each in messages]
                self._held |= {each.message_id: each for each in letters}
                fresh = [each for each in letters if each.message_id not in seen]
                if not fresh:
                    self.is_cut_short = True
                    return
                seen |= {each.message_id for each in fresh}
                yield from (each for each in fresh if each.sent_at <= began)

        try:
            yield receive()
        finally:
            for letter in self._held.values():
                with suppress(ClientError):  # its visibility timeout has ended already
                    self._sqs.change_message_visibility(
                        QueueUrl=self._url, ReceiptHandle=letter.receipt, VisibilityTimeout=0
                    )

    def _receive(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._sqs.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=10,
            VisibilityTimeout=HIDDEN_SECONDS,
            WaitTimeSeconds=WAIT_SECONDS,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["SentTimestamp", "ApproximateReceiveCount"],
        ).get("Messages", [])
        return found

    def _delete(self, letter: Letter) -> None:
        self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=letter.receipt)
        del self._held[letter.message_id]

    def _hand_back(self, letter: Letter) -> str:
        if "cut" in letter.attributes:
            raise CannotHandBack(f"{letter.message_id}: it is truncated, {letter.attributes['cut']}")
        if self.queue in self.sources:
            return self._to_queue(letter, self.sources[self.queue])
        if self.queue in self.of_streams:
            return self._to_function(letter, self.of_streams[self.queue])
        return self._to_bus(letter)

    def _to_queue(self, letter: Letter, source: str) -> str:
        content = letter.content
        body = letter.body
        if isinstance(content, dict) and self.queue != "ErasureDeadLetters":
            if self._is_erased(content.get("user_id"), letter.sent_at):
                return "dropped: its user was erased since"
            if self.queue == "IngestionDeadLetters" and content.get("dedup_id") is None:
                # Without a dedup_id the message id identifies the response, and a copy has a new message id.
                body = json.dumps({**content, "dedup_id": letter.message_id})
        self._sqs.send_message(QueueUrl=self._deployed.physical(source), MessageBody=body)
        return f"sent to {source}"

    def _is_erased(self, user_id: object, sent_at: float) -> bool:
        """Whether the user was erased after the message was sent; such a message must not be queued again."""
        if not isinstance(user_id, int):
            return False
        key = keys.account(user_id)
        found = self._deployed.client("dynamodb").get_item(
            TableName=self._table,
            Key={"pk": {"S": key.pk}, "sk": {"S": key.sk}},
            ConsistentRead=True,
        )
        return float(found.get("Item", {}).get("erased_at", {"N": "-1"})["N"]) >= sent_at

    def _to_bus(self, letter: Letter) -> str:
        content = letter.content
        event = content.get("requestPayload", content) if isinstance(content, dict) else None
        if not isinstance(event, dict) or not {"source", "detail-type", "detail"} <= event.keys():
            raise CannotHandBack(f"{letter.message_id}: it is not an event")
        entry = {
            "EventBusName": self._deployed.parameter("EventBusName"),
            "Source": event["source"],
            "DetailType": event["detail-type"],
            "Detail": json.dumps(event["detail"]),
        }
        [result] = self._deployed.client("events").put_events(Entries=[entry])["Entries"]
        if "ErrorCode" in result:
            raise CannotHandBack(f"{letter.message_id}: {result['ErrorCode']}")
        return f"published on the bus as {event['detail-type']}"

    def _to_function(self, letter: Letter, function: str) -> str:
        content = letter.content
        if not isinstance(content, dict):
            raise CannotHandBack(f"{letter.message_id}: it is not a record")
        batch = content.get("DDBStreamBatchInfo")
        records = self._read_again(letter, batch) if batch else [content]
        self._deployed.invoke(function, {"Records": records})
        return f"{len(records)} records passed to {function}"

    def _read_again(self, letter: Letter, batch: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The records that Lambda gave up. The message has only their position; the stream keeps them for 24 hours."""
        streams = self._deployed.client("dynamodbstreams")
        table = self._deployed.client("dynamodb").describe_table(TableName=self._table)
        arn, last = table["Table"]["LatestStreamArn"], int(batch["endSequenceNumber"])
        try:
            iterator = streams.get_shard_iterator(
                StreamArn=arn,
                ShardId=batch["shardId"],
                ShardIteratorType="AT_SEQUENCE_NUMBER",
                SequenceNumber=batch["startSequenceNumber"],
            )["ShardIterator"]
            records: list[dict[str, Any]] = []
            for _ in range(PAGES):
                page = streams.get_records(ShardIterator=iterator)
                records += page["Records"]
                iterator = page.get("NextShardIterator")
                if not iterator or (records and _sequence_number(records[-1]) >= last):
                    break
        except ClientError as error:
            if error.response["Error"]["Code"] in TRIMMED:
                raise CannotHandBack(f"{letter.message_id}: {GONE}") from error
            raise
        records = [each for each in records if _sequence_number(each) <= last]
        if len(records) < int(batch["batchSize"]):
            raise CannotHandBack(f"{letter.message_id}: {GONE}")
        source = {"eventSource": "aws:dynamodb", "eventSourceARN": arn}
        return [json.loads(json.dumps(each | source, default=_as_lambda_spells)) for each in records]


GONE: Final = "the stream no longer has its records; see the drill in docs/runbook.md"
TRIMMED: Final = ("TrimmedDataAccessException", "ExpiredIteratorException", "ResourceNotFoundException")


def _sequence_number(record: Mapping[str, Any]) -> int:
    return int(record["dynamodb"]["SequenceNumber"])


def _as_lambda_spells(value: Any) -> Any:
    """Bytes and times of a stream record."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value.timestamp()


def _letter(message: Mapping[str, Any]) -> Letter:
    given = message.get("MessageAttributes", {})
    return Letter(
        message_id=message["MessageId"],
        receipt=message["ReceiptHandle"],
        body=message["Body"],
        attributes={name: str(value.get("StringValue", "")) for name, value in given.items()},
        sent_at=int(message["Attributes"]["SentTimestamp"]) / 1000,
        receives=int(message["Attributes"]["ApproximateReceiveCount"]),
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("queue", help="the logical id of a dead-letter queue in template.yaml")
    parser.add_argument("--id", action="append", default=[], help="redrive only this message (repeatable)")
    parser.add_argument("--drop", metavar="ID", help="delete this message permanently")
    given = parser.parse_args(arguments)
    stack = os.environ.get("STACK")
    try:
        redrive = Redrive(Stack(stack) if stack else LocalStack(_local_url()), given.queue)
        return _run(redrive, given)
    except NotDeployed as error:
        print(error, file=sys.stderr)
        return 1


def _local_url() -> str:
    host, port = os.environ.get("HOST") or "127.0.0.1", os.environ.get("PORT") or "3000"
    if host in ("0.0.0.0", "::"):  # noqa: S104 (where the stack listens, not where it is reached)
        host = "127.0.0.1"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _run(redrive: Redrive, given: argparse.Namespace) -> int:
    if os.environ.get("DRY", "1") != "0":
        return _report(redrive.look(), redrive)
    if given.drop:
        found = redrive.drop(given.drop)
        print("deleted" if found else "it does not exist")
        return 0 if found else 1
    handed = 0
    try:
        for letter, became in redrive.hand_back(frozenset(given.id)):
            handed += 1
            print(f"{letter.message_id}  {became}")
    except CannotHandBack as stayed:
        print(f"stopped after {handed}: {stayed}", file=sys.stderr)
        return 1
    print(f"{handed} handed back; check the queue again after they are processed")
    return 0


def _report(letters: list[Letter], redrive: Redrive) -> int:
    more = (
        " or more: the first became visible again before the last were read" if redrive.is_cut_short else ""
    )
    print(f"{redrive.queue}: {len(letters)} messages{more}")
    for reason, count in Counter(letter.reason for letter in letters).most_common():
        print(f"  {count:>5}  {reason}")
    now = time.time()
    for letter in sorted(letters, key=lambda each: each.sent_at)[:SHOWN]:
        print(letter.line(now))
    if len(letters) > SHOWN:
        print(f"  ... only the oldest {SHOWN}")
    if letters:
        print("nothing was changed; DRY=0 hands the messages back")
    return 0


if __name__ == "__main__":
    sys.exit(main())
