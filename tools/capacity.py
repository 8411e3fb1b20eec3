"""What so many learners at once ask of AWS, and what that costs: the tables of docs/limits.md and docs/runbook.md.

    python -m tools.capacity            print them
    python -m tools.capacity --write    write them into the pages

Units of the table are read from docs/table.md, prices from docs/cost.md; both are measured or held by tests. A turn is here,
and measured by tests/platform/test_capacity.py. All else is an assumption, and named as one.
"""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parent.parent
LEARNERS: Final = (10, 1_000, 100_000)
CLASS: Final = 500


class Units(NamedTuple):
    read: float
    write: float


TURN: Final = Units(17, 25)
"""`chat` with two models in a session with 5 selected examples and 20 responses: prompts of 300 bytes, answers of 1.2 KB."""
FIRST_TURN: Final = Units(13, 46)
"""`run_session` with two models and 5 examples, the session it makes included."""
AFTER_A_TURN: Final = Units(1, 0)
"""What the stream's function asks."""
TITLE: Final = Units(3, 1)
RECORDS: Final = 8
"""Records that a turn puts on the stream."""


# Assumptions

TURNS: Final = 1.0
"""Of a learner, in a minute."""
MODELS: Final = 2
READS: Final = {"get_session": 4, "list_sessions": 2}
"""Of a learner, in a minute."""
TURNS_OF_A_SESSION: Final = 20
TURN_SECONDS: Final = 6.0
"""How long the slower of the models takes."""
READ_SECONDS: Final = 0.02
TITLE_SECONDS: Final = 2.0
STREAM_BATCH_SECONDS: Final = 0.2
MEMORY_GB: Final = 1.0
PROMPT_TOKENS: Final = 1_500
"""Of one model in one turn: examples, history, prompt."""
COMPLETION_TOKENS: Final = 300
SWEPT: Final = 5 / 0.1
"""Sessions a second: five workers, a tenth of a second for a session of 20 responses."""
LOG_KB: Final = 1.5
"""Of a request: our line, Lambda's three, the access log's."""
ACCOUNT_READ: Final = 1.0
"""Whether tokens were revoked: remembered by a process, of which there are too many for a learner to meet one again."""

PRICES: Final = {
    "a million events on the bus": 1.00,
    "a million requests to a queue": 0.40,
    "a GB of logs": 0.50,
    "a million prompt tokens": 0.25,
    "a million completion tokens": 1.25,
}
"""US dollars in us-east-1, beside those of docs/cost.md; the tokens are those of claude-3-haiku-20240307."""


@dataclass(frozen=True)
class Figures:
    """What the pages say."""

    units: Mapping[str, Units]
    prices: Mapping[str, float]

    @classmethod
    def read(cls, root: Path = ROOT) -> "Figures":
        rows = re.findall(
            r"^\| (\w+) \| [^|]+ \| (\d+) \| (\d+) \|$", (root / "docs/table.md").read_text(), re.MULTILINE
        )
        page = (root / "docs/cost.md").read_text()
        return cls(
            units={name: Units(float(read), float(write)) for name, read, write in rows},
            prices={name: _price(page, start) for name, start in _PRICED.items()},
        )


_PRICED: Final = {
    "read": "a million read units",
    "write": "a million write units",
    "gateway": "a million requests to the HTTP API",
    "call": "a million calls of a function",
    "compute": "a million calls' 20 ms of 512 MB",
}
_GB_SECONDS: Final = 1e6 * 0.02 * 0.5
"""Of the last price."""


def _price(page: str, start: str) -> float:
    found = re.search(rf"^\| {re.escape(start)}[^|]*\| ([\d.]+) \|$", page, re.MULTILINE)
    if not found:
        raise SystemExit(f"docs/cost.md has no price of {start}")
    return float(found[1])


