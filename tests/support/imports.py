"""What each function imports, until it has served one event: `python -m tests.support.imports` writes imports.toml anew.

An import is paid at every cold start (`make bench` prints what each costs), so a new one is a decision, and a line of a
diff. The event of events/ is served as deployed for tokens with a shared secret: in a process that has imported nothing
yet, or in one forked from a process with no more than what every function may import.
"""

import io
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout, suppress
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from local.stack import Stack
from tests.support.events import EVENTS, for_learner, function_of
from tests.support.learners import in_process, learner, new_user_id
from tests.support.roles import Call

ROOT: Final = Path(__file__).parents[2]
LISTED: Final = ROOT / "tests" / "support" / "imports.toml"
LAYERS: Final = [ROOT / "layers" / "practice", Path(sysconfig.get_path("purelib"))]
PYTHON: Final = "3.13"
"""Whose list it is. With another Python the standard library and the packages import other modules."""

SERVER: Final = """
import json, os, sys, traceback
sys.modules["cryptography"] = None  # it has a layer of its own
answers, sys.stdout = sys.stdout, sys.stderr
for module in sys.argv[1:]:
    __import__(module)

class Context:
    function_name = "imported"
    memory_limit_in_mb = "512"
    invoked_function_arn = "arn:aws:lambda:us-east-1:000000000000:function:imported"
    aws_request_id = "00000000-0000-4000-8000-000000000000"

    @staticmethod
    def get_remaining_time_in_millis():
        return 15_000

def serve(folder, event):
    before = set(sys.modules)
    sys.path.insert(0, folder)
    import handler
    calls, session = [], sys.modules["botocore.httpsession"].URLLib3Session

    def send(self, request, send=session.send):
        headers = {name.lower(): v.decode() if isinstance(v, bytes) else v for name, v in request.headers.items()}
        body = request.body or b""
        calls.append([request.method, request.url, headers, body.decode() if isinstance(body, bytes) else body])
        return send(self, request)

    session.send = send
    answer = handler.lambda_handler(event, Context)
    return {"answer": answer, "calls": calls, "modules": sorted(set(sys.modules) - before)}

for line in sys.stdin:
    if os.fork() == 0:
        try:
            print(json.dumps(serve(*json.loads(line))), file=answers, flush=True)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.wait()[1]):
        print("{}", file=answers, flush=True)
"""

SMALLEST: Final = "default"
"""The function whose imports of others' packages are listed once, for all."""


class Served(NamedTuple):
    answer: Any
    modules: set[str]
    calls: list[Call]
    """The requests to AWS, of which those for secrets and ids are a fresh process's alone."""


class Server:
    """Serves each event in a process of its own, forked from one that has imported the modules."""

    def __init__(self, variables: Mapping[str, str], modules: Iterable[str] = ()) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (as long as the process)
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-c", SERVER, *modules],
            env={
                "PATH": os.defpath,
                "PYTHONPATH": os.pathsep.join(map(str, LAYERS)),
                "PYTHONDONTWRITEBYTECODE": "1",
                "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
                **variables,
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()
        self._errors.close()

    def serve(self, function: str, event: Mapping[str, Any]) -> Served:
        assert self._process.stdin
        assert self._process.stdout
        begin = self._errors.seek(0, os.SEEK_END)
        request = json.dumps([str(ROOT / "functions" / function), event])
        with suppress(BrokenPipeError):  # what it printed says why
            print(request, file=self._process.stdin, flush=True)
        output = json.loads(self._process.stdout.readline() or "{}")
        if not output:
            self._errors.seek(begin if self._process.poll() is None else 0)
            raise AssertionError(f"{function} failed:\n{self._errors.read()}")
        calls = [Call(method, url, headers, body.encode()) for method, url, headers, body in output["calls"]]
        return Served(output["answer"], named(output["modules"]), calls)


def imported_by_all() -> list[str]:
    """What a server preloads. Not pydantic: if it is loaded already, Powertools Batch imports its parser."""
    return [module for module in _common() if not module.startswith("pydantic")]


def _common() -> list[str]:
    """Modules of others that the smallest function imports, and each function may."""
    return [module for module in _listed()[SMALLEST] if not is_ours(module)]


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
    listed = _listed()
    assert function in listed, f"{LISTED.name} has no list for {function}: `make imports` writes it"
    return {package for module in (*_common(), *listed[function]) for package in _with_packages(module)}


@cache
def _listed() -> dict[str, list[str]]:
    return tomllib.loads(LISTED.read_text(encoding="utf-8"))


def write(modules: Mapping[str, set[str]]) -> None:
    """A list for each function: modules of ours, and of others those that the smallest function does without."""
    of_all = {module for module in modules[SMALLEST] if not is_ours(module)}
    lines = [
        "# What each function imports until it has served one event, a package with its modules. Modules of others that",
        "# `default`, the smallest function, imports are listed there alone. `make imports` writes this file. A list that",
        "# grows is a slower cold start: `make bench` measures it.",
    ]
    for name, found in sorted(modules.items(), key=lambda each: (each[0] != SMALLEST, each[0])):
        own = found if name == SMALLEST else found - of_all
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
    with redirect_stdout(io.StringIO()), Stack() as stack, Server(stack.environment) as server:
        send = in_process(stack)
        for path in EVENTS:
            event = for_learner(path, learner(send, stack.token_secret, new_user_id()))
            found.setdefault(function_of(path), set()).update(server.serve(function_of(path), event).modules)
    write(found)


if __name__ == "__main__":
    main()
