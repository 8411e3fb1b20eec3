"""`python -m tools.template_rules`: check the templates with cfn-lint, the serverless rules, checkov and a rule on loops.

Prints findings without an exception in template_rules.toml, and unused exceptions.
"""

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, NamedTuple

from tools.expansion import deployed, grants

ROOT: Final = Path(__file__).resolve().parent.parent
EXCEPTIONS: Final = Path(__file__).with_suffix(".toml")
TEMPLATES: Final = [
    "template.yaml",
    *(str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("stacks/*.yaml"))),
]
CFN_LINT: Final = [
    str(ROOT / ".tools" / "sam" / "bin" / "cfn-lint"),
    *TEMPLATES,
    "--append-rules=cfn_lint_serverless.rules",
    "--format=json",
]
CHECKOV: Final = [
    str(ROOT / ".tools" / "checkov" / "bin" / "python"),
    "-m",
    "checkov.main",
    "--file",
    *TEMPLATES,
    "--framework=cloudformation",
    "--output=json",
    "--quiet",
    "--compact",
    "--skip-download",
]


class Finding(NamedTuple):
    rule: str
    resource: str
    """Its logical id; empty for a finding about the whole template."""
    text: str

    def __str__(self) -> str:
        return f"{self.rule} {self.resource}: {self.text}"


Exceptions = Mapping[str, Mapping[str, str]]
"""The reason, by rule and pattern of logical ids."""


def main() -> int:
    with ThreadPoolExecutor() as threads:
        linted, scanned = threads.submit(lint), threads.submit(scan)
        findings = linted.result() + scanned.result()
    findings += loops(deployed({"Stage": "dev"}).resources)
    faults = judge(findings, tomllib.loads(EXCEPTIONS.read_text(encoding="utf-8")))
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


def judge(findings: Iterable[Finding], exceptions: Exceptions) -> list[str]:
    used: set[tuple[str, str]] = set()
    faults = []
    for finding in findings:
        patterns = [each for each in exceptions.get(finding.rule, ()) if fnmatchcase(finding.resource, each)]
        used |= {(finding.rule, pattern) for pattern in patterns}
        if not patterns:
            faults.append(str(finding))
    given = {(rule, pattern) for rule, excused in exceptions.items() for pattern in excused}
    return faults + [f"{rule} {pattern}: the exception is unused" for rule, pattern in sorted(given - used)]


def lint() -> list[Finding]:
    found = []
    for each in _json(CFN_LINT):
        place = each["Location"].get("Path") or []
        resource = place[1] if place[:1] == ["Resources"] and len(place) > 1 else ""
        found.append(Finding(each["Rule"]["Id"], str(resource), each["Message"]))
    return found


def scan() -> list[Finding]:
    scanned = _json(CHECKOV)
    if not scanned["summary"]["passed"] or scanned["summary"]["parsing_errors"]:
        raise SystemExit("checkov could not read the templates")
    return [
        Finding(each["check_id"], each["resource"].rpartition(".")[2], each["check_name"])
        for each in scanned["results"]["failed_checks"]
    ]


RECURSION: Final = "RecursiveLoop"


def loops(resources: Mapping[str, Any]) -> Iterator[Finding]:
    """Lambda stops a function that sends to its own queue after some 16 rounds, unless it has `RecursiveLoop: Allow`."""
    own = {
        (_function(mapping["FunctionName"]), str(mapping["EventSourceArn"]))
        for mapping in _properties(resources, "AWS::Lambda::EventSourceMapping").values()
    }
    for name, function in _properties(resources, "AWS::Lambda::Function").items():
        role = str(function["Role"]).partition(".")[0]
        sends = {
            each.resource for each in grants(role, resources) if fnmatchcase("sqs:SendMessage", each.action)
        }
        may_loop = any((name, queue) in own for queue in sends)
        if may_loop is not (function.get(RECURSION) == "Allow"):
            does = (
                "may send to its own queue and has no" if may_loop else "cannot send to its own queue and has"
            )
            yield Finding(RECURSION, name, f"{does} RecursiveLoop: Allow")


def _function(alias: object) -> str:
    """A mapping is on the alias of its function."""
    return str(alias).removesuffix("Aliaslive")


def _properties(resources: Mapping[str, Any], kind: str) -> dict[str, Any]:
    return {name: each["Properties"] for name, each in resources.items() if each["Type"] == kind}


def _json(command: list[str]) -> Any:
    """The output of a tool. Its exit status only says whether there are findings."""
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    try:
        return json.loads(done.stdout or "[]" if done.returncode == 0 else done.stdout)
    except ValueError:
        raise SystemExit(f"failed: {' '.join(command)}\n{done.stdout}{done.stderr}") from None


if __name__ == "__main__":
    sys.exit(main())
