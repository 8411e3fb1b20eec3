"""Every built function as its own process, as Lambda runs it: its artefact, its layers, nothing else."""

import http.client
import json
import os
import queue
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from local.engine import free_port
from local.functions import PAYLOAD_LIMIT, FunctionError, PayloadTooLargeError
from local.template import Function
from tools.processes import with_parent

INVOKE = "/2015-03-31/functions/function/invocations"
AWS_VARIABLES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL_",
)
START_SECONDS = 60.0
STOP_SECONDS = 5.0


@dataclass(frozen=True)
class Runtime:
    """What runs an artefact: the emulator of Lambda's API and a Python with the runtime interface client."""

    emulator: Path
    python: Path


class Fleet:
    """An `Invoker`. A function's first event starts it; `instances` of it at most serve at the same time."""

    def __init__(
        self,
        functions: Mapping[str, Function],
        runtime: Runtime,
        build: Path,
        logs: Path,
        environment: Mapping[str, str] = os.environ,
        instances: int = 2,
    ) -> None:
        self._functions = functions
        self._runtime = runtime
        self._build = build
        self._logs = logs
        self._environment = environment
        self._idle: dict[str, queue.LifoQueue[Emulator | None]] = {}
        for name in self._functions:
            self._idle[name] = queue.LifoQueue()
            for _ in range(instances):
                self._idle[name].put(None)
        self._started: list[Emulator] = []
        # One thread starts them all, for an emulator dies with the thread that started it.
        self._starter = ThreadPoolExecutor(1, "emulators")

    def invoke(self, function_name: str, event: dict[str, Any], timeout: float | None = None) -> Any:
        payload = json.dumps(event).encode()
        if len(payload) > PAYLOAD_LIMIT:
            raise PayloadTooLargeError(f"{function_name}: an event of {len(payload)} bytes")
        function = self._functions[function_name]
        with self._instance(function) as emulator:
            # The emulator ends a function in its own time: beyond it only a broken emulator is silent.
            return emulator.invoke(payload, timeout or function.timeout + STOP_SECONDS)

    def close(self) -> None:
        self._starter.shutdown()
        for emulator in self._started:
            emulator.terminate()
        for emulator in self._started:
            emulator.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _instance(self, function: Function) -> Iterator["Emulator"]:
        idle = self._idle[function.name]
        emulator = idle.get()
        try:
            if emulator is None or not emulator.usable:
                emulator = self._starter.submit(self._start, function).result()
            yield emulator
        finally:
            idle.put(emulator)

    def _start(self, function: Function) -> "Emulator":
        artefact = self._build / function.logical_id
        packages = [self._build / layer / "python" for layer in layers(function.environment)]
        variables = {name: self._environment.get(name, value) for name, value in function.environment.items()}
        aws = {name: value for name, value in self._environment.items() if name.startswith(AWS_VARIABLES)}
        emulator = Emulator(
            function,
            self._runtime,
            {
                "PATH": "/usr/bin:/bin",
                "LANG": "en_US.UTF-8",
                "TZ": ":UTC",
                "LAMBDA_TASK_ROOT": str(artefact),
                "PYTHONPATH": os.pathsep.join(map(str, [artefact, *packages])),
                # Neither an artefact nor a layer can be written to in Lambda.
                "PYTHONDONTWRITEBYTECODE": "1",
                "AWS_LAMBDA_FUNCTION_NAME": function.physical_name,
                "AWS_LAMBDA_FUNCTION_TIMEOUT": str(int(function.timeout)),
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory),
                **aws,
                "AWS_ACCESS_KEY_ID": function.name,
                **variables,
            },
            self._logs / f"{function.name}.log",
        )
        self._started.append(emulator)
        emulator.wait_until_listening()
        return emulator


class Emulator:
    def __init__(
        self, function: Function, runtime: Runtime, environment: Mapping[str, str], log: Path
    ) -> None:
        self._function = function
        self._log = log
        self._port = free_port()
        self.usable = True
        command = [
            *with_parent(),
            str(runtime.emulator),
            "--runtime-interface-emulator-address",
            f"127.0.0.1:{self._port}",
            "--runtime-api-address",
            f"127.0.0.1:{free_port()}",
            "--log-level",
            "error",
            str(runtime.python),
            "-m",
            "awslambdaric",
            function.handler,
        ]
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                cwd=environment["LAMBDA_TASK_ROOT"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def wait_until_listening(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                    return
            time.sleep(0.01)
        self.usable = False
        raise FunctionError(f"{self._function.name}: the emulator did not start\n{self._last_words()}")

    def invoke(self, payload: bytes, seconds: float) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=seconds)
        try:
            connection.request("POST", INVOKE, payload, {"Content-Type": "application/json"})
            response = connection.getresponse()
            printed = response.read()
        except (OSError, http.client.HTTPException) as error:
            self.usable = False
            self.terminate()
            raise FunctionError(f"{self._function.name}: {error!r}\n{self._last_words()}") from error
        finally:
            connection.close()
        try:
            result = json.loads(printed)
        except ValueError:  # "Task timed out after ..." is not JSON
            raise FunctionError(printed.decode(errors="replace")) from None
        if response.status != 200 or _is_error(result):
            raise FunctionError(f"{printed.decode(errors='replace')}\n{self._last_words()}")
        return result

    def terminate(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()

    def wait(self) -> None:
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        try:
            # The emulator leads a group of its own: this reaches the Python below it, had it stayed behind.
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def _last_words(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]


def layers(environment: Mapping[str, str]) -> list[str]:
    """The layers of the template's Globals."""
    return [
        "DependenciesLayer",
        "PracticeLayer",
        *(["CryptographyLayer"] if environment.get("JWKS_URL") else []),
    ]


def _is_error(result: Any) -> bool:
    return isinstance(result, dict) and {"errorType", "errorMessage"} <= result.keys()
