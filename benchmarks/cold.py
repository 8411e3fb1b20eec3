"""Cold: import and first request in a fresh process, beside a bare client that does one GetItem."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import bundles, figures, naive
from benchmarks.lab import Lab, fill_session

PROCESS = Path(__file__).with_name("process.py")


@dataclass(frozen=True)
class Contender:
    name: str
    path: list[Path]
    event: dict[str, Any]
    budget: float | None = None
    is_peer: bool = False


def start(contender: Contender, variables: dict[str, str]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-P", "-S", PROCESS, "cold"],
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
    naive.put(lab, naive.items_of(whole, ada.models_of(whole)))
    events = {name: lab.event(ada, *asked) for name, asked in requests(whole, ada.models_of(whole)).items()}
    return [
        Contender("floor", bundles.path_of_floor(), {}),
        *(Contender(name, bundles.path_of_ours(name), event, 1.5) for name, event in events.items()),
        *(
            Contender(name, bundles.path_of_peer(folder), events["get_session"], is_peer=True)
            for name, folder in bundles.PEER_NAMES.items()
        ),
    ]


def requests(whole: dict[str, Any], models: list[dict[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """One for each function of the contract that can be asked again and again."""
    session = f"/sessions/{whole['session_id']}"
    model, response = models[0], f"/responses/{whole['responses'][0]['response_id']}"
    example = f"/few-shot-examples/{whole['settings']['few_shot_links'][0]['example_id']}"
    responses = f"/models/{model['session_model_id']}/responses"
    return {
        "get_session": ("GET", session),
        "get_settings": ("GET", session + "/settings"),
        "get_response": ("GET", response),
        "get_example": ("GET", example),
        "list_sessions": ("GET", "/sessions"),
        "list_models": ("GET", session + "/models"),
        "list_responses": ("GET", responses),
        "list_session_responses": ("GET", session + "/responses"),
        "list_examples": ("GET", "/few-shot-examples"),
        "update_session": ("PATCH", session, {"title": "Another"}),
        "update_settings": ("PATCH", session + "/settings", {"style_preset": "balanced"}),
        "update_model": ("PATCH", f"/models/{model['session_model_id']}", {"is_primary": True}),
        "update_response": ("PATCH", response, {"latency_ms": 7}),
        "update_example": ("PATCH", example, {"title": "Another"}),
        "create_session": ("POST", "/sessions", {"class_id": whole["class_id"]}),
        "create_example": ("POST", "/few-shot-examples", {"input_text": "2+2", "output_text": "4"}),
        "add_model": ("POST", session + "/models", {"model_name": model["model_name"]}),
        "add_response": ("POST", responses, {"prompt_text": "Why?", "response_text": "Because."}),
    }


def measure(lab: Lab, rounds: int) -> dict[str, Any]:
    all_of_them = contenders(lab)
    runs: dict[str, list[dict[str, Any]]] = {each.name: [] for each in all_of_them}
    for _ in range(rounds):
        for each in all_of_them:
            runs[each.name].append(start(each, lab.peer_environment if each.is_peer else lab.environment))
    results = {}
    for each in all_of_them:
        of_it, of_floor = runs[each.name], runs["floor"]
        results[each.name] = {
            "ratio": ratio_of(of_it, of_floor, "wall"),
            "processor_ratio": ratio_of(of_it, of_floor, "processor"),
            "budget": each.budget,
            "is_peer": each.is_peer,
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
