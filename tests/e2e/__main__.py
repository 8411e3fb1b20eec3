"""`python -m tests.e2e [arguments for pytest]`: build, serve from emulators, run the suite against that."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

from local.stack import Stack
from local.template import Template
from tests.e2e.build import BUILD, FOLDER, LOGS, build_for_this_machine, runtime
from tests.e2e.fleet import Fleet
from tests.e2e.gate import Gate
from tests.support.roles import Roles
from tools.build import ROOT
from tools.processes import end_on_sigterm, with_parent

ENDPOINTS = (
    "AWS_ENDPOINT_URL_DYNAMODB",
    "AWS_ENDPOINT_URL_SECRETS_MANAGER",
    "AWS_ENDPOINT_URL_SQS",
    "AWS_ENDPOINT_URL_EVENTBRIDGE",
    "AWS_ENDPOINT_URL_S3",
    "LIVE_API_URL",
)


def main(arguments: list[str]) -> int:
    end_on_sigterm()
    with one_run_at_a_time():
        build_for_this_machine()
        return serve_and_test(arguments)


@contextmanager
def one_run_at_a_time() -> Iterator[None]:
    """Two runs in one checkout would build into each other's artefacts."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for another run in this checkout", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def serve_and_test(arguments: list[str]) -> int:
    for log in LOGS.glob("*.log"):
        log.unlink()
    roles, refused = Roles(ROOT / "template.yaml"), list[str]()
    shell = dict(os.environ)
    with ExitStack() as running:

        def fleet(template: Template) -> Fleet:
            gates = {
                name: running.enter_context(closing(Gate(roles, os.environ[name], refused))).url
                for name in ENDPOINTS
            }
            environment = {**os.environ, **gates}
            return running.enter_context(Fleet(template.functions, runtime(), BUILD, LOGS, environment))

        stack = running.enter_context(Stack(invoker=fleet))
        stack.triggers.start()
        print(f"serving the built functions on {stack.url}, their logs are in {LOGS}", flush=True)
        pytest = [sys.executable, "-m", "pytest", "-p", "tests.e2e.front_door", "-m", "not torture"]
        done = subprocess.run(
            [*with_parent(), *pytest, *arguments],
            cwd=ROOT,
            # Not the stack's own variables, which stand in this process: they would be settings of the tests.
            env={**shell, "BASE_URL": stack.url, "TOKEN_SECRET": stack.token_secret},
            check=False,
        )
    for use in sorted(set(refused)):
        print(f"not allowed: {use}", file=sys.stderr)
    return done.returncode or (1 if refused else 0)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