@dataclass(frozen=True)
class Load:
    """Of so many learners, a second."""

    learners: int
    figures: Figures

    @property
    def turns(self) -> float:
        return self.learners * TURNS / 60

    @property
    def reads(self) -> float:
        return self.learners * sum(READS.values()) / 60

    @property
    def requests(self) -> float:
        return self.turns + self.reads

    @property
    def opened(self) -> float:
        return self.turns / TURNS_OF_A_SESSION

    @property
    def concurrency(self) -> float:
        """Executions at the same time: how many begin in a second, times how long each takes."""
        return (
            self.turns * TURN_SECONDS + self.reads * READ_SECONDS + self.opened * TITLE_SECONDS + self.behind
        )

    @property
    def behind(self) -> float:
        """Of the stream's function: one for each partition that has something to tell."""
        return min(float(self.partitions), self.turns * RECORDS) * STREAM_BATCH_SECONDS

    @property
    def units(self) -> Units:
        read = write = 0.0
        first = self.opened / self.turns
        for share, each in ((first, FIRST_TURN), (1 - first, TURN), (1, AFTER_A_TURN), (first, TITLE)):
            read += self.turns * share * each.read
            write += self.turns * share * each.write
        for name, count in READS.items():
            read += self.learners * count / 60 * self.figures.units[name].read
        return Units(read + self.requests * ACCOUNT_READ, write)

    @property
    def partitions(self) -> int:
        """As many as the units need at least: 3,000 read and 1,000 write units a second each."""
        return max(1, ceil(self.units.read / 3_000 + self.units.write / 1_000))

    @property
    def leases(self) -> float:
        return self.opened / 16

    @property
    def events(self) -> float:
        return self.turns + self.opened

    @property
    def model_requests(self) -> float:
        """Of one model, a minute."""
        return self.turns * 60

    @property
    def model_tokens(self) -> float:
        """Of one model, a minute."""
        return self.model_requests * (PROMPT_TOKENS + COMPLETION_TOKENS)

    def dollars(self) -> dict[str, float]:
        """For an hour."""
        prices, hour = self.figures.prices, 3600 / 1e6
        gb_seconds = (self.concurrency) * MEMORY_GB * 3600
        calls = self.requests + self.opened + self.turns * RECORDS / 10
        prompts = self.turns * MODELS * hour
        return {
            "table": (self.units.read * prices["read"] + self.units.write * prices["write"]) * hour,
            "gateway": self.requests * prices["gateway"] * hour,
            "functions": calls * prices["call"] * hour + gb_seconds * prices["compute"] / _GB_SECONDS,
            "bus and queues": (
                self.events * PRICES["a million events on the bus"]
                + 3 * self.opened * PRICES["a million requests to a queue"]
            )
            * hour,
            "logs": self.requests * LOG_KB / 1e6 * 3600 * PRICES["a GB of logs"],
            "model tokens": prompts * PROMPT_TOKENS * PRICES["a million prompt tokens"]
            + prompts * COMPLETION_TOKENS * PRICES["a million completion tokens"],
        }


class Quota(NamedTuple):
    name: str
    value: float
    of_one: float
    """What a learner takes of it."""
    raise_it: str

    @property
    def learners(self) -> float:
        return self.value / self.of_one


SERVICE_QUOTAS: Final = "Service Quotas"


def quotas(figures: Figures) -> list[Quota]:
    """The defaults of AWS and of the template, the one that is met first on top."""
    one = Load(100_000, figures)
    each = one.learners
    titles = 10 / TITLE_SECONDS
    found = [
        Quota("executions at once, new account", 10, one.concurrency / each, SERVICE_QUOTAS),
        Quota("executions at once", 1_000, one.concurrency / each, SERVICE_QUOTAS),
        Quota("requests a second, `ThrottlingRate`", 500, one.requests / each, "parameter"),
        Quota("requests a second, HTTP APIs of an account", 10_000, one.requests / each, SERVICE_QUOTAS),
        Quota("write units a second, new table", 4_000, one.units.write / each, "warm throughput"),
        Quota("read units a second, new table", 12_000, one.units.read / each, "warm throughput"),
        Quota("write units a second, a table", 40_000, one.units.write / each, SERVICE_QUOTAS),
        Quota("read units a second, a table", 40_000, one.units.read / each, SERVICE_QUOTAS),
        Quota("read units a second, the class that all are in", 3_000, one.turns / each, "several classes"),
        Quota("write units a second, the eight counters of ids", 8_000, one.leases / each, "more counters"),
        Quota(
            "titles a second, ten workers", titles, one.opened / each, "`MaximumConcurrency` of WriteTitles"
        ),
        Quota("events a second", 10_000, one.events / each, SERVICE_QUOTAS),
        Quota("requests a minute to a Bedrock model", 1_000, one.model_requests / each, SERVICE_QUOTAS),
        Quota("tokens a minute of a Bedrock model", 2_000_000, one.model_tokens / each, SERVICE_QUOTAS),
    ]
    return sorted(found, key=lambda quota: quota.learners)


# The tables


def loads_table(figures: Figures) -> str:
    loads = [Load(each, figures) for each in LEARNERS]
    costs = [each.dollars() for each in loads]
    rows: list[tuple[str, list[float]]] = [
        ("requests a second", [each.requests for each in loads]),
        ("turns a second", [each.turns for each in loads]),
        ("sessions opened a second", [each.opened for each in loads]),
        ("executions at once", [each.concurrency for each in loads]),
        ("read units a second", [each.units.read for each in loads]),
        ("write units a second", [each.units.write for each in loads]),
        ("partitions, at least", [each.partitions for each in loads]),
        ("records of the stream a second", [each.turns * RECORDS for each in loads]),
        ("events a second", [each.events for each in loads]),
        ("leases of ids a second", [each.leases for each in loads]),
        ("requests a minute to each model", [each.model_requests for each in loads]),
        ("million tokens a minute of each model", [each.model_tokens / 1e6 for each in loads]),
        *((f"$ an hour: {name}", [cost[name] for cost in costs]) for name in costs[0]),
        ("**$ an hour without tokens**", [sum(cost.values()) - cost["model tokens"] for cost in costs]),
        ("**$ an hour with tokens**", [sum(cost.values()) for cost in costs]),
        ("$ a day of eight hours with tokens", [8 * sum(cost.values()) for cost in costs]),
    ]
    head = "| learners at once | " + " | ".join(f"{each:,}" for each in LEARNERS) + " |"
    lines = [f"| {name} | " + " | ".join(map(shown, values)) + " |" for name, values in rows]
    return "\n".join([head, "|---|" + "--:|" * len(LEARNERS), *lines])


