"""Going back to an earlier state of the table: docs/runbook.md tells when, and in which order.

    python -m tools.restore plan --stack S --at T         print the commands for a restore of the whole table
    python -m tools.restore check --table T               compare a restored table with the template
    python -m tools.restore template --table T --stream ARN > template.yaml
    python -m tools.restore adopt < processed.json > import.json
    python -m tools.restore carry --to T [--from OLD]     what going back must not undo
    python -m tools.restore orphans --table T             what deleted sessions left behind, sent to be swept
    python -m tools.restore user --from T --to LIVE --user-id N [--only ID]

The last three only say what they would do, until they are given --apply. They are about the stack that STACK names, without
it about the local stack on HOST and PORT.
"""

import argparse
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from botocore import xform_name

from practice import keys
from practice.events.work import SweepSession
from practice.ids import SHARDS
from practice.table import part_keys
from tools.build import ROOT
from tools.deployed import Deployed, LocalStack, Stack, template

Item = dict[str, Any]
Key = dict[str, Any]

AHEAD: Final = 1_000
"""Leases of ids that are skipped beyond what the old table had handed out: for what was under way when it was read."""
AHEAD_BLINDLY: Final = 1_000_000
"""The same when the old table is gone: 16 million sessions for each of eight counters, 1/2,147 of all ids there are."""


# The commands of a restore


@dataclass(frozen=True)
class Command:
    """A call of AWS, as botocore knows it."""

    service: str
    operation: str
    parameters: Mapping[str, Any]

    def __str__(self) -> str:
        said = [f"aws {self.service} {xform_name(self.operation, '-')}"]
        for name, value in self.parameters.items():
            option = "--" + xform_name(name, "-")
            if isinstance(value, bool):
                said.append(option if value else option.replace("--", "--no-", 1))
            else:
                said.append(f"{option} {shlex.quote(value if isinstance(value, str) else json.dumps(value))}")
        return " \\\n  ".join(said)


@dataclass(frozen=True)
class Step:
    why: str
    commands: list[Command | str]

    def __str__(self) -> str:
        return "\n".join([*(f"# {line}" for line in self.why.splitlines()), *map(str, self.commands)])


@dataclass(frozen=True)
class Names:
    """What a stack calls its resources."""

    stack: str
    table: str
    functions: list[str]
    """All of them."""
    behind: list[str]
    """Those that events start."""
    triggers: list[str]
    """The event source mappings: of queues and of the stream."""
    stage: str
    kms_key: str = ""

    @classmethod
    def of(cls, stack: Stack) -> "Names":
        by_http = {route.function for route in template().routes}
        return cls(
            stack=stack.name,
            table=stack.table,
            functions=stack.all_of("AWS::Lambda::Function"),
            behind=[
                stack.physical(each.logical_id)
                for each in template().functions.values()
                if each.name not in by_http
            ],
            triggers=stack.all_of("AWS::Lambda::EventSourceMapping"),
            stage=stack.parameter("Stage"),
            kms_key=stack.parameter("KmsKeyArn"),
        )


