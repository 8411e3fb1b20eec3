"""`python -m benchmarks.fleet`: serve the built functions under the emulator, behind the gateway, until SIGTERM.

Like `python -m local run`, it keeps its data in DATA and prints one line when it is ready.
"""

import os
import signal
import sys
from pathlib import Path

from local.stack import Stack
from local.template import Template
from tests.e2e.build import BUILD, LOGS, runtime
from tests.e2e.fleet import Fleet


def main() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    fleets: list[Fleet] = []

    def fleet(template: Template) -> Fleet:
        fleets.append(Fleet(template.functions, runtime(), BUILD, LOGS, os.environ))
        return fleets[0]

    out, sys.stdout = sys.stdout, sys.stderr
    try:
        with Stack(Path(os.environ["DATA"]), invoker=fleet) as stack:
            stack.triggers.start()
            print(f"ready: {stack.url}", file=out, flush=True)
            signal.sigwait({signal.SIGTERM, signal.SIGINT})
    finally:
        for each in fleets:
            each.close()


if __name__ == "__main__":
    main()