def quotas_table(figures: Figures) -> str:
    lines = [
        f"| {each.name} | {each.value:,.0f} | {_rounded(each.learners):,} | {each.raise_it} |"
        for each in quotas(figures)
    ]
    return "\n".join(["| quota | default | met by learners | raised by |", "|---|--:|--:|---|", *lines])


def class_table(figures: Figures) -> str:
    """Everybody of a class opens a session and runs a turn, within so many seconds."""
    opening = Units(
        figures.units["list_sessions"].read + FIRST_TURN.read + 2 * ACCOUNT_READ, FIRST_TURN.write
    )
    within = (60, 30, 10)
    rows = [
        ("requests a second", [2 * CLASS / seconds for seconds in within]),
        ("executions at once", [min(CLASS, CLASS / seconds * TURN_SECONDS) for seconds in within]),
        ("read units a second", [CLASS / seconds * opening.read for seconds in within]),
        ("write units a second", [CLASS / seconds * opening.write for seconds in within]),
        ("read units a second of the class's item", [CLASS / seconds for seconds in within]),
        ("requests to each model in that minute", [float(CLASS)] * len(within)),
        (
            "tokens of each model in that minute, thousands",
            [CLASS * (PROMPT_TOKENS + COMPLETION_TOKENS) / 1e3] * len(within),
        ),
    ]
    head = f"| {CLASS} learners begin within | " + " | ".join(f"{each} s" for each in within) + " |"
    lines = [f"| {name} | " + " | ".join(map(shown, values)) + " |" for name, values in rows]
    return "\n".join([head, "|---|" + "--:|" * len(within), *lines])


def hot_spots_table(figures: Figures) -> str:
    """What is one of a kind, at 100,000 learners: how much it is asked, and how much it bears, a second."""
    load = Load(LEARNERS[-1], figures)
    one = Load(1, figures)
    rows: list[tuple[str, str, float, float]] = [
        ("the class's item, all in one class", "read units", load.turns, 3_000),
        ("the same, all begin within 10 s", "read units", load.learners / 10, 3_000),
        ("one of the eight counters of ids", "write units", load.leases / 8, 1_000),
        ("one learner's partition", "write units", one.units.write, 1_000),
        (
            "one shard of the stream",
            "records",
            load.turns * RECORDS / load.partitions,
            100 / STREAM_BATCH_SECONDS,
        ),
        ("the workers that write titles", "titles", load.opened, 10 / TITLE_SECONDS),
        (
            "the workers that sweep, all delete a session within an hour",
            "sessions",
            load.learners / 3600,
            SWEPT,
        ),
        ("the bus", "events", load.events, 10_000),
    ]
    lines = [f"| {what} | {of} | {shown(asked)} | {shown(bears)} |" for what, of, asked, bears in rows]
    return "\n".join(["| | a second | asked | bears |", "|---|---|--:|--:|", *lines])


def shown(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}".removesuffix(".0") if value >= 10 else f"{value:.2g}"


def _rounded(value: float) -> int:
    """Two digits: more would pretend to know."""
    size = 10 ** max(0, len(str(int(value))) - 2)
    return int(value // size * size)


BLOCKS: Final = {
    "loads": ("docs/limits.md", loads_table),
    "quotas": ("docs/limits.md", quotas_table),
    "hot spots": ("docs/limits.md", hot_spots_table),
    "class": ("docs/runbook.md", class_table),
}


def written(text: str, name: str, block: str) -> str:
    """The page with the block between its two marks."""
    begin, end = f"<!-- capacity: {name} -->\n", "\n<!-- end -->"
    before, found, rest = text.partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise SystemExit(f"no place for the block {name}")
    return before + begin + "\n" + block + "\n" + end + after


def main(arguments: list[str]) -> int:
    figures = Figures.read()
    for name, (path, table) in BLOCKS.items():
        if "--write" in arguments:
            page = ROOT / path
            page.write_text(written(page.read_text(), name, table(figures)))
        else:
            print(f"{path}: {name}\n\n{table(figures)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
