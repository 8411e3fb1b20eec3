"""Compares a restored table with the template, and puts the stack on it."""

import re
from collections.abc import Mapping
from typing import Any

from tools.deployed import template


def differences(
    described: Mapping[str, Any], ttl: Mapping[str, Any], backups: Mapping[str, Any]
) -> list[str]:
    """Differences between a table and its declaration in the template."""
    declared = template().table
    found = []
    if _by_name(described["KeySchema"]) != _by_name(declared["KeySchema"]):
        found.append("different primary key")
    indexes = {each["IndexName"]: each for each in described.get("LocalSecondaryIndexes", [])}
    for index in declared["LocalSecondaryIndexes"]:
        there = indexes.get(index["IndexName"])
        if there is None:
            found.append(f"missing index {index['IndexName']}")
        elif _shape(there) != _shape(index):
            found.append(f"different index {index['IndexName']}")
    stream = described.get("StreamSpecification", {})
    if (
        not stream.get("StreamEnabled")
        or stream["StreamViewType"] != declared["StreamSpecification"]["StreamViewType"]
    ):
        found.append("missing or different stream")
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
    """The template without its table, on an existing one; the old table remains (`DeletionPolicy: Retain`)."""
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
    if left := [line for line in text.splitlines() if re.search(r"\bPracticeTable\b", line)]:
        raise SystemExit(f"unknown reference: {left[0].strip()}")
    return text


def adopted(processed: dict[str, Any]) -> dict[str, Any]:
    """The deployed template with the table added, for a change set that imports it."""
    declared = {name: value for name, value in template().table.items() if name != "TableName"}
    table = {
        "Type": "AWS::DynamoDB::Table",
        "DeletionPolicy": "Retain",
        "UpdateReplacePolicy": "Retain",
        "Properties": declared,
    }
    return {**processed, "Resources": {**processed["Resources"], "PracticeTable": table}}
