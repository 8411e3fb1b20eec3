"""The long run: what it is made of, how far it has come, and what it counted.

`make torture` runs every test marked `trust` or `torture`. What passed is written down beside the seed, the sizes and the
code it passed with, so a run that was interrupted goes on where it stopped, and one that ended begins anew. Its figures go
to `tests/support/torture.json`, and from there to SECURITY.md.
"""

import hashlib
import json
import os
import platform
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parents[2]

SEED: Final = int(os.environ.get("SEED") or 20260107)

DEFAULTS: Final = {
    "FAULTS": 100,  # percent of the table of faults, which ones is up to the seed
    "HISTORIES": 80,  # walks of the state machine
    "STEPS": 60,  # of each walk
    "RACES": 4,  # rounds of each race
    "WRITERS": 50,  # of each race
    "FILLINGS": 12,  # sessions with every object filled to its limits
    "FILES": 1000,  # of a thousand mutations of an export, which ones is up to the seed
    "FUZZ_WALKS": 2,  # of schemathesis, each with a seed of its own
    "FUZZ_EXAMPLES": 30,  # of each operation in each walk
}
SIZES: Final = {name: int(os.environ.get(name) or size) for name, size in DEFAULTS.items()}

COUNTED: Final = {
    "attacks": "tokens, and ids and cursors of another learner, that were refused",
    "steps": "steps of histories, each answer compared whole",
    "states": "distinct states that histories came through",
    "faults": "faults injected",
    "fillings": "answers that show objects filled to their limits",
    "files": "mutated exports that were imported: refused whole, or read back by every route",
    "erasures": "interleavings of an erasure with a write",
    "requests": "requests of the fuzzer",
    "writers": "requests raced against each other",
}
"""What the tests count, and what it is."""

FIGURES: Final = ROOT / "tests" / "support" / "torture.json"
PASSED: Final = ROOT / ".local" / "torture.jsonl"
PAGE: Final = ROOT / "SECURITY.md"
BEGIN, END = "<!-- figures: make torture -->", "<!-- end of figures -->"
SECONDS_BETWEEN_REPORTS: Final = 20.0

_counts: Counter[str] = Counter()


def chosen(case: object) -> bool:
    """Whether the seed has this fault in its share of the table."""
    return zlib.crc32(f"{SEED} {case}".encode()) % 100 < SIZES["FAULTS"]


def count(what: str, number: int = 1) -> None:
    """Called where it happens; costs an addition."""
    assert what in COUNTED
    _counts[what] += number


# For every run of the suite: what a test counted travels with its report, also from the workers of a parallel run.


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    _counts.clear()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    try:
        return (yield)
    finally:
        item.user_properties.append(("counted", dict(_counts)))


def counted_by(report: pytest.TestReport) -> dict[str, int]:
    found: Any = next((value for name, value in report.user_properties if name == "counted"), {})
    return dict(found)


@pytest.hookimpl(trylast=True)  # the terminal comes first
def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Run(config), "counting")


class Run:
    """Sums up what the reports tell; in the long run, also what passed in an interrupted one."""

    def __init__(self, config: pytest.Config) -> None:
        self._terminal: Any = config.pluginmanager.get_plugin("terminalreporter")
        self._is_narrowed = bool(config.option.keyword) or config.args_source.name != "TESTPATHS"
        self._sum: Counter[str] = Counter()
        self._cases = self._failed = 0
        self._reported_at = time.monotonic()
        self._progress = Progress() if config.getoption("--torture") else None
        if self._progress:
            self._sum.update(self._progress.counted())
            self._cases = len(self._progress.passed)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed += 1
        if report.when != "call":
            return
        self._sum.update(counted_by(report))
        if not report.passed:
            return
        self._cases += 1
        if self._progress:
            self._progress.add(report.nodeid, counted_by(report))
            if time.monotonic() - self._reported_at > SECONDS_BETWEEN_REPORTS:
                self._reported_at = time.monotonic()
                self._terminal.write_line(f"\n{self._cases} cases passed: {summary(self._sum)}", flush=True)

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        is_whole = exitstatus == pytest.ExitCode.OK and not self._failed and not self._is_narrowed
        if self._progress and is_whole:
            write_figures(self._sum, self._cases)
            self._progress.end()

    def pytest_terminal_summary(self) -> None:
        if +self._sum:
            self._terminal.write_line(summary(self._sum))


def summary(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{counts[name]:,} {name}" for name in COUNTED if counts.get(name))


# The long run


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--torture", action="store_true", help="the long run: resumes, and writes tests/support/torture.json"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What passed before an interruption is not run again."""
    if not config.getoption("--torture"):
        return
    passed = Progress().passed
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid in passed])
    items[:] = [item for item in items if item.nodeid not in passed]


class Progress:
    """One line says what the run is made of, one each what passed; lines of another seed, size or code do not count."""

    def __init__(self) -> None:
        self._made_of = {"seed": SEED, **SIZES, "code": code()}
        self.passed: dict[str, dict[str, int]] = {}
        lines = [json.loads(line) for line in _whole_lines(PASSED)]
        if lines and lines[0] == self._made_of:
            self.passed = {line["case"]: line["counted"] for line in lines[1:]}

    def counted(self) -> Counter[str]:
        total: Counter[str] = Counter()
        for counts in self.passed.values():
            total.update(counts)
        return total

    def add(self, case: str, counted: dict[str, int]) -> None:
        PASSED.parent.mkdir(exist_ok=True)
        if not self.passed:
            PASSED.write_text(json.dumps(self._made_of) + "\n")
        self.passed[case] = counted
        with PASSED.open("a") as file:
            file.write(json.dumps({"case": case, "counted": counted}) + "\n")

    def end(self) -> None:
        PASSED.unlink(missing_ok=True)


def _whole_lines(path: Path) -> list[str]:
    """The last one may have been cut when the run was."""
    text = path.read_text() if path.exists() else ""
    return text.split("\n")[:-1]


def code() -> str:
    """What the run tries, and with what."""
    summary = hashlib.sha256()
    folders = ("functions", "layers/practice", "local", "tests")
    files = [ROOT / "template.yaml", *(file for each in folders for file in (ROOT / each).rglob("*.py"))]
    for file in sorted(files):
        summary.update(file.read_bytes())
    return summary.hexdigest()[:16]


# Its figures


def write_figures(counts: Mapping[str, int], cases: int) -> None:
    figures = {
        "on": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "seed": SEED,
        "sizes": SIZES,
        "cases": cases,
        "counted": {name: counts.get(name, 0) for name in COUNTED},
    }
    FIGURES.write_text(json.dumps(figures, indent=2) + "\n")
    PAGE.write_text(with_figures(PAGE.read_text(), figures))


def with_figures(page: str, figures: Mapping[str, Any]) -> str:
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    counted = figures["counted"]
    rows = [f"| {COUNTED[name]} | {counted[name]:,} |" for name in COUNTED if name in counted]
    rows.append(f"| test cases | {figures['cases']:,} |")
    table = ["| what | how many |", "|---|---:|", *rows]
    asked = {"SEED": figures["seed"]} | {
        name: size for name, size in figures["sizes"].items() if size != DEFAULTS[name]
    }
    command = " ".join(["make torture", *(f"{name}={value}" for name, value in asked.items())])
    output = f"`{command}` of {figures['on']}, Python {figures['python']}:"
    return "\n".join([before + BEGIN, "", output, "", *table, "", END + after])
