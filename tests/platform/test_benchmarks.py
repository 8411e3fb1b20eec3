"""The documents say what was measured, and the pictures show it: a figure changed by hand, or a stale one, is found here."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import cold, documents, figures, growth, load, pictures, warm
from benchmarks.generator import keeping_alive

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("document", documents.BLOCKS, ids=lambda path: path.name)
def test_a_document_has_the_figures_of_the_results(document: Path) -> None:
    assert document.read_text() == documents.written(document), "make bench ARGS=pictures writes them anew"


def test_a_figure_changed_by_hand_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "cost.md"
    copy.write_text(documents.COST.read_text().replace("| GET session |", "| GET session | 1", 1))
    monkeypatch.setitem(documents.BLOCKS, copy, documents.BLOCKS[documents.COST])

    assert documents.written(copy) != copy.read_text()


@pytest.mark.parametrize("name", pictures.DRAWN)
def test_the_pictures_are_those_of_the_results(name: str) -> None:
    for picture, drawn in pictures.DRAWN[name](figures.read(name)).items():
        assert (pictures.FOLDER / f"{picture}.svg").read_text() == drawn, (
            "make bench ARGS=pictures draws them anew"
        )


def test_every_figure_that_is_larger_than_the_naive_ways_is_explained() -> None:
    larger = set(documents.dearer(figures.read("store"))) - documents.DEARER.keys()
    assert not larger, f"add why to DEARER of benchmarks/documents.py: {larger}"


EVENTS = """
from benchmarks import naive
from benchmarks.cases import Cases
from benchmarks.lab import laboratory

with laboratory() as lab:
    naive.make_table(lab)
    cases = Cases(lab).of()
    missing = lab.stack.template.functions.keys() - {name.partition(":")[0] for name in cases}
    assert not missing, f"add events for {missing} to benchmarks/cases.py"
    assert all(make() for make in cases.values())
"""


def test_the_cold_start_of_every_function_is_measured(needs: Any) -> None:
    """In a process of its own, since a process has one stack."""
    for capability in ("capacity", "streams", "load"):
        needs(capability)
    environment = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME")}
    done = subprocess.run(
        [sys.executable, "-c", EVENTS], env=environment, capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stderr


# Budgets that are not kept make the command fail.


def row(ratio: float, emulated: float, **fields: Any) -> dict[str, Any]:
    return {"kind": "ours", "budget": 1.5, "ratio": ratio, "emulator_ratio": emulated, **fields}


def test_a_cold_start_over_its_budget_or_near_fastapi_is_a_failure() -> None:
    fastapi = row(2.4, 2.1, kind="peer", budget=None)

    assert cold.over(row(1.3, 1.2), fastapi) == []
    assert cold.over(fastapi, fastapi) == []
    assert len(cold.over(row(1.51, 1.2), fastapi)) == 1
    assert len(cold.over(row(1.3, 1.45), fastapi)) == 1  # more than two thirds of 2.1
    assert cold.over(row(1.7, 1.7, budget=1.8), fastapi) == []
    assert len(cold.over(row(1.9, 1.9, budget=1.8), fastapi)) == 2


def test_a_warm_request_over_its_budget_or_behind_a_peer_is_a_failure() -> None:
    def measured(ours: float, peer: float) -> dict[str, Any]:
        rows = {"bare": {"ratio": 1.0}, "ours": {"ratio": ours}, "FastAPI + Mangum": {"ratio": peer}}
        return {"sizes": [{"times": 1, "results": {"get_session": rows}}]}

    assert warm.failures(measured(0.6, 1.1)) == []
    assert len(warm.failures(measured(0.9, 0.8))) == 1
    assert len(warm.failures(measured(1.2, 1.1))) == 2


def size(count: int, units: float, milliseconds: float, requests: int = 2) -> dict[str, Any]:
    return {
        "size": count,
        "requests": requests,
        "read_units": units,
        "write_units": 0.0,
        "p50_milliseconds": milliseconds,
    }


@pytest.mark.parametrize(
    ("larger", "is_flat"),
    [
        (size(1000, 10.4, 1.2), True),
        (size(1000, 10.6, 1.0), False),
        (size(1000, 10, 1.4), False),
        (size(1000, 10, 1.0, requests=3), False),
    ],
)
def test_a_row_is_flat_by_requests_units_and_time(larger: dict[str, Any], is_flat: bool) -> None:
    assert growth.verdict([size(10, 10, 1.0), larger], 0)["is_flat"] is is_flat


def test_a_row_with_one_size_to_compare_has_no_verdict() -> None:
    assert growth.verdict([size(10, 1, 1), size(1000, 260, 30)], 1000)["is_flat"] is None


def test_memory_that_grows_is_a_failure_once_it_was_looked_at_for_long_enough() -> None:
    memory = load.Memory(0)
    memory.samples = [{"stack": 100.0 + n, "engine": 10.0 + n} for n in range(100)]

    assert memory.result(minutes=1)["is_flat"] is None
    assert memory.result(minutes=10)["is_flat"] is False
    memory.samples = [{"stack": 100.0, "engine": 10.0 + n} for n in range(100)]
    assert memory.result(minutes=10)["is_flat"] is True


def test_an_error_under_load_is_a_failure() -> None:
    fine = {"connections": 1, "errors": 0, "first_errors": []}
    memory: dict[str, Any] = {"is_flat": None, "kinds": {}}
    target: dict[str, Any] = {"levels": [fine], "paced": fine, "memory": memory}

    assert load.failures({"targets": {"stack": target}}) == []
    target["paced"] = fine | {"errors": 1, "first_errors": ["GET /: 500"]}
    assert len(load.failures({"targets": {"stack": target}})) == 1


def test_load_goes_to_this_machine_alone() -> None:
    with pytest.raises(SystemExit, match="alone"):
        keeping_alive("http://example.com:80")


def test_the_results_are_of_one_kind() -> None:
    for name in ("cold", "warm", "store", "growth", "load"):
        assert json.loads((figures.RESULTS / f"{name}.json").read_text())["measured"], name
