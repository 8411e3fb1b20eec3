"""Results as SVG. Text remains text, and the colours follow the light or dark mode of the reader."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import combinations
from pathlib import Path
from typing import Any

from practice.store.bradley_terry import Games, strengths
from practice.store.standings import POINTS, QUANTILE
from tools.build import ROOT

FOLDER = ROOT / "docs" / "pictures"
WIDTH = 760
ROW = 18
CHARACTER = 6.6
"""Approximate width of a character in pixels, at 12 pixels of height."""
STYLE = """\
svg { font: 12px system-ui, sans-serif; --ink: #1f2328; --faint: #59636e; --line: #d1d9e0; --paper: #ffffff;
  --0: #0969da; --1: #9a6700; --2: #8250df; --3: #1a7f37; --4: #cf222e; --5: #57606a }
@media (prefers-color-scheme: dark) { svg { --ink: #e6edf3; --faint: #9198a1; --line: #3d444d; --paper: #0d1117;
  --0: #4493f8; --1: #d29922; --2: #ab7df8; --3: #3fb950; --4: #f85149; --5: #8b949e } }
text { fill: var(--ink) } .title { font-size: 15px; font-weight: 600 } .faint { fill: var(--faint) }
.line { stroke: var(--line) } .budget { stroke: var(--4); stroke-dasharray: 4 3 } .paper { fill: var(--paper) }
.value { fill: var(--faint); stroke: var(--paper); stroke-width: 4px; paint-order: stroke }
polyline { fill: none; stroke-width: 2 }"""


@dataclass(frozen=True)
class Bar:
    name: str
    value: float
    colour: int = 0


@dataclass(frozen=True)
class Limit:
    """A limit line for bars."""

    name: str
    value: float


def text(x: float, y: float, content: str, kind: str = "", anchor: str = "start") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{named} text-anchor="{anchor}">{escape(content)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str = "line") -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def rectangle(x: float, y: float, width: float, height: float, colour: int) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="var(--{colour})"/>'


def svg(title: str, height: float, parts: Iterable[str]) -> str:
    size = f'viewBox="0 0 {WIDTH} {height:.0f}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{escape(title)}">'
    paper = f'<rect class="paper" width="{WIDTH}" height="{height:.0f}"/>'
    return (
        "\n".join([head, f"<style>{STYLE}</style>", paper, text(16, 26, title, "title"), *parts, "</svg>"])
        + "\n"
    )


def legend(names: Sequence[str], y: float) -> list[str]:
    parts, x = [], 16.0
    for colour, name in enumerate(names):
        if x + 20 + CHARACTER * len(name) > WIDTH - 16:
            x, y = 16.0, y + ROW
        parts += [rectangle(x, y - 9, 10, 10, colour), text(x + 15, y, name)]
        x += 34 + CHARACTER * len(name)
    return parts


def ticks(most: float, count: int = 6) -> list[float]:
    """Round steps from 0 to `most` or slightly above."""
    raw = most / count
    size = 10 ** math.floor(math.log10(raw))
    step = next(size * times for times in (1, 2, 2.5, 5, 10) if size * times >= raw)
    return [step * n for n in range(math.ceil(most / step) + 1)]


def bars(title: str, axis: str, rows: Sequence[Bar], limits: Sequence[Limit], names: Sequence[str]) -> str:
    """Horizontal bars; `names` is the legend of the colours."""
    left = 30 + CHARACTER * max(len(row.name) for row in rows)
    top, right = 84.0, WIDTH - 60
    bottom = top + ROW * len(rows)
    marks = ticks(max([row.value for row in rows] + [limit.value for limit in limits]))

    def x(value: float) -> float:
        return left + (right - left) * value / marks[-1]

    parts = legend(names, 48)
    for mark in marks:
        parts += [
            line(x(mark), top, x(mark), bottom + 4),
            text(x(mark), bottom + 18, f"{mark:,g}", "faint", "middle"),
        ]
    for place, row in enumerate(rows):
        y = top + ROW * place
        parts += [
            text(left - 8, y + 13, row.name, anchor="end"),
            rectangle(left, y + 3, x(row.value) - left, ROW - 6, row.colour),
        ]
    for limit in limits:
        parts.append(line(x(limit.value), top - 4, x(limit.value), bottom + 4, "budget"))
        # Labels of two close limits extend in opposite directions.
        anchor = "middle" if len(limits) == 1 else "end" if limit == limits[0] else "start"
        parts.append(text(x(limit.value), top - 8, limit.name, "faint", anchor))
    parts += [
        text(x(row.value) + 5, top + ROW * place + 13, f"{row.value:.2f}", "value")
        for place, row in enumerate(rows)
    ]
    parts.append(text((left + right) / 2, bottom + 36, axis, "faint", "middle"))
    return svg(title, bottom + 48, parts)


@dataclass(frozen=True)
class Curve:
    name: str
    points: list[tuple[float, float]]


def curves(
    title: str, across: str, up: str, rows: Sequence[Curve], sizes: Sequence[float], least: float = 0.0
) -> str:
    """Curves over `sizes` on a logarithmic axis; with `least`, the vertical axis is logarithmic too."""
    left, right, top, bottom = 70.0, WIDTH - 30.0, 110.0, 380.0
    most = max(value for row in rows for _, value in row.points)
    low, high = math.log10(sizes[0]), math.log10(sizes[-1])

    def x(size: float) -> float:
        return left + 10 + (right - left - 30) * (math.log10(size) - low) / ((high - low) or 1)

    marks = (
        [10.0**power for power in range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1)]
        if least
        else ticks(most)
    )

    def y(value: float) -> float:
        if least:
            return bottom - (bottom - top) * math.log10(value / marks[0]) / math.log10(marks[-1] / marks[0])
        return bottom - (bottom - top) * value / marks[-1]

    parts = legend([row.name for row in rows], 48)
    parts.append(text(16, top - 14, up, "faint"))
    for mark in marks:
        parts += [
            line(left, y(mark), right, y(mark)),
            text(left - 8, y(mark) + 4, f"{mark:,g}", "faint", "end"),
        ]
    for size in sizes:
        parts.append(text(x(size), bottom + 18, f"{size:,.0f}", "faint", "middle"))
    for colour, row in enumerate(rows):
        points = " ".join(f"{x(size):.1f},{y(value):.1f}" for size, value in row.points)
        parts.append(f'<polyline points="{points}" stroke="var(--{colour})"/>')
        parts += [
            f'<circle cx="{x(size):.1f}" cy="{y(value):.1f}" r="3.5" fill="var(--{colour})"/>'
            for size, value in row.points
        ]
    parts.append(text((left + right) / 2, bottom + 38, across, "faint", "middle"))
    return svg(title, bottom + 50, parts)


# The pictures


def cold(measured: dict[str, Any]) -> dict[str, str]:
    colours = {"ours": 0, "peer": 1, "floor": 5}

    def of(figure: str, where: str) -> str:
        rows = sorted(measured["results"].items(), key=lambda each: -each[1][figure])
        return bars(
            f"Cold start {where}: import and first request",
            "times the floor, a bare client that gets one item",
            [
                Bar(
                    name,
                    row[figure],
                    2 if row["further_clients"] and row["kind"] == "ours" else colours[row["kind"]],
                )
                for name, row in rows
            ],
            [Limit("budget 1.5", 1.5), Limit("1.8 with a further client", 1.8)],
            [
                "a function of ours",
                "what one would pick instead",
                "a function of ours that opens a further AWS client",
            ],
        )

    return {
        "cold": of("ratio", "in a process"),
        "cold-emulator": of("emulator_ratio", "under the emulator of Lambda"),
    }


def warm(measured: dict[str, Any]) -> dict[str, str]:
    rows = [
        Bar(
            f"{operation}, {who}" + (", ten times as large" if size["times"] > 1 else ""),
            row["ratio"],
            0 if who == "ours" else 1,
        )
        for size in measured["sizes"]
        for operation, contenders in size["results"].items()
        for who, row in contenders.items()
        if who != "bare" and (size["times"] == 1 or who == "ours")
    ]
    title = "Warm request: processor time over a stubbed network"
    axis = "times a bare handler over one native item for each thing"
    return {
        "warm": bars(title, axis, rows, [Limit("budget 1.0", 1.0)], ["ours", "what one would pick instead"])
    }


def growth(measured: dict[str, Any]) -> dict[str, str]:
    drawn = {}
    for name, by, wanted in (
        (
            "cost-library",
            "sessions in the library",
            ("GET session", "PATCH session", "GET sessions, size 5", "GET response"),
        ),
        (
            "cost-session",
            "responses in the session",
            (
                "GET session",
                "GET session, responses=0",
                "PATCH settings",
                "GET responses of the session, size 5",
                "GET models",
            ),
        ),
    ):
        rows = measured["by"][by]
        sizes = [size["size"] for size in rows[wanted[0]]["sizes"]]
        drawn[name] = curves(
            f"What a call costs by the {by.split()[0]} there are",
            by,
            "read and write units of one call",
            [
                Curve(
                    each,
                    [
                        (size["size"], size["read_units"] + size["write_units"])
                        for size in rows[each]["sizes"]
                    ],
                )
                for each in wanted
            ],
            sizes,
            least=1.0,
        )
    return drawn


def load(measured: dict[str, Any]) -> dict[str, str]:
    drawn = {}
    rows = [
        Curve(f"{target}, {figure}", [(level["connections"], level[figure]) for level in each["levels"]])
        for target, each in measured["targets"].items()
        for figure in ("p50", "p95", "p99")
    ]
    levels = [level["connections"] for level in next(iter(measured["targets"].values()))["levels"]]
    least = min(value for row in rows for _, value in row.points)
    title = "Latency by load: 80 % reads, 15 % PATCH, 5 % creates"
    drawn["load"] = curves(title, "connections", "milliseconds", rows, levels, least=least)
    return drawn


def intervals() -> str:
    """How far the interval of a score reaches on each side, by the votes there are, of models that are equally good."""
    levels = [1, 3, 10, 30, 100, 300, 1_000]
    rows = []
    for models in (2, 3, 5, 8):
        pairs = list(combinations(range(models), 2))
        points = []
        for votes in levels:
            each = votes / len(pairs) / 2
            found = strengths(models, [Games(i, j, each, each) for i, j in pairs])
            points.append((float(votes), QUANTILE * POINTS * found[0].error))
        rows.append(Curve(f"{models} models", points))
    return curves("The interval of a score", "votes on two answers each", "± points", rows, levels)


DRAWN: dict[str, Callable[[dict[str, Any]], dict[str, str]]] = {
    "cold": cold,
    "warm": warm,
    "growth": growth,
    "load": load,
}


def draw_intervals() -> Path:
    """Needs no measurement: it follows from the model of `store/bradley_terry.py`."""
    path = FOLDER / "intervals.svg"
    path.write_text(intervals())
    return path


def draw(name: str, measured: dict[str, Any]) -> list[Path]:
    FOLDER.mkdir(parents=True, exist_ok=True)
    paths = []
    for picture, drawn in DRAWN[name](measured).items():
        path = FOLDER / f"{picture}.svg"
        path.write_text(drawn)
        paths.append(path)
    return paths
