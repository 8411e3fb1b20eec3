"""The emulators behave as Lambda does, and none of them outlives the run."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from local.functions import FunctionError, PayloadTooLargeError
from local.template import Function
from tests.e2e.build import runtime
from tests.e2e.fleet import Fleet, layers
from tools.build import ROOT

pytestmark = pytest.mark.e2e

Serve = Callable[[str], Fleet]


def one_function(folder: Path, handler: str) -> Fleet:
    """A fleet of one function, built by hand, with empty layers."""
    artefact = folder / "Probe"
    artefact.mkdir()
    for layer in layers({}):
        (folder / layer / "python").mkdir(parents=True)
    (artefact / "handler.py").write_text(textwrap.dedent(handler))
    function = Function(
        name="probe",
        logical_id="Probe",
        physical_name="probe",
        folder=artefact,
        handler="handler.lambda_handler",
        timeout=1,
        memory=512,
        environment={"STAGE": "local"},
        retries=0,
        on_failure=None,
    )
    return Fleet({"probe": function}, runtime(), folder, folder, environment={})


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    with ExitStack() as running:
        yield lambda handler: running.enter_context(one_function(tmp_path, handler))


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def gone(pid: int, seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(pid)


def test_a_function_finds_its_variables_and_nothing_of_the_shell(serve: Serve) -> None:
    fleet = serve("""
        import os
        def lambda_handler(event, context):
            return {"event": event, "stage": os.environ["STAGE"], "home": os.environ.get("HOME")}
    """)

    assert fleet.invoke("probe", {"a": 1}) == {"event": {"a": 1}, "stage": "local", "home": None}


@pytest.mark.parametrize("package", ["pytest", "botocore", "practice", "local"])
def test_a_package_outside_artefact_and_layers_cannot_be_imported(serve: Serve, package: str) -> None:
    fleet = serve(f"import {package}\ndef lambda_handler(event, context): return 1")

    with pytest.raises(FunctionError, match=f"ImportModuleError.*No module named '{package}'"):
        fleet.invoke("probe", {})


def test_an_error_fails_one_event_alone(serve: Serve) -> None:
    fleet = serve("""
        import os
        def lambda_handler(event, context):
            if event == "raise":
                raise ValueError("wrong")
            if event == "exit":
                os._exit(3)
            return event
    """)

    with pytest.raises(FunctionError, match="wrong"):
        fleet.invoke("probe", "raise")  # type: ignore[arg-type]  # any JSON is an event
    assert fleet.invoke("probe", {"n": 1}) == {"n": 1}
    with pytest.raises(FunctionError, match="exit status 3"):
        fleet.invoke("probe", "exit")  # type: ignore[arg-type]
    assert fleet.invoke("probe", {"n": 2}) == {"n": 2}


def test_a_function_that_takes_too_long_is_ended(serve: Serve) -> None:
    fleet = serve("""
        import time
        def lambda_handler(event, context):
            time.sleep(event["seconds"])
            return context.get_remaining_time_in_millis() < 1000
    """)

    with pytest.raises(FunctionError, match="timed out after 1"):
        fleet.invoke("probe", {"seconds": 30})
    assert fleet.invoke("probe", {"seconds": 0}) is True


def test_events_and_answers_are_bounded_as_in_lambda(serve: Serve) -> None:
    fleet = serve("def lambda_handler(event, context): return 'x' * event['bytes']")

    with pytest.raises(PayloadTooLargeError):
        fleet.invoke("probe", {"text": "x" * 7_000_000})
    with pytest.raises(FunctionError, match="ResponseSizeTooLarge"):
        fleet.invoke("probe", {"bytes": 7_000_000})
    assert len(fleet.invoke("probe", {"bytes": 6_000_000})) == 6_000_000


def test_two_events_at_once_are_served_by_two_processes(serve: Serve) -> None:
    fleet = serve("""
        import os, time
        def lambda_handler(event, context):
            time.sleep(0.5)
            return os.getpid()
    """)

    def invoke(event: dict[str, Any]) -> Any:
        return fleet.invoke("probe", event)

    with ThreadPoolExecutor(4) as callers:
        pids = list(callers.map(invoke, [{}] * 4))

    assert len(set(pids)) == 2


PID = """
    import os
    def lambda_handler(event, context):
        return os.getpid()
"""


def test_closing_ends_every_process(tmp_path: Path) -> None:
    with one_function(tmp_path, PID) as fleet:
        pid = fleet.invoke("probe", {})
        assert alive(pid)

    assert gone(pid)


def test_killing_the_run_ends_every_process(tmp_path: Path) -> None:
    script = f"""
        import pathlib, sys, threading
        from tests.e2e.test_fleet import PID, one_function
        fleet = one_function(pathlib.Path({str(tmp_path)!r}), PID)
        print(fleet.invoke("probe", {{}}), flush=True)
        threading.Event().wait()
    """
    run = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert run.stdout is not None
        pid = int(run.stdout.readline())
        assert alive(pid)
    finally:
        run.send_signal(signal.SIGKILL)
        run.communicate()

    assert gone(pid)
