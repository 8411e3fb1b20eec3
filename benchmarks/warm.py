"""Warm request: processor time with recorded responses of the table, relative to a bare handler over naive items."""

import json
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Self

from benchmarks import bundles, figures, naive
from benchmarks.cold import PROCESS
from benchmarks.lab import Lab, fill_session
from tests.support.learners import Learner

CALLS = {1: 40, 10: 10}
"""Consecutive requests, by the multiple of the standard session."""
BUDGET = 1.0
SAMPLED_SECONDS = 2.0
"""Seconds of processor time for the profile of each request."""
PROFILED = ("bare", "ours")


@dataclass(frozen=True)
class Request:
    operation: str
    event: dict[str, Any]


class Worker:
    """A process that handles many requests."""

    def __init__(
        self, path: list[Path], variables: dict[str, str], python: Path = Path(sys.executable)
    ) -> None:
        self._process = subprocess.Popen(
            [python, "-P", "-S", PROCESS, "warm"],
            env=bundles.environment(path, variables),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, event: dict[str, Any], calls: int, sampled_seconds: float = 0.0) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        asked = {"event": json.dumps(event), "calls": calls, "sampled_seconds": sampled_seconds}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"a warm process ended: {self._process.wait()}")
        done: dict[str, Any] = json.loads(line)
        if done["status"] != 200:
            raise SystemExit(f"a warm process returned {done}")
        return done

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(10)


def requests(lab: Lab, who: Learner, session_id: int) -> list[Request]:
    """Requests that change something every time."""
    path = f"/sessions/{session_id}"
    settings = {"style_params": {"tone": "@n"}, "generation_params": {"temperature": 0.5}}
    return [
        Request("get_session", lab.event(who, "GET", path)),
        Request("update_session", lab.event(who, "PATCH", path, {"title": "@n"})),
        Request("update_settings", lab.event(who, "PATCH", path + "/settings", settings)),
        Request("list_sessions", lab.event(who, "GET", "/sessions")),
    ]


def prepare(lab: Lab, times: int) -> tuple[Learner, list[Request]]:
    """A learner with 50 sessions, the last one filled; the same in the naive table."""
    ada = lab.new_learner()
    for n in range(49):
        session = ada.open_session(
            title=f"Session {n}", notes="Some notes of the learner's own. " * 5, project_id=7
        )
        session["responses"] = []
        naive.put(lab, naive.items_of(session, ada.models_of(session)))
    whole = fill_session(lab, ada, times)
    naive.put(lab, naive.items_of(whole, ada.models_of(whole)))
    return ada, requests(lab, ada, whole["session_id"])


def measure(lab: Lab, times: int, rounds: int) -> dict[str, Any]:
    ada, asked = prepare(lab, times)
    variables = {**lab.peer_environment, "USER_ID": str(ada.user_id)}
    results: dict[str, Any] = {}
    for request in asked:
        with ExitStack() as running:
            paths = {"bare": bundles.path_of_peer("bare"), "ours": bundles.path_of_ours(request.operation)}
            paths |= {name: bundles.path_of_peer(folder) for name, folder in bundles.PEER_NAMES.items()}
            workers = {name: running.enter_context(Worker(path, variables)) for name, path in paths.items()}
            runs: dict[str, list[dict[str, Any]]] = {name: [] for name in workers}
            for _ in range(rounds):
                for name, worker in workers.items():
                    runs[name].append(worker.run(request.event, CALLS[times]))
            shares = {
                name: workers[name].run(request.event, 1, SAMPLED_SECONDS)["shares"] for name in PROFILED
            }
        results[request.operation] = {
            name: {
                "ratio": figures.ratio(
                    [run["seconds"] for run in of_it], [run["seconds"] for run in runs["bare"]]
                ),
                "milliseconds": 1000 * median(run["seconds"] for run in of_it),
                "requests": of_it[0]["requests"],
                "received": of_it[0]["received"],
                "bytes": of_it[0]["bytes"],
                "shares": shares.get(name),
            }
            for name, of_it in runs.items()
        }
    return {"times": times, "rounds": rounds, "calls": CALLS[times], "results": results}


def failures(measured: dict[str, Any]) -> list[str]:
    """Requests that take longer than the bare handler or than a peer."""
    found = []
    for size in measured["sizes"]:
        for operation, rows in size["results"].items():
            ours = rows["ours"]["ratio"]
            what = f"{operation}, standard session times {size['times']}: {ours:.2f}"
            if ours > BUDGET:
                found.append(f"{what} is over {BUDGET}")
            found += [
                f"{what} is slower than {name}, {row['ratio']:.2f}"
                for name, row in rows.items()
                if name not in PROFILED and ours > row["ratio"]
            ]
    return found


def show(measured: dict[str, Any]) -> None:
    figures.table(
        f"Warm, standard session times {measured['times']}: processor time of a request, as a ratio to a bare handler",
        ["", "", "ratio", "ms", "requests to the table", "response bytes"],
        [
            [operation, name, row["ratio"], row["milliseconds"], row["requests"], row["bytes"]]
            for operation, rows in measured["results"].items()
            for name, row in rows.items()
        ],
    )
    for name in PROFILED:
        shares = {operation: rows[name]["shares"] for operation, rows in measured["results"].items()}
        owners = sorted({owner for each in shares.values() for owner in each})
        figures.table(
            f"Time by component, percent: {name}",
            ["", *owners],
            [
                [operation, *(100 * each.get(owner, 0.0) for owner in owners)]
                for operation, each in shares.items()
            ],
        )
