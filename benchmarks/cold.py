"""Cold: import and first request in a fresh process, beside a bare client that does one GetItem."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import bundles, figures
from benchmarks.lab import Lab, fill_session

PROCESS = Path(__file__).with_name("process.py")


@dataclass(frozen=True)
class Contender:
    name: str
    path: list[Path]
    event: dict[str, Any]
    budget: float | None = None
    python: Path = Path(sys.executable)


def start(contender: Contender, variables: dict[str, str]) -> dict[str, Any]:
    done = subprocess.run(
        [contender.python, "-P", "-S", PROCESS, "cold"],
        env=bundles.environment(contender.path, variables),
        input=json.dumps(contender.event),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{contender.name}\n{done.stderr}")
    figures_of_it: dict[str, Any] = json.loads(done.stdout)
    if figures_of_it["status"] >= 300:
        raise SystemExit(f"{contender.name} answered {figures_of_it}")
    return figures_of_it


def contenders(lab: Lab) -> list[Contender]:
    ada = lab.somebody()
    whole = fill_session(lab, ada)
    event = lab.event(ada, "GET", f"/sessions/{whole['session_id']}")
    return [
        Contender("floor", bundles.path_of_floor(), {}),
        Contender("get_session", bundles.path_of_ours("get_session"), event, 1.5),
    ]


def measure(lab: Lab, rounds: int) -> dict[str, Any]:
    all_of_them = contenders(lab)
    runs: dict[str, list[dict[str, Any]]] = {each.name: [] for each in all_of_them}
    for _ in range(rounds):
        for each in all_of_them:
            runs[each.name].append(start(each, lab.environment))
    results = {}
    for each in all_of_them:
        of_it, of_floor = runs[each.name], runs["floor"]
        results[each.name] = {
            "ratio": ratio_of(of_it, of_floor, "wall"),
            "processor_ratio": ratio_of(of_it, of_floor, "processor"),
            "budget": each.budget,
            "milliseconds": 1000 * median(run["wall"] for run in of_it),
            "import_milliseconds": 1000 * median(run["import_wall"] for run in of_it),
        }
    return {"rounds": rounds, "results": results}


def ratio_of(runs: list[dict[str, Any]], base: list[dict[str, Any]], name: str) -> float:
    return figures.ratio([run[name] for run in runs], [run[name] for run in base])


def show(measured: dict[str, Any]) -> None:
    figures.table(
        f"Cold start, {measured['rounds']} rounds: import and first request, as a ratio to the floor",
        ["", "ratio", "by processor time", "budget", "ms", "of which import"],
        [
            [
                name,
                row["ratio"],
                row["processor_ratio"],
                row["budget"],
                row["milliseconds"],
                row["import_milliseconds"],
            ]
            for name, row in measured["results"].items()
        ],
    )
