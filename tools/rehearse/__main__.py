"""`python -m tools.rehearse [arguments for pytest]`: rehearse a deployment on an emulator of AWS.

PORT is where the emulator listens on loopback; STEPS names what is done, all of it by default: `dev`, `suite`, `prod`.
"""

import fcntl
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from local.tokens import mint
from tools.build import ROOT, build
from tools.processes import end_on_sigterm, with_parent
from tools.rehearse import stages
from tools.rehearse.adapt import adapt
from tools.rehearse.checks import Failed
from tools.rehearse.deployment import Deployment
from tools.rehearse.drive import Drive
from tools.rehearse.emulator import PYTHON, address, emulator, in_use
from tools.rehearse.slow_model import slow_model

FOLDER = ROOT / ".aws-sam" / "rehearsal"
ARCHITECTURES = {"x86_64": "x86_64", "aarch64": "arm64"}
WORKERS = 2
"""Processes of the suite: one waits for the emulator half of its time."""
CONNECTIONS = "4"
"""Requests at once of each: one that is under way has a process of 45 MB of its own, and the emulator no bound."""
WRITERS = "20"
"""Of each race: with four at once, more of them wait and race no harder."""
BAD_MESSAGE = "tests/live/test_connections.py::test_a_bad_message_is_an_error_and_the_connection_stays"
LACKING = (
    "tests/api/test_bad_input.py::test_a_body_that_is_no_text_is_a_400",
    "tests/api/test_bad_input.py::test_a_body_larger_than_lambda_takes_is_a_413",
    "tests/api/test_sizes.py::test_a_body_of_more_than_ten_megabytes_stops_at_the_gateway",
    "tests/api/test_sizes.py::test_a_query_without_measure_is_refused",
    "tests/security/test_fuzz.py::test_a_fuzzer_with_the_contract_finds_nothing",
    "tests/live/test_connections.py::test_a_token_among_the_subprotocols_opens_a_connection",
    "tests/live/test_connections.py::test_a_handshake_without_a_good_token_is_401",
    "tests/live/test_connections.py::test_a_token_with_bad_claims_opens_nothing",
    f'{BAD_MESSAGE}[{{"action": "$connect"',
    f'{BAD_MESSAGE}[{{"action": "$disconnect"',
    f"{BAD_MESSAGE}[[[[",
)
"""Tests of what the emulator does not do: docs/rehearsal.md has each with the reason."""
SETTINGS = ("TOKEN_ISSUER", "TOKEN_AUDIENCE", "TOKEN_USER_CLAIM")

started = time.monotonic()


def main(arguments: list[str]) -> int:
    end_on_sigterm()
    port = int(os.environ.get("PORT") or 4566)
    steps = (os.environ.get("STEPS") or "dev suite prod").split()
    with one_run_at_a_time():
        if in_use(port):  # before the minute that building takes
            raise SystemExit(f"port {port} is in use: end what listens there, or set PORT")
        target = this_machine()
        build(
            FOLDER / "build",
            target["LambdaRuntime"].removeprefix("python"),
            target["LambdaArchitecture"],
            release=True,
        )
        template, left_out = adapt(FOLDER / "build" / "template.yaml", address(port))
        say(f"built; left out of the template: {', '.join(left_out)}")
        failed = 0
        if "dev" in steps or "suite" in steps:
            with emulator(FOLDER, port, iam=False) as running, slow_model() as models:
                parameters = stages.dev(running, target, models)
                failed = rehearse_dev(Deployment(running, "dev", template), parameters, steps, arguments)
        if "prod" in steps and not failed:
            with emulator(FOLDER, port, iam=True) as running, slow_model() as models:
                rehearse_prod(Deployment(running, "prod", template), stages.prod(running, target, models))
    return failed


def rehearse_dev(
    dev: Deployment, parameters: Mapping[str, str], steps: list[str], arguments: list[str]
) -> int:
    dev.deploy(parameters)
    say(f"deployed {dev.name}: {len(dev.resources)} resources")
    if "dev" in steps:
        drive(dev)
    failed = test(dev, arguments) if "suite" in steps else 0
    delete(dev)
    return failed


def rehearse_prod(prod: Deployment, parameters: dict[str, str]) -> None:
    """With the policies of the roles enforced."""
    prod.deploy(parameters)
    say(f"deployed {prod.name}: {len(prod.resources)} resources")
    drive(prod)
    versions = prod.versions()
    prod.deploy(parameters | stages.UPDATE)
    if unmoved := [name for name, version in prod.versions().items() if versions.get(name) == version]:
        raise Failed(f"the update published no new version of {', '.join(unmoved)}")
    say(f"updated {prod.name}")
    drive(prod)
    delete(prod)


def drive(deployment: Deployment) -> None:
    settings = deployment.environment("ListSessions")
    secret = deployment.secret()
    steps = Drive(deployment, deployment.make_routes(), lambda user_id: mint(secret, user_id, 3600, settings))
    for step in steps.run():
        say(f"  {step}")
    say(f"drove {deployment.name}: {len(steps.routes)} routes")


def test(deployment: Deployment, arguments: list[str]) -> int:
    deployment.make_routes()
    settings = deployment.environment("ListSessions")
    without = [f"--deselect={each}" for each in LACKING]
    done = subprocess.run(
        [
            *with_parent(),
            sys.executable,
            "-m",
            "pytest",
            "-m",
            "not e2e and not torture",
            "-q",
            f"-n{WORKERS}",
            *without,
            *arguments,
        ],
        cwd=ROOT,
        env={
            **{
                name: value for name, value in os.environ.items() if name != "STEPS"
            },  # a size of the long tests
            "BASE_URL": deployment.url,
            "LIVE_URL": deployment.live_url,
            "CONNECTIONS": CONNECTIONS,
            "WRITERS": WRITERS,
            "TOKEN_SECRET": deployment.secret(),
            **{name: settings[name] for name in SETTINGS},
        },
        check=False,
    )
    say(f"tested {deployment.name} through the front door: pytest ended with {done.returncode}")
    return done.returncode


def delete(deployment: Deployment) -> None:
    deployment.delete()
    if left := deployment.left():
        raise Failed(f"after the deletion of {deployment.name} these are left: {', '.join(left)}")
    say(f"deleted {deployment.name}: the table is left, as it should be")


def this_machine() -> dict[str, str]:
    """The emulator runs functions with its own Python."""
    if sys.platform != "linux" or platform.machine() not in ARCHITECTURES:
        raise SystemExit(f"make rehearse runs on Linux, not on {sys.platform} {platform.machine()}")
    if not PYTHON.exists():
        raise SystemExit("the emulator is not installed: run make rehearse, which installs it")
    ask = "import sys; print('%d.%d' % sys.version_info[:2])"
    version = subprocess.run([PYTHON, "-c", ask], check=True, capture_output=True, text=True).stdout.strip()
    return {"LambdaRuntime": f"python{version}", "LambdaArchitecture": ARCHITECTURES[platform.machine()]}


@contextmanager
def one_run_at_a_time(folder: Path = FOLDER) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit("another rehearsal runs in this checkout: wait for its end") from None
        yield


def say(text: str) -> None:
    print(f"{time.monotonic() - started:5.0f} s  {text}", flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Failed as failure:
        sys.exit(f"the rehearsal failed: {failure}")
    except KeyboardInterrupt:
        print("stopped: nothing is left running", file=sys.stderr)
        sys.exit(130)
