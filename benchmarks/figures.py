"""Ratios of one run. The contenders are measured alternately, so that load on the machine affects all of them equally."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from tools.build import ROOT

_FLAT = re.compile(r"\[[^\[\]{}]*\]")
"""An array of figures, written on one line."""
RESULTS = ROOT / "benchmarks" / "results"


def ratio(ours: Sequence[float], base: Sequence[float]) -> float:
    """The median over the rounds of the ratio of two measurements."""
    return median(one / other for one, other in zip(ours, base, strict=True))


def write(name: str, result: Mapping[str, Any]) -> Path:
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    measured = {"measured": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), **result}
    lines = _FLAT.sub(lambda found: " ".join(found[0].split()), json.dumps(measured, indent=1))
    path.write_text(lines + "\n")
    return path


def read(name: str) -> Any:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def table(title: str, heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints a table of results."""
    cells = [[shown(value) for value in row] for row in (heads, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    print(f"\n{title}")
    for row in cells:
        first, *others = [
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  " + "  ".join([first, *others]).rstrip())


def shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}" if abs(value) < 100 else f"{value:,.0f}"
    return "-" if value is None else str(value)
