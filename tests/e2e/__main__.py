"""`python -m tests.e2e [arguments for pytest]`: build, serve from emulators, run the suite against that."""

import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from types import FrameType

from local.stack import Stack
from local.template import Template
from tests.e2e.build import BUILD, LOGS, build_for_this_machine, runtime
from tests.e2e.fleet import Fleet
from tools.build import ROOT


def main(arguments: list[str]) -> int:
    signal.signal(signal.SIGTERM, stop)
    build_for_this_machine()
    for log in LOGS.glob("*.log"):
        log.unlink()
    with ExitStack() as running:

        def fleet(template: Template) -> Fleet:
            return running.enter_context(Fleet(template.functions, runtime(), BUILD, LOGS))

        stack = running.enter_context(Stack(invoker=fleet))
        environment = {
            **os.environ,
            "BASE_URL": stack.url,
            "TOKEN_SECRET": stack.token_secret,
        }
        print(f"serving the built functions on {stack.url}, their logs are in {LOGS}", flush=True)
        command = [sys.executable, "-m", "pytest", "-m", "not torture", *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def stop(number: int, frame: FrameType | None) -> None:
    """SIGTERM ends what was started, as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
