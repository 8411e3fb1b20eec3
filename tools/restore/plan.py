"""The shell commands that restore the whole table."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from botocore import xform_name

from tools.deployed import Stack, template


@dataclass(frozen=True)
class Command:
    """An AWS call, validated by botocore."""

    service: str
    operation: str
    parameters: Mapping[str, Any]

    def __str__(self) -> str:
        words = [f"aws {self.service} {xform_name(self.operation, '-')}"]
        for name, value in self.parameters.items():
            option = "--" + xform_name(name, "-")
            if isinstance(value, bool):
                words.append(option if value else option.replace("--", "--no-", 1))
            else:
                words.append(
                    f"{option} {shlex.quote(value if isinstance(value, str) else json.dumps(value))}"
                )
        return " \\\n  ".join(words)


@dataclass(frozen=True)
class Step:
    why: str
    commands: list[Command | str]

    def __str__(self) -> str:
        return "\n".join([*(f"# {line}" for line in self.why.splitlines()), *map(str, self.commands)])


@dataclass(frozen=True)
class Names:
    """The physical names in a stack."""

    stack: str
    table: str
    functions: list[str]
    """All functions."""
    behind: list[str]
    """Event functions."""
    triggers: list[str]
    """Event source mappings of queues and of the stream."""
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
    """A restore of the whole table into a new one, to which the stack is then moved."""
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
        # A gradual deployment fails while an alarm is on, and functions without concurrency trigger one.
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
            f"1. Restore the state of {at.isoformat()} into a new table. It takes minutes to hours; users notice nothing.",
            restored,
        ),
        Step(
            "2. Enable what a restore does not include: stream, deletion protection, recovery, time to live.",
            switched,
        ),
        Step(
            "3. Stop all writes. Triggers come first, so that no message counts as failed. Callers get 5xx from now on.",
            stopped,
        ),
        Step(
            "4. Move the stack to the new table, in a clone of the deployed commit. The old table remains.\n"
            "From here on the committed template.yaml would create an EMPTY table: see 'Adopt' in the runbook.",
            deployed,
        ),
        Step(
            "5. Carry over ids, erasures, revocations, classes and agents. The first command reports, the second applies.",
            carried,
        ),
        Step(
            "6. Start the background functions, including erasures. Continue when the last command finds nothing to do.",
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
    """Lists the triggers at run time, because the deployment replaces that of the stream."""
    kind = "AWS::Lambda::EventSourceMapping"
    query = f"StackResourceSummaries[?ResourceType=='{kind}'].PhysicalResourceId"
    listed = f"aws cloudformation list-stack-resources --stack-name {names.stack}"
    return f"$({listed} --query {shlex.quote(query)} --output text)"