def steps(names: Names, at: datetime) -> list[Step]:
    """A restore of the whole table into a new one, which the stack is then moved to."""
    new = f"{names.table}-{at:%Y%m%d%H%M%S}"
    declared = template().table
    encryption = {"Enabled": True, "SSEType": "KMS"}
    if names.kms_key:
        encryption["KMSMasterKeyId"] = names.kms_key
    restored: list[Command | str] = [
        Command("dynamodb", "DescribeContinuousBackups", {"TableName": names.table}),
        Command(
            "dynamodb",
            "RestoreTableToPointInTime",
            {
                "SourceTableName": names.table,
                "TargetTableName": new,
                "RestoreDateTime": at.isoformat(),
                "BillingModeOverride": "PAY_PER_REQUEST",
                "SSESpecificationOverride": encryption,
            },
        ),
        f'until [ "$({_status(new)})" = ACTIVE ]; do sleep 30; done',
    ]
    switched: list[Command | str] = [
        Command(
            "dynamodb",
            "UpdateTable",
            {
                "TableName": new,
                "StreamSpecification": {"StreamEnabled": True, **declared["StreamSpecification"]},
            },
        ),
        f'until [ "$({_status(new)})" = ACTIVE ]; do sleep 5; done',
        Command("dynamodb", "UpdateTable", {"TableName": new, "DeletionProtectionEnabled": True}),
        f'until [ "$({_status(new)})" = ACTIVE ]; do sleep 5; done',
        Command(
            "dynamodb",
            "UpdateContinuousBackups",
            {
                "TableName": new,
                "PointInTimeRecoverySpecification": declared["PointInTimeRecoverySpecification"],
            },
        ),
        Command(
            "dynamodb",
            "UpdateTimeToLive",
            {"TableName": new, "TimeToLiveSpecification": declared["TimeToLiveSpecification"]},
        ),
        _tool(names, f"check --table {new}"),
    ]
    stopped: list[Command | str] = [_trigger(each) for each in names.triggers]
    stopped += [_stop(each) for each in names.functions]
    deployed: list[Command | str] = [
        f'STREAM="$({_described(new, "LatestStreamArn")})"',
        f'python -m tools.restore template --table {new} --stream "$STREAM" > restored.yaml',
        "mv restored.yaml template.yaml",
        # A deployment that is shifted fails while an alarm rings, and functions without concurrency make one ring.
        f'make deploy ENV={names.stage} PARAMETERS="DeploymentPreference=AllAtOnce ProvisionedConcurrency=0"',
    ]
    carried: list[Command | str] = [
        _tool(names, f"carry --from {names.table} --to {new}"),
        _tool(names, f"carry --from {names.table} --to {new} --apply"),
    ]
    behind: list[Command | str] = [_start(each) for each in names.behind]
    behind += [
        f'for id in {_listed_triggers(names)}; do aws lambda update-event-source-mapping --uuid "$id" --enabled; done',
        _tool(names, f"orphans --table {new} --apply"),
        _tool(names, f"carry --from {names.table} --to {new}"),
    ]
    front: list[Command | str] = [_start(each) for each in names.functions if each not in names.behind]
    return [
        Step(
            f"1. The state of {at.isoformat()} in a new table. It takes minutes to hours and disturbs nobody.",
            restored,
        ),
        Step(
            "2. What a restore does not bring along: stream, deletion protection, recovery, time to live.",
            switched,
        ),
        Step(
            "3. Nobody writes any more. The triggers first, so that no message counts as failed. Callers get 5xx now.",
            stopped,
        ),
        Step(
            "4. The stack on the new table, in a clone of the commit that is deployed. The old table stays.\n"
            "From here on template.yaml as committed would make an EMPTY table: see 'Adopt' in the runbook.",
            deployed,
        ),
        Step(
            "5. What going back must not undo: ids, erasures, revocations, classes, agents. Look, then do.",
            carried,
        ),
        Step(
            "6. What works behind the API, and with it the erasures. Go on when the last command finds nothing to do.",
            behind,
        ),
        Step("7. The API.", front),
    ]


def _status(table: str) -> str:
    return _described(table, "TableStatus")


def _described(table: str, field: str) -> str:
    return f"aws dynamodb describe-table --table-name {table} --query Table.{field} --output text"


def _tool(names: Names, arguments: str) -> str:
    return f"STACK={names.stack} python -m tools.restore {arguments}"


def _trigger(uuid: str) -> Command:
    return Command("lambda", "UpdateEventSourceMapping", {"UUID": uuid, "Enabled": False})


def _stop(function: str) -> Command:
    return Command(
        "lambda", "PutFunctionConcurrency", {"FunctionName": function, "ReservedConcurrentExecutions": 0}
    )


def _start(function: str) -> Command:
    return Command("lambda", "DeleteFunctionConcurrency", {"FunctionName": function})


def _listed_triggers(names: Names) -> str:
    """The trigger of the stream is another one since the deployment."""
    kind = "AWS::Lambda::EventSourceMapping"
    query = f"StackResourceSummaries[?ResourceType=='{kind}'].PhysicalResourceId"
    listed = f"aws cloudformation list-stack-resources --stack-name {names.stack}"
    return f"$({listed} --query {shlex.quote(query)} --output text)"


# A restored table, and the stack on it


