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
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Final, NamedTuple

from local.stack import Stack
from tests.support.events import EVENTS, for_learner, function_of
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

SMALLEST: Final = "default"
"""The function whose imports of others' packages are listed once, for all."""


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
    output = json.loads(done.stdout)
    calls = [Call(method, url, headers, body.encode()) for method, url, headers, body in output["calls"]]
    return Served(output["answer"], named(output["modules"]), calls)


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
    return modules if sysconfig.get_python_version() == PYTHON else set(filter(is_ours, modules))


def allowed(function: str) -> set[str]:
    """What the function may import."""
    listed: dict[str, list[str]] = tomllib.loads(LISTED.read_text(encoding="utf-8"))
    assert function in listed, f"{LISTED.name} has no list for {function}: `make imports` writes it"
    common = [module for module in listed[SMALLEST] if not is_ours(module)]
    return {package for module in (*common, *listed[function]) for package in _with_packages(module)}


def write(modules: Mapping[str, set[str]]) -> None:
    """A list for each function: modules of ours, and of others those that the smallest function does without."""
    common = {module for module in modules[SMALLEST] if not is_ours(module)}
    lines = [
        "# What each function imports until it has served one event, a package with its modules. Modules of others that",
        "# `default`, the smallest function, imports are listed there alone. `make imports` writes this file. A list that",
        "# grows is a slower cold start: `make bench` measures it.",
    ]
    for name, found in sorted(modules.items(), key=lambda each: (each[0] != SMALLEST, each[0])):
        own = found if name == SMALLEST else found - common
        own -= {package for module in own for package in _with_packages(module) if package != module}
        lines += ["", f"{name} = [", *(f'    "{module}",' for module in sorted(own, key=_ours_first)), "]"]
    LISTED.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _with_packages(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:depth]) for depth in range(1, len(parts) + 1)]


def is_ours(module: str) -> bool:
    return module.partition(".")[0] == "practice"


def _ours_first(module: str) -> tuple[bool, str]:
    return not is_ours(module), module


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
