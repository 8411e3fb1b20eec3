"""Restore an earlier state of the table. docs/runbook.md describes when and in which order.

    python -m tools.restore plan --stack S --at T         print the commands for a restore of the whole table
    python -m tools.restore check --table T               compare a restored table with the template
    python -m tools.restore template --table T --stream ARN > template.yaml
    python -m tools.restore adopt < processed.json > import.json
    python -m tools.restore carry --to T [--from OLD]     carry over what must survive the restore
    python -m tools.restore orphans --table T             sweep the remaining items of deleted sessions
    python -m tools.restore accounts --table T            move accounts out of the partitions of their users' items
    python -m tools.restore user --from T --to LIVE --user-id N [--only ID]

The last four only print what they would do, unless --apply is given. They work on the stack that STACK names, or without
STACK on the local stack at HOST and PORT.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from tools.build import ROOT
from tools.deployed import LocalStack, Stack
from tools.restore.changes import Change, accounts, carry, orphans
from tools.restore.one_user import user
from tools.restore.plan import Names, steps
from tools.restore.tables import adopted, check, moved_template


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m tools.restore",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = made.add_subparsers(dest="command", required=True)
    plan = commands.add_parser("plan")
    plan.add_argument("--stack", required=True)
    plan.add_argument("--at", required=True, type=datetime.fromisoformat, help="2026-01-07T09:00:00+00:00")
    commands.add_parser("adopt")
    for name in ("check", "template", "orphans", "accounts"):
        commands.add_parser(name).add_argument("--table", required=True)
    commands.choices["template"].add_argument("--stream", required=True)
    for name in ("carry", "user"):
        commands.add_parser(name).add_argument("--to", required=True)
        commands.choices[name].add_argument("--from", dest="old", required=name == "user")
    commands.choices["user"].add_argument("--user-id", type=int, required=True)
    commands.choices["user"].add_argument("--only", type=int, action="append", default=[])
    for name in ("carry", "orphans", "accounts", "user"):
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
    elif given.command == "accounts":
        changes = accounts(deployed, given.table)
    else:
        dynamodb = deployed.client("dynamodb")
        changes = user(dynamodb, given.old, given.to, given.user_id, frozenset(given.only))
    return _make(changes, apply=given.apply)


def _plan(stack: Stack, at: datetime) -> int:
    if at.tzinfo is None:
        raise SystemExit("--at needs a time zone, such as +00:00")
    if (kept := stack.parameter("ProvisionedConcurrency")) != "0":
        raise SystemExit(
            f"ProvisionedConcurrency is {kept}, and AWS cannot stop such a function: deploy it as 0 first,"
            " then plan again. The restore keeps it at 0"
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