def differences(
    described: Mapping[str, Any], ttl: Mapping[str, Any], backups: Mapping[str, Any]
) -> list[str]:
    """What a table lacks of what the template declares."""
    declared = template().table
    found = []
    if _by_name(described["KeySchema"]) != _by_name(declared["KeySchema"]):
        found.append("another primary key")
    indexes = {each["IndexName"]: each for each in described.get("LocalSecondaryIndexes", [])}
    for index in declared["LocalSecondaryIndexes"]:
        there = indexes.get(index["IndexName"])
        if there is None:
            found.append(f"no index {index['IndexName']}")
        elif _shape(there) != _shape(index):
            found.append(f"another index {index['IndexName']}")
    stream = described.get("StreamSpecification", {})
    if (
        not stream.get("StreamEnabled")
        or stream["StreamViewType"] != declared["StreamSpecification"]["StreamViewType"]
    ):
        found.append("no stream, or another one")
    if not described.get("DeletionProtectionEnabled"):
        found.append("no deletion protection")
    wanted = declared["TimeToLiveSpecification"]["AttributeName"]
    if ttl.get("TimeToLiveStatus") not in ("ENABLED", "ENABLING") or ttl.get("AttributeName") != wanted:
        found.append(f"no time to live by {wanted}")
    if backups.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus") != "ENABLED":
        found.append("no point-in-time recovery")
    return found


def _by_name(schema: list[Mapping[str, str]]) -> list[tuple[str, str]]:
    return sorted((each["AttributeName"], each["KeyType"]) for each in schema)


def _shape(index: Mapping[str, Any]) -> object:
    projection = index["Projection"]
    return (
        _by_name(index["KeySchema"]),
        projection["ProjectionType"],
        sorted(projection.get("NonKeyAttributes", [])),
    )


def check(dynamodb: Any, table: str) -> list[str]:
    return differences(
        dynamodb.describe_table(TableName=table)["Table"],
        dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"],
        dynamodb.describe_continuous_backups(TableName=table)["ContinuousBackupsDescription"],
    )


def moved_template(text: str, table: str, stream_arn: str) -> str:
    """The template without a table of its own, on one that is there; the old one stays (`DeletionPolicy: Retain`)."""
    arn = stream_arn.partition("/stream/")[0]
    text, dropped = re.subn(r"(?m)^  PracticeTable:\n(?:(?:    .*)?\n)+", "", text)
    if dropped != 1:
        raise SystemExit("template.yaml has no PracticeTable")
    for reference, value in (
        ("!GetAtt PracticeTable.StreamArn", stream_arn),
        ("!GetAtt PracticeTable.Arn", arn),
        ("${PracticeTable.StreamArn}", stream_arn),
        ("${PracticeTable.Arn}", arn),
        ("${PracticeTable}", table),
        ("!Ref PracticeTable", table),
    ):
        text = text.replace(reference, value)
    if left := re.findall(r".*\bPracticeTable\b.*", text):
        raise SystemExit(f"it is not known what this refers to: {left[0].strip()}")
    return text


def adopted(processed: dict[str, Any]) -> dict[str, Any]:
    """The deployed template with the table in it, for a change set that imports it."""
    declared = {name: value for name, value in template().table.items() if name != "TableName"}
    table = {
        "Type": "AWS::DynamoDB::Table",
        "DeletionPolicy": "Retain",
        "UpdateReplacePolicy": "Retain",
        "Properties": declared,
    }
    return {**processed, "Resources": {**processed["Resources"], "PracticeTable": table}}


# What going back must not undo


@dataclass(frozen=True)
class Change:
    says: str
    make: Callable[[], object]


def carry(deployed: Deployed, new: str, old: str | None) -> Iterator[Change]:
    """Ids, erasures, revocations, classes and agents, as far as the new table is behind the old one."""
    dynamodb = deployed.client("dynamodb")
    yield from _counters(dynamodb, new, old)
    if old is None:
        return
    for item in _scan(dynamodb, old, "#sk IN (:account, :class, :agent)", _CARRIED):
        there = _get(dynamodb, new, {"pk": item["pk"], "sk": item["sk"]})
        if item["sk"]["S"] != "ACCOUNT":
            if there is None or _text(there, "updated_at") < _text(item, "updated_at"):
                yield _replacement(dynamodb, new, old, item, there or {})
            continue
        yield from _revocations(dynamodb, new, item, there or {})
        moment = _number(item, "erased_at")
        if moment > _number(there or {}, "erased_at") or "erasing" in (there or {}):
            yield _erasure(deployed, int(item["pk"]["S"].partition("#")[2]), moment)


