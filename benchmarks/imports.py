"""Import time of each module, alone and including its imports: the minimum of several new processes."""

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
"""Threshold in milliseconds including imports; faster modules are not listed."""


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
    """The modules that `import handler` imports, as a forest."""
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
    # The line of a module comes after those of its imports, which are indented one step further.
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
    """Own time and total time of each module."""
    return {module.name: (module.own, module.whole) for module in _walk(forest)}


def measure(variables: dict[str, str], operations: list[str], runs: int) -> dict[str, Any]:
    """All modules of the first operation, and the additional modules of the others."""
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
        f"Import of {operation}, milliseconds (minimum of {measured['runs']} runs)",
        ["module", "including its imports", "own"],
        [[name, whole, own] for name, (own, whole) in rows[:most]],
    )
