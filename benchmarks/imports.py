"""What the import of each module costs: the least of several fresh processes, a module's own time and with all it brings."""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import bundles, figures

_LINE = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \| ( *)(\S+)")

LEAST = 0.5
"""Milliseconds, with all it brings: what costs less is not listed."""


@dataclass
class Module:
    name: str
    own: float
    """Milliseconds."""
    brought: list["Module"] = field(default_factory=list)

    @property
    def whole(self) -> float:
        return self.own + sum(module.whole for module in self.brought)


def profile(path: list[Path], variables: dict[str, str], runs: int) -> list[Module]:
    """What `import handler` imports, as a forest."""
    forests = [_once(path, variables) for _ in range(runs)]
    own: dict[str, float] = {}
    for forest in forests:
        for module in _walk(forest):
            own[module.name] = min(module.own, own.get(module.name, module.own))
    for module in _walk(forests[0]):
        module.own = own[module.name]
    return forests[0]


def _once(path: list[Path], variables: dict[str, str]) -> list[Module]:
    done = subprocess.run(
        [sys.executable, "-S", "-X", "importtime", "-c", "import handler"],
        env=bundles.environment(path, variables),
        capture_output=True,
        text=True,
        check=True,
    )
    # A module's line comes after those of what it imported, which are one step further in.
    open_: list[tuple[int, Module]] = []
    for own, _, indent, name in _LINE.findall(done.stderr):
        depth = len(indent) // 2
        module = Module(name, int(own) / 1000)
        while open_ and open_[-1][0] > depth:
            module.brought.insert(0, open_.pop()[1])
        open_.append((depth, module))
    return [module for _, module in open_ if module.name == "handler"]


def _walk(forest: list[Module]) -> Iterator[Module]:
    for module in forest:
        yield module
        yield from _walk(module.brought)


def costs(forest: list[Module]) -> dict[str, tuple[float, float]]:
    """Own time and whole time of each module."""
    return {module.name: (module.own, module.whole) for module in _walk(forest)}


def measure(variables: dict[str, str], operations: list[str], runs: int) -> dict[str, Any]:
    """Every module of the first operation; of the others, what they import beyond it."""
    found: dict[str, dict[str, list[float]]] = {}
    for operation in operations:
        forest = profile(bundles.path_of_ours(operation), variables, runs)
        found[operation] = {
            name: [round(own, 2), round(whole, 2)]
            for name, (own, whole) in sorted(costs(forest).items(), key=lambda each: -each[1][1])
            if whole >= LEAST and (not found or name == "handler" or name not in found[operations[0]])
        }
    return {"runs": runs, "milliseconds": found}


def show(measured: dict[str, Any], operation: str, most: int = 40) -> None:
    rows = list(measured["milliseconds"][operation].items())
    figures.table(
        f"Import of {operation}, milliseconds (least of {measured['runs']} runs)",
        ["module", "with what it brings", "own"],
        [[name, whole, own] for name, (own, whole) in rows[:most]],
    )