_CARRIED: Final = {":account": {"S": "ACCOUNT"}, ":class": {"S": "CLASS"}, ":agent": {"S": "AGENT"}}


def _counters(dynamodb: Any, new: str, old: str | None) -> Iterator[Change]:
    """A counter that went back would hand out ids for a second time."""
    for shard in range(SHARDS):
        key = keys.lease(shard)
        wire = _wire(key)
        restored = _number(_get(dynamodb, new, wire) or {}, "next", 0)
        before = _number(_get(dynamodb, old, wire) or {}, "next", 0) if old else restored
        target = int(before) + (AHEAD if old else AHEAD_BLINDLY)
        if old and restored > before:
            continue  # moved ahead by an earlier run, and used since

        def move(wire: Key = wire, target: int = target) -> None:
            dynamodb.update_item(
                TableName=new,
                Key=wire,
                UpdateExpression="SET #next = :target",
                ConditionExpression="attribute_not_exists(#next) OR #next < :target",
                ExpressionAttributeNames={"#next": "next"},
                ExpressionAttributeValues={":target": {"N": str(target)}},
            )

        yield Change(f"counter {key.pk}: {restored:.0f} -> {target}", move)


def _revocations(dynamodb: Any, new: str, item: Item, there: Item) -> Iterator[Change]:
    key = {"pk": item["pk"], "sk": item["sk"]}
    if _number(item, "revoked_before") > _number(there, "revoked_before"):

        def revoke() -> None:
            dynamodb.update_item(
                TableName=new,
                Key=key,
                UpdateExpression="SET #before = :before",
                ExpressionAttributeNames={"#before": "revoked_before"},
                ExpressionAttributeValues={":before": item["revoked_before"]},
            )

        yield Change(f"{item['pk']['S']}: tokens revoked by time", revoke)
    tokens = set(item.get("revoked_tokens", {}).get("SS", ())) - set(
        there.get("revoked_tokens", {}).get("SS", ())
    )
    if tokens:

        def add() -> None:
            dynamodb.update_item(
                TableName=new,
                Key=key,
                UpdateExpression="ADD #tokens :tokens",
                ExpressionAttributeNames={"#tokens": "revoked_tokens"},
                ExpressionAttributeValues={":tokens": {"SS": sorted(tokens)}},
            )

        yield Change(f"{item['pk']['S']}: {len(tokens)} tokens revoked by name", add)


def _replacement(dynamodb: Any, new: str, old: str, item: Item, there: Item) -> Change:
    """The item with its parts, and without those of what is there. Parts first: nobody reads them before their item."""

    def put() -> None:
        parts = part_keys(item)
        for key in parts:
            part = _get(dynamodb, old, _wire(key))
            if part is None:
                raise SystemExit(f"{key.pk}: {old} lacks its part {key.sk}; try again")
            dynamodb.put_item(TableName=new, Item=part)
        dynamodb.put_item(TableName=new, Item=item)
        for key in part_keys(there):
            if key not in parts:
                dynamodb.delete_item(TableName=new, Key=_wire(key))

    return Change(item["pk"]["S"], put)


def _erasure(deployed: Deployed, user_id: int, moment: float) -> Change:
    """The same event again: whoever did it before says superseded."""
    asked_at = datetime.fromtimestamp(moment, UTC).isoformat()
    entry = {
        "EventBusName": deployed.parameter("EventBusName"),
        "Source": deployed.parameter("CatalogueSource"),
        "DetailType": "UserErased",
        "Detail": json.dumps({"version": 1, "user_id": user_id, "updated_at": asked_at}),
    }

    def tell() -> None:
        answer = deployed.client("events").put_events(Entries=[entry])
        if answer["FailedEntryCount"]:
            raise SystemExit(f"the bus did not take the erasure of {user_id}")

    return Change(f"USER#{user_id}: erased, asked for at {asked_at}", tell)


