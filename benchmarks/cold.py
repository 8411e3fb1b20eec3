"""Cold start: import and first request, in a process and under the Lambda emulator, relative to a bare client's GetItem."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import quote

from benchmarks import bundles, figures, imports
from benchmarks.cases import Case, Cases
from benchmarks.lab import MODELS, Lab
from local.functions import FunctionError
from local.template import Function
from tests.e2e.build import LOGS, runtime
from tests.e2e.fleet import Emulator
from tests.support.providers import FakeProvider, Played

PROCESS = Path(__file__).with_name("process.py")
BUDGET = 1.5
BUDGET_WITH_FURTHER_CLIENT = 1.8
OF_FASTAPI = 2 / 3
"""Relative to FastAPI + Mangum."""
OWN_SERVICES = frozenset({"dynamodb"})
"""Secrets Manager is called without a client."""
BETWEEN_FLOORS = 8
"""The floor is measured after this many contenders; the value of a round is the median."""
FLOOR, FASTAPI = "floor", "FastAPI + Mangum"
PLACES = ("process", "emulator")
LOG = LOGS / "cold.log"
ATTEMPTS = 3
"""Attempts to start an emulator, because another process may take the free port first."""
HAIKU = "anthropic.claude-3-haiku-20240307-v1:0"


@dataclass(frozen=True)
class Contender:
    name: str
    path: list[Path]
    case: Case
    environment: dict[str, str]
    kind: str = "ours"


Run = dict[str, Any]


def in_process(contender: Contender) -> Run:
    event = contender.case()
    done = subprocess.run(
        [sys.executable, "-P", "-S", PROCESS, "cold"],
        env=bundles.environment(contender.path, contender.environment),
        input=json.dumps(event),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{contender.name}\n{done.stderr}")
    run: Run = json.loads(done.stdout)
    refuse_failure(contender, run["answer"])
    return run


def under_emulator(contender: Contender) -> Run:
    """Time from the first event to its response; the emulator starts its Python only then."""
    event = contender.case()
    folder = contender.path[0]
    described = Function(
        folder.name, folder.name, folder.name, folder, "handler.lambda_handler", 29, 512, {}, 0, None
    )
    environment = bundles.environment(contender.path, contender.environment) | {
        "LAMBDA_TASK_ROOT": str(folder)
    }
    for attempt in range(ATTEMPTS):
        emulator = Emulator(described, runtime(), environment, LOG)
        try:
            emulator.wait_until_listening()
            started = time.perf_counter()
            answer = emulator.invoke(json.dumps(event).encode(), 29)
            wall = time.perf_counter() - started
        except FunctionError as error:
            if attempt + 1 == ATTEMPTS:
                raise SystemExit(f"{contender.name}: {error}") from error
            continue
        finally:
            emulator.terminate()
            emulator.wait()
        refuse_failure(contender, answer)
        return {"wall": wall}
    raise AssertionError("the last attempt returns or raises")


def refuse_failure(contender: Contender, answer: dict[str, Any] | None) -> None:
    """Checks the response, also of a peer, because a failed request is not a measurement."""
    status = (answer or {}).get("statusCode", 200)
    expected = (404,) if contender.name == "default" else range(300)
    if status not in expected or (answer or {}).get("batchItemFailures"):
        raise SystemExit(f"{contender.name} returned {answer}")


@contextmanager
def contenders(lab: Lab) -> Iterator[list[Contender]]:
    cases = Cases(lab).of()
    missing = lab.stack.template.functions.keys() - {name.partition(":")[0] for name in cases}
    if missing:
        raise SystemExit(f"no event for {', '.join(sorted(missing))} in benchmarks/cases.py")
    with FakeProvider() as models:
        models.plays[quote(HAIKU, safe="")] = lambda _: Played(CONVERSATION)
        variables = {
            **lab.environment,
            "MODELS": json.dumps({MODELS[0]: {"provider": "bedrock", "id": HAIKU}}),
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": models.url,
        }
        yield [
            *(
                Contender(name, bundles.path_of_ours(name.partition(":")[0]), case, variables)
                for name, case in cases.items()
            ),
            *(
                Contender(
                    name, bundles.path_of_peer(folder), cases["get_session"], lab.peer_environment, "peer"
                )
                for name, folder in bundles.PEER_NAMES.items()
            ),
        ]


CONVERSATION = {
    "output": {"message": {"role": "assistant", "content": [{"text": "A piece for several voices."}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7},
    "metrics": {"latencyMs": 5},
}


def measure(lab: Lab, rounds: int) -> dict[str, Any]:
    LOGS.mkdir(parents=True, exist_ok=True)
    LOG.unlink(missing_ok=True)
    with contenders(lab) as entrants:
        floor = Contender(FLOOR, bundles.path_of_floor(), dict, lab.environment, "floor")
        runs = {
            place: in_turn(start, floor, entrants, rounds)
            for place, start in zip(PLACES, (in_process, under_emulator), strict=True)
        }
        rows = {each.name: row(each, runs) for each in (floor, *entrants)}
    for each in rows.values():
        each["over"] = over(each, rows[FASTAPI])
    others = lab.stack.template.functions.keys() - {"get_session"}
    return {
        "rounds": rounds,
        "results": rows,
        "imports": imports.measure(lab.environment, ["get_session", *sorted(others)], runs=3),
    }


def in_turn(
    start: Callable[[Contender], Run], floor: Contender, entrants: list[Contender], rounds: int
) -> dict[str, list[Run]]:
    runs: dict[str, list[Run]] = {each.name: [] for each in (floor, *entrants)}
    for _ in range(rounds):
        floors = []
        for place, each in enumerate(entrants):
            if place % BETWEEN_FLOORS == 0:
                floors.append(start(floor))
            runs[each.name].append(start(each))
        figures_of = [name for name, value in floors[0].items() if isinstance(value, float)]
        runs[FLOOR].append({name: median(run[name] for run in floors) for name in figures_of})
    return runs


def row(contender: Contender, runs: dict[str, dict[str, list[Run]]]) -> dict[str, Any]:
    process, emulator = (runs[place][contender.name] for place in PLACES)
    floor, emulated_floor = (runs[place][FLOOR] for place in PLACES)
    further = sorted({name for run in process for name in run.get("services", [])} - OWN_SERVICES)
    return {
        "kind": contender.kind,
        "ratio": ratio_of(process, floor, "wall"),
        "processor_ratio": ratio_of(process, floor, "processor"),
        "emulator_ratio": ratio_of(emulator, emulated_floor, "wall"),
        "further_clients": further,
        "budget": (BUDGET_WITH_FURTHER_CLIENT if further else BUDGET) if contender.kind == "ours" else None,
        "milliseconds": 1000 * median(run["wall"] for run in process),
        "import_milliseconds": 1000 * median(run["import_wall"] for run in process),
        "emulator_milliseconds": 1000 * median(run["wall"] for run in emulator),
    }


def over(one: dict[str, Any], fastapi: dict[str, Any]) -> list[str]:
    """The exceeded budgets of a function. Peers open no further client: a function that does is not compared."""
    if one["budget"] is None:
        return []
    found = []
    for name, where in (("ratio", "in a process"), ("emulator_ratio", "under the emulator")):
        if one[name] > one["budget"]:
            found.append(f"{one[name]:.2f} {where}")
        if one["budget"] == BUDGET and one[name] > OF_FASTAPI * fastapi[name]:
            found.append(f"{one[name]:.2f} {where}, FastAPI {fastapi[name]:.2f}")
    return found


def failures(measured: dict[str, Any]) -> list[str]:
    return [f"{name}: {text}" for name, each in measured["results"].items() for text in each["over"]]


def ratio_of(runs: list[Run], base: list[Run], name: str) -> float:
    return figures.ratio([run[name] for run in runs], [run[name] for run in base])


def show(measured: dict[str, Any]) -> None:
    figures.table(
        f"Cold start, {measured['rounds']} rounds: import and first request, as a ratio to the floor",
        [
            "",
            "in a process",
            "by processor time",
            "under the emulator",
            "budget",
            "ms",
            "of which import",
            "emulator ms",
            "",
        ],
        [
            [
                name,
                *(each[figure] for figure in ("ratio", "processor_ratio", "emulator_ratio", "budget")),
                *(
                    each[figure]
                    for figure in ("milliseconds", "import_milliseconds", "emulator_milliseconds")
                ),
                "OVER" if each["over"] else ", ".join(each["further_clients"]),
            ]
            for name, each in measured["results"].items()
        ],
    )
    for operation in measured["imports"]["milliseconds"]:
        imports.show(measured["imports"], operation, most=40 if operation == "get_session" else 8)
