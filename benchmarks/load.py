"""Load on the local stack and on the emulator fleet. Each runs in its own process; a third process generates the load."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import figures
from benchmarks.generator import Load, asked
from local.data import TOKEN_SECRET, DataFolder
from tests.e2e.build import build_for_this_machine
from tools.build import ROOT

CONNECTIONS = (1, 8, 32)
SECONDS = 15.0
"""Seconds for each number of connections."""
MOST = 20_000
"""Maximum number of requests for each number of connections."""
MINUTES, LONG_MINUTES = 1.0, 10.0
JUDGED_MINUTES = 5.0
"""A shorter memory measurement is shown without a verdict on growth."""
PACE = 40.0
"""Requests per second during the memory measurement, over 8 connections."""
FLAT = 1.10
"""Maximum ratio of memory between the last and the second quarter."""
START_SECONDS = 60.0
STOP_SECONDS = 30.0
TARGETS = {"local stack": ["local", "run"], "emulator fleet": ["benchmarks.fleet"]}


def measure(*, minutes: float, seed: int = 1) -> dict[str, Any]:
    build_for_this_machine()
    return {
        "minutes": minutes,
        "pace": PACE,
        "targets": {name: under_load(module, minutes, seed) for name, module in TARGETS.items()},
    }


def under_load(module: list[str], minutes: float, seed: int) -> dict[str, Any]:
    with serving(module) as (process, url, secret):
        generate(Load(url, secret, 8, 5.0, seed, MOST))  # warm-up, so that all processes have started
        levels = [
            generate(Load(url, secret, connections, SECONDS, seed + connections, MOST))
            for connections in CONNECTIONS
        ]
        memory = Memory(process.pid)
        with memory.sampling():
            seconds = 60.0 * minutes
            paced = generate(Load(url, secret, 8, seconds, seed, int(PACE * seconds) + 8, PACE))
    return {"levels": levels, "paced": paced, "memory": memory.result(minutes)}


@contextmanager
def serving(module: list[str]) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    with tempfile.TemporaryDirectory(prefix="practice-load-") as data:
        environment = {**os.environ, "DATA": data, "HOST": "127.0.0.1", "PORT": "0", "LOG_LEVEL": "INFO"}
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(
                [sys.executable, "-m", *module],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
            )
            try:
                url = ready(process)
                yield process, url, DataFolder(Path(data)).secret(TOKEN_SECRET)
            except BaseException:
                output.seek(0)
                print(output.read().decode(errors="replace")[-3000:], file=sys.stderr)
                raise
            finally:
                stop(process)


def ready(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    late = threading.Timer(START_SECONDS, process.kill)
    late.start()
    try:
        line = process.stdout.readline()
    finally:
        late.cancel()
    if not line.startswith("ready: "):
        raise SystemExit("the target did not start")
    return line.split()[1]


def stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def generate(load: Load) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.generator"],
        cwd=ROOT,
        input=asked(load),
        capture_output=True,
        text=True,
        timeout=load.seconds + 300,
    )
    if done.returncode:
        raise SystemExit(f"the load generator failed\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


# Memory


class Memory:
    """Resident megabytes of a process and its descendants, once per second."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.samples: list[dict[str, float]] = []

    @contextmanager
    def sampling(self) -> Iterator[None]:
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(1.0):
                self.samples.append(by_kind(self._pid))

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def result(self, minutes: float) -> dict[str, Any]:
        quarter = max(1, len(self.samples) // 4)
        kinds: dict[str, Any] = {}
        for kind in self.samples[-1]:
            early, late = (
                median(sample.get(kind, 0.0) for sample in part)
                for part in (self.samples[quarter : 2 * quarter], self.samples[-quarter:])
            )
            kinds[kind] = {"early": early, "late": late, "growth": late / early if early else None}
        judged = [kinds[kind]["growth"] for kind in ("stack", "functions") if kinds.get(kind)]
        step = max(1, len(self.samples) // 60)
        return {
            "kinds": kinds,
            "is_flat": all(growth <= FLAT for growth in judged) if minutes >= JUDGED_MINUTES else None,
            "every_seconds": step,
            "samples": {
                kind: [round(sample.get(kind, 0.0), 1) for sample in self.samples[::step]] for kind in kinds
            },
        }


def by_kind(pid: int) -> dict[str, float]:
    found = {"stack": resident(pid)}
    for child in below(pid):
        kind = "engine" if name_of(child) == "dynoxide" else "functions"
        found[kind] = found.get(kind, 0.0) + resident(child)
    return found


def below(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, read(task).split()):
            yield child
            yield from below(child)


def resident(pid: int) -> float:
    lines = (line.split() for line in read(Path(f"/proc/{pid}/status")).splitlines())
    return next((int(line[1]) / 1024 for line in lines if line[:1] == ["VmRSS:"]), 0.0)


def name_of(pid: int) -> str:
    return read(Path(f"/proc/{pid}/comm")).strip()


def read(path: Path) -> str:
    """The content of a file; empty if the process has ended."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


# Report


def failures(measured: dict[str, Any]) -> list[str]:
    found = []
    for name, target in measured["targets"].items():
        found += [
            f"{name}, {level['connections']} connections: {level['errors']} errors {level['first_errors']}"
            for level in (*target["levels"], target["paced"])
            if level["errors"]
        ]
        if target["memory"]["is_flat"] is False:
            found.append(f"{name}: memory grows {target['memory']['kinds']}")
    return found


def show(measured: dict[str, Any]) -> None:
    figures.table(
        "Load: 80 % reads, 15 % PATCH, 5 % creates",
        ["", "connections", "requests per second", "p50 ms", "p95 ms", "p99 ms", "errors"],
        [
            [
                name,
                *(level[figure] for figure in ("connections", "per_second", "p50", "p95", "p99", "errors")),
            ]
            for name, target in measured["targets"].items()
            for level in (*target["levels"], target["paced"])
        ],
    )
    figures.table(
        f"Memory over {measured['minutes']:g} minutes at {measured['pace']:g} requests per second, MB",
        ["", "", "early", "late", "growth"],
        [
            [name, kind, each["early"], each["late"], each["growth"]]
            for name, target in measured["targets"].items()
            for kind, each in target["memory"]["kinds"].items()
        ],
    )