def orphans(deployed: Deployed, table: str) -> Iterator[Change]:
    """Sessions of which something is there and not the session itself: deleted, and not swept. Reads every key."""
    dynamodb, sqs = deployed.client("dynamodb"), deployed.client("sqs")
    found = _scan(
        dynamodb, table, "begins_with(#sk, :session)", {":session": {"S": "SESSION#"}}, keys_only=True
    )
    places = ((item["pk"]["S"], item["sk"]["S"]) for item in found)
    for (owner, session_id), group in groupby(places, lambda each: (each[0], keys.session_id_in(each[1]))):
        if any(sk.split("#")[2] == "5SESSION" for _, sk in group):
            continue
        sweep = SweepSession(user_id=int(owner.partition("#")[2]), session_id=session_id).model_dump_json()

        def send(body: str = sweep) -> None:
            sqs.send_message(QueueUrl=deployed.physical("SweepQueue"), MessageBody=body)

        yield Change(f"{owner} session {session_id}", send)


# One user


def user(dynamodb: Any, restored: str, live: str, user_id: int, only: frozenset[int]) -> Iterator[Change]:
    """The user's sessions and examples that are in the restored table and no more in the live one.

    A session brings the examples that it has selected. Each is there whole or not at all: its own item comes last, in one
    transaction with the account's count. Refuses a user who was erased, and a session that is still being swept.
    """
    wire = _wire(keys.account(user_id))
    if "erased_at" in (_get(dynamodb, live, wire) or {}):
        raise SystemExit("this user's data was erased at their request")
    there = [each["sk"]["S"] for each in _of_user(dynamodb, live, user_id)]
    items = _of_user(dynamodb, restored, user_id)
    sessions: dict[int, list[Item]] = {}
    examples: dict[int, Item] = {}
    for item in items:
        sk = item["sk"]["S"]
        if sk.startswith("SESSION#"):
            sessions.setdefault(keys.session_id_in(sk), []).append(item)
        elif sk.startswith("EXAMPLE#"):
            examples[keys.number_in(sk)] = item
    gone = {number for number in sessions if keys.session(user_id, number).sk not in there}
    wanted = gone & only if only else gone
    selected = {
        int(number)
        for session_id in wanted
        for item in sessions[session_id]
        for number in item.get("examples", {}).get("NS", ())
    }
    for number, item in examples.items():
        if keys.example(user_id, number).sk not in there and (not only or number in only | selected):
            yield Change(f"example {number}", _with_its_count(dynamodb, live, wire, "examples", item))
    for session_id in sorted(wanted):
        prefix = keys.session(user_id, session_id).sk.removesuffix("5SESSION")
        if any(sk.startswith(prefix) for sk in there):
            raise SystemExit(f"of session {session_id} something is there: `orphans`, then try again")
        *below, itself = _itself_last(sessions[session_id], prefix + "5SESSION")

        def bring(below: list[Item] = below, itself: Item = itself) -> None:
            for item in below:
                dynamodb.put_item(TableName=live, Item=item)
            _with_its_count(dynamodb, live, wire, "sessions", itself)()

        yield Change(f"session {session_id}, {len(below)} items below it", bring)


def _itself_last(items: list[Item], sk: str) -> list[Item]:
    found = sorted(items, key=lambda item: bool(item["sk"]["S"] == sk))
    if found[-1]["sk"]["S"] != sk:
        raise SystemExit(f"{sk} was deleted already at that time")
    return found


def _with_its_count(dynamodb: Any, live: str, account: Key, name: str, item: Item) -> Callable[[], object]:
    counted = {
        "TableName": live,
        "Key": account,
        "UpdateExpression": "ADD #name :one",
        "ConditionExpression": "attribute_not_exists(#erased_at)",
        "ExpressionAttributeNames": {"#name": name, "#erased_at": "erased_at"},
        "ExpressionAttributeValues": {":one": {"N": "1"}},
    }
    put = {"TableName": live, "Item": item, "ConditionExpression": "attribute_not_exists(pk)"}
    return lambda: dynamodb.transact_write_items(TransactItems=[{"Put": put}, {"Update": counted}])


# Requests


def _wire(key: keys.Key) -> Key:
    return {"pk": {"S": key.pk}, "sk": {"S": key.sk}}


