"""`python -m tools.compare_templates REVISION`: what this template deploys differently from that of a git revision.

Both are expanded for several sets of parameters. Resources are compared by logical id, in whichever stack they are, and
roles by what they allow in effect. Each difference is printed once, with the resources and the sets that show it.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

from local.intrinsics import parse
from tools.expansion import (
    ROOT,
    TEMPLATE,
    Deployed,
    as_list,
    deployed,
    effective,
    grants,
    of_working_tree,
    repeated,
)

SECRETS: Final = "arn:aws:secretsmanager:eu-central-1:123456789012:secret"
DEV: Final = {"TokenSecretArn": f"{SECRETS}:token-AbCdEf", "LogLevel": "DEBUG", "DeletionProtection": "false"}
PROD: Final = {
    "Stage": "prod",
    "TokenSecretArn": f"{SECRETS}:token-AbCdEf",
    "TokenIssuer": "https://login.example.com",
    "CorsOrigins": "https://learn.example.com",
    "DeploymentPreference": "Canary10Percent5Minutes",
}
OPTIONS: Final = PROD | {
    "JwksUrl": "https://login.example.com/jwks",
    "DomainName": "api.example.com",
    "CertificateArn": "arn:aws:acm:eu-central-1:123456789012:certificate/1-2",
    "HostedZoneId": "Z123",
    "LiveDomainName": "live.example.com",
    "LiveCertificateArn": "arn:aws:acm:eu-central-1:123456789012:certificate/3-4",
    "LiveAccessLogs": "true",
    "KmsKeyArn": "arn:aws:kms:eu-central-1:123456789012:key/1-2",
    "AlarmTopicArn": "arn:aws:sns:eu-central-1:123456789012:pager",
    "ProvisionedConcurrency": "5",
    "ProviderSecretArn": f"{SECRETS}:providers-AbCdEf",
    "BedrockModelArns": "arn:aws:bedrock:eu-central-1::foundation-model/a",
    "KnowledgeBaseId": "KB12345678",
    "ModelsParameter": "/practice/models",
    "ModelsObject": "s3://configuration/models.json",
    "LambdaArchitecture": "x86_64",
}
SETS: Final[Mapping[str, Mapping[str, str]]] = {"dev": DEV, "prod": PROD, "options": OPTIONS}

PROSE: Final = {"Description", "AlarmDescription", "AssertDescription", "ConstraintDescription"}
NAMES: Final = ("AlarmName", "DashboardName")
OF_ROLES: Final = {"Policies", "ManagedPolicyArns", "PermissionsBoundary"}
VERSION: Final = re.compile(r"Version[0-9a-f]{10}\b")
"""SAM names a version after a digest of its function's code and properties."""

Difference = tuple[str, str]
"""The resource, and what is different."""


def differences(before: Deployed, after: Deployed) -> Iterator[Difference]:
    old, new = _by_name(before), _by_name(after)
    for name in sorted(old.keys() | new.keys()):
        if name not in old or name not in new:
            yield name, "added" if name in new else "removed"
            continue
        yield from ((name, each) for each in _unequal(_comparable(old[name]), _comparable(new[name]), ""))
        was_in, is_in = before.stack_of.get(name), after.stack_of.get(name)
        if was_in != is_in:
            # A name stays taken until an update is complete: the new stack cannot create what the old one has.
            named = [new[name]["Properties"][key] for key in NAMES if key in new[name]["Properties"]]
            moved = f"moved into stack {is_in}" if is_in else f"moved out of stack {was_in}"
            yield name, f"{moved}{' under the name ' if named else ''}{''.join(named)}"
        if new[name]["Type"] == "AWS::IAM::Role":
            yield from ((name, each) for each in _of_role(name, before, after))
    yield from (("outputs", each) for each in _unequal(before.outputs, after.outputs, ""))
    was, now = ({name for name in each.resources if VERSION.search(name)} for each in (before, after))
    yield from ((VERSION.sub("", name), "published in a new version") for name in sorted(now - was))


def _of_role(name: str, before: Deployed, after: Deployed) -> Iterator[str]:
    was, now = grants(name, before.resources), grants(name, after.resources)
    for grant in effective(was) - effective(now):
        yield f"no longer allows {grant}"
    for grant in effective(now) - effective(was):
        yield f"now allows {grant}"
    for grant in set(repeated(was)) - set(repeated(now)):
        yield f"no longer repeats {grant}"
    for grant in set(repeated(now)) - set(repeated(was)):
        yield f"now repeats {grant}"
    boundary = after.resources[name]["Properties"].get("PermissionsBoundary")
    if boundary != before.resources[name]["Properties"].get("PermissionsBoundary"):
        yield f"limited by {boundary}"


def _by_name(whole: Deployed) -> dict[str, Any]:
    resources: dict[str, Any] = json.loads(VERSION.sub("Version", json.dumps(whole.resources)))
    return resources


def _comparable(resource: Mapping[str, Any]) -> dict[str, Any]:
    left_out = {"AWS::IAM::Role": OF_ROLES, "AWS::IAM::ManagedPolicy": {"PolicyDocument"}}
    properties = {
        key: value
        for key, value in (resource.get("Properties") or {}).items()
        if key not in left_out.get(resource["Type"], ())
    }
    if "DashboardBody" in properties:
        properties["DashboardBody"] = json.loads(properties["DashboardBody"])
    for statement in properties.get("AssumeRolePolicyDocument", {}).get("Statement", []):
        statement["Action"] = as_list(statement["Action"])
        statement["Principal"] = {key: as_list(value) for key, value in statement["Principal"].items()}
    return {**resource, "Properties": properties}


def _unequal(old: Any, new: Any, place: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from _unequal(old.get(key), new.get(key), f"{place}.{key}".lstrip("."))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _unequal(one, other, f"{place}[{index}]")
    elif old != new:
        is_prose = place.rpartition(".")[2] in PROSE and old and new
        yield f"{place} reworded" if is_prose else f"{place}: {json.dumps(old)} -> {json.dumps(new)}"


def main(revision: str) -> None:
    def of_revision(name: str) -> str:
        command = ["git", "show", f"{revision}:{name}"]
        return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout

    shown: dict[Difference, list[str]] = {}
    for label, parameters in SETS.items():
        before, after = deployed(parameters, of_revision), deployed(parameters)
        print(f"{label}: {len(before.resources)} resources before, {len(after.resources)} after")
        for difference in differences(before, after):
            shown.setdefault(difference, []).append(label)
    old, new = parse(of_revision(TEMPLATE)), parse(of_working_tree(TEMPLATE))
    for section in ("Parameters", "Rules"):
        for each in _unequal(old[section], new[section], ""):
            shown[section, re.sub(r"^.*( reworded)$", r"texts\1", each)] = list(SETS)
    alike: dict[tuple[str, str], list[str]] = {}
    for (name, what), labels in shown.items():
        in_some = f" [{' '.join(labels)}]" if len(labels) < len(SETS) else ""
        alike.setdefault((what, in_some), []).append(name)
    for (what, in_some), names in alike.items():
        print(f"\n{what}{in_some}\n  {len(names)}: {', '.join(names)}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(sys.argv[1])
