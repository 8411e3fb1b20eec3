"""What each function imports, until it has served one event: `python -m tests.support.imports` writes imports.toml anew.

An import is paid at every cold start (`make bench` prints what each costs), so a new one is a decision, and a line of a
diff. The event of events/ is served, in a fresh process, as deployed for tokens with a shared secret.
"""

import io
import json
import os
import subprocess
import sys
import sysconfig
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Final, NamedTuple

from local.stack import Stack, read_template
from tests.platform.test_events import EVENTS, for_learner, function_of
from tests.support.learners import in_process, learner, new_user_id
from tests.support.roles import Call

ROOT: Final = Path(__file__).parents[2]
LISTED: Final = ROOT / "tests" / "support" / "imports.toml"
LAYERS: Final = [ROOT / "layers" / "practice", Path(sysconfig.get_path("purelib"))]
PYTHON: Final = "3.13"
"""Whose list it is. With another Python the standard library and the packages import other modules."""

PROBE: Final = """
import json, sys
sys.modules["cryptography"] = None  # it has a layer of its own
said, sys.stdout = sys.stdout, sys.stderr
event = json.load(sys.stdin)
before = set(sys.modules)

class Context:
    function_name = "imported"
    memory_limit_in_mb = "512"
    invoked_function_arn = "arn:aws:lambda:us-east-1:000000000000:function:imported"
    aws_request_id = "00000000-0000-4000-8000-000000000000"

    @staticmethod
    def get_remaining_time_in_millis():
        return 15_000

import handler
calls, session = [], sys.modules["botocore.httpsession"].URLLib3Session

def send(self, request, send=session.send):
    headers = {name.lower(): v.decode() if isinstance(v, bytes) else v for name, v in request.headers.items()}
    body = request.body or b""
    calls.append([request.method, request.url, headers, body.decode() if isinstance(body, bytes) else body])
    return send(self, request)

session.send = send
answer = handler.lambda_handler(event, Context)
json.dump({"answer": answer, "calls": calls, "modules": sorted(set(sys.modules) - before)}, said)
said.flush()
"""

Modules = Mapping[str, set[str]]
"""Modules by function, or by what several functions have in common."""


class Served(NamedTuple):
    answer: Any
    modules: set[str]
    calls: list[Call]
    """The requests to AWS, of which those for secrets and ids are a fresh process's alone."""


def serve(function: str, event: Mapping[str, Any], variables: Mapping[str, str]) -> Served:
    """The event's way through the function in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-S", "-c", PROBE],
        input=json.dumps(event),
        env={
            "PATH": os.defpath,
            "PYTHONPATH": os.pathsep.join(map(str, [ROOT / "functions" / function, *LAYERS])),
            "PYTHONDONTWRITEBYTECODE": "1",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            **variables,
        },
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise AssertionError(f"{function} failed:\n{done.stderr}")
    said = json.loads(done.stdout)
    calls = [Call(method, url, headers, body.encode()) for method, url, headers, body in said["calls"]]
    return Served(said["answer"], named(said["modules"]), calls)


HOST_NAMES: Final = {"encodings", "stringprep", "unicodedata"}
"""What a process's first connection brings along, and not what the function chose."""


def named(modules: Iterable[str]) -> set[str]:
    """Our own modules in full, packages of others two deep, the standard library by its packages; nothing private."""
    kept = set()
    for module in modules:
        parts = module.split(".")
        depth = {"practice": len(parts)}.get(parts[0], 1 if parts[0] in sys.stdlib_module_names else 2)
        if parts[0] != "handler" and not any(part.startswith("_") for part in parts[:depth]):
            kept.add(".".join(parts[:depth]))
    return kept - HOST_NAMES


def comparable(modules: set[str]) -> set[str]:
    """Those that are the same on every Python."""
    own = {module for module in modules if module.partition(".")[0] == "practice"}
    return modules if sysconfig.get_python_version() == PYTHON else own


def kinds() -> dict[str, list[str]]:
    """What has its imports in common with others, by function, the widest kind first."""
    template = read_template()
    with_token = {route.function for route in template.routes if route.path.startswith("/user/")}
    open_to_all = {route.function for route in template.routes} - with_token
    return {
        name: ["all"]
        if name in open_to_all
        else ["all", "table", "requests" if name in with_token else "events"]
        for name in template.functions
    }


def read() -> Modules:
    """What each function may import."""
    listed = tomllib.loads(LISTED.read_text(encoding="utf-8"))
    shared = {kind: _unfolded(table) for kind, table in listed["shared"].items()}
    return {
        name: _unfolded(listed["function"].get(name, {})).union(*(shared[kind] for kind in of))
        for name, of in kinds().items()
    }


def write(modules: Modules) -> None:
    of = kinds()
    shared: dict[str, set[str]] = {}
    for kind in ("all", "table", "requests", "events"):
        common = set.intersection(*(modules[name] for name in of if kind in of[name]))
        wider = {"all": (), "table": ("all",)}.get(kind, ("all", "table"))
        shared[kind] = common.difference(*(shared[each] for each in wider))
    lines = [
        "# What each function imports until it has served one event. `make imports` writes this anew. A line that grows is",
        "# a slower cold start: `make bench` says by how much.",
    ]
    for kind, found in shared.items():
        lines += ["", f"[shared.{kind}]", *_folded(found)]
    for name, found in sorted(modules.items()):
        own = found.difference(*(shared[kind] for kind in of[name]))
        lines += ["", f"[function.{name}]", *_folded(own)]
    LISTED.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _folded(modules: Iterable[str]) -> list[str]:
    """By package, so that a line says what it is about."""
    by_package: dict[str, list[str]] = defaultdict(list)
    for module in sorted(modules):
        package, _, name = module.rpartition(".")
        by_package[package or "packages"].append(name)
    return [f'"{package}" = "{" ".join(names)}"' for package, names in sorted(by_package.items())]


def _unfolded(table: Mapping[str, str]) -> set[str]:
    return {
        name if package == "packages" else f"{package}.{name}"
        for package, names in table.items()
        for name in names.split()
    }


def main() -> None:
    if sysconfig.get_python_version() != PYTHON:
        raise SystemExit(f"the list is that of Python {PYTHON}, the functions' own")
    found: dict[str, set[str]] = {}
    with redirect_stdout(io.StringIO()), Stack() as stack, ThreadPoolExecutor(2) as threads:
        send = in_process(stack)
        events = [
            (function_of(path), for_learner(path, learner(send, stack.token_secret, new_user_id())))
            for path in EVENTS
        ]
        served = threads.map(lambda each: serve(each[0], each[1], stack.environment).modules, events)
        for (function, _), modules in zip(events, served, strict=True):
            found.setdefault(function, set()).update(modules)
    write(found)


if __name__ == "__main__":
    main()