def _get(dynamodb: Any, table: str, key: Key) -> Item | None:
    item: Item | None = dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True).get("Item")
    return item


def _of_user(dynamodb: Any, table: str, user_id: int) -> list[Item]:
    pages = dynamodb.get_paginator("query").paginate(
        TableName=table,
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": keys.user(user_id)}},
        ConsistentRead=True,
    )
    return [item for page in pages for item in page["Items"]]


def _scan(
    dynamodb: Any, table: str, condition: str, values: Mapping[str, Any], *, keys_only: bool = False
) -> Iterator[Item]:
    """The whole table: half a read unit for every 4 KB of it."""
    asked: dict[str, Any] = {
        "TableName": table,
        "FilterExpression": condition,
        "ExpressionAttributeNames": {"#sk": "sk"},
        "ExpressionAttributeValues": dict(values),
    }
    if keys_only:
        asked |= {"ProjectionExpression": "#pk, #sk", "ExpressionAttributeNames": {"#pk": "pk", "#sk": "sk"}}
    for page in dynamodb.get_paginator("scan").paginate(**asked):
        yield from page["Items"]


def _number(item: Item, name: str, absent: float = -1.0) -> float:
    return float(item[name]["N"]) if name in item else absent


def _text(item: Item, name: str) -> str:
    return str(item[name]["S"]) if name in item else ""


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = made.add_subparsers(dest="command", required=True)
    plan = commands.add_parser("plan")
    plan.add_argument("--stack", required=True)
    plan.add_argument("--at", required=True, type=datetime.fromisoformat, help="2026-01-07T09:00:00+00:00")
    commands.add_parser("adopt")
    for name in ("check", "template", "orphans"):
        commands.add_parser(name).add_argument("--table", required=True)
    commands.choices["template"].add_argument("--stream", required=True)
    for name in ("carry", "user"):
        commands.add_parser(name).add_argument("--to", required=True)
        commands.choices[name].add_argument("--from", dest="old", required=name == "user")
    commands.choices["user"].add_argument("--user-id", type=int, required=True)
    commands.choices["user"].add_argument("--only", type=int, action="append", default=[])
    for name in ("carry", "orphans", "user"):
        commands.choices[name].add_argument("--apply", action="store_true")
    return made


def main(arguments: list[str] | None = None) -> int:
    given = parser().parse_args(arguments)
    if given.command == "plan":
        return _plan(Stack(given.stack), given.at)
    if given.command == "adopt":
        print(json.dumps(adopted(json.load(sys.stdin)), indent=1))
        return 0
    if given.command == "template":
        print(moved_template(Path(ROOT / "template.yaml").read_text(), given.table, given.stream), end="")
        return 0
    host, port = os.environ.get("HOST") or "127.0.0.1", os.environ.get("PORT") or "3000"
    deployed = Stack(os.environ["STACK"]) if os.environ.get("STACK") else LocalStack(f"http://{host}:{port}")
    if given.command == "check":
        found = check(deployed.client("dynamodb"), given.table)
        print("\n".join(found) or "as the template declares it")
        return 1 if found else 0
    if given.command == "carry":
        changes = carry(deployed, given.to, given.old)
    elif given.command == "orphans":
        changes = orphans(deployed, given.table)
    else:
        dynamodb = deployed.client("dynamodb")
        changes = user(dynamodb, given.old, given.to, given.user_id, frozenset(given.only))
    return _make(changes, apply=given.apply)


def _plan(stack: Stack, at: datetime) -> int:
    if at.tzinfo is None:
        raise SystemExit("--at needs a time zone, such as +00:00")
    if (kept := stack.parameter("ProvisionedConcurrency")) != "0":
        raise SystemExit(
            f"ProvisionedConcurrency is {kept}, and AWS stops no function that has some: deploy it as 0 first,"
            " then plan again. The restore leaves it at 0"
        )
    print("set -euo pipefail\n")
    print("\n\n".join(map(str, steps(Names.of(stack), at))))
    return 0


def _make(changes: Iterator[Change], *, apply: bool) -> int:
    count = 0
    for change in changes:
        if apply:
            change.make()
        count += 1
        print(change.says)
    print(f"{count} {'done' if apply else 'to do; nothing was changed, --apply does it'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
