"""The AWS load and cost of a number of concurrent learners: the tables of docs/limits.md, docs/cost.md and docs/runbook.md.

    python -m tools.capacity            print them
    python -m tools.capacity --write    write them into the pages

The units of the table come from docs/table.md and the prices from docs/cost.md; both are measured. The units of a turn are
below, and tests/platform/test_capacity.py measures them. All other figures are assumptions, in the section of that name.
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


TURN: Final = Units(19, 35)
"""`chat` with two models in a session with 5 selected examples and 20 responses: prompts of 300 bytes, answers of 1.2 KB."""
FIRST_TURN: Final = Units(13, 58)
"""`run_session` with two models and 5 examples, including the session that it creates."""
AFTER_A_TURN: Final = Units(1, 0)
"""Requests of the stream's function."""
TITLE: Final = Units(4, 9)
RECORDS: Final = 12
"""Stream records of one turn."""
VOTE_OF_CLASS: Final = 4
"""Write units of a vote between two models on the items of its class; after meeting another vote it takes them again."""


# Assumptions

TURNS: Final = 1.0
"""Per learner and minute."""
MODELS: Final = 2
READS: Final = {"get_session": 4, "list_sessions": 2}
"""Per learner and minute."""
TURNS_OF_A_SESSION: Final = 20
TURN_SECONDS: Final = 6.0
"""Duration of the slowest model."""
READ_SECONDS: Final = 0.02
TITLE_SECONDS: Final = 2.0
STREAM_BATCH_SECONDS: Final = 0.2
MEMORY_GB: Final = 1.0
PROMPT_TOKENS: Final = 1_500
"""Per model and turn: examples, history, prompt."""
COMPLETION_TOKENS: Final = 300
SWEPT: Final = 5 / 0.1
"""Sessions per second: five workers, a tenth of a second for a session of 20 responses."""
LOG_KB: Final = 1.5
"""Per request: the function's line, three lines of Lambda, one line of the access log."""
ACCOUNT_READ: Final = 1.0
"""The check for revoked tokens: a process caches it, but a learner rarely reaches the same process twice."""

PRICES: Final = {
    "a million events on the bus": 1.00,
    "a million requests to a queue": 0.40,
    "a GB of logs": 0.50,
    "a million prompt tokens": 0.25,
    "a million completion tokens": 1.25,
}
"""US dollars in us-east-1, in addition to docs/cost.md; token prices of claude-3-haiku-20240307."""


@dataclass(frozen=True)
class Figures:
    """Figures that the pages contain."""

    units: Mapping[str, Units]
    requests: Mapping[str, int]
    prices: Mapping[str, float]

    @classmethod
    def read(cls, root: Path = ROOT) -> "Figures":
        rows = re.findall(
            r"^\| (\w[^|]*) \| ([^|]+) \| (\d+) \| (\d+) \|$",
            (root / "docs/table.md").read_text(),
            re.MULTILINE,
        )
        page = (root / "docs/cost.md").read_text()
        return cls(
            units={name: Units(float(read), float(write)) for name, _, read, write in rows},
            requests={name: requests.count("+") + 1 for name, requests, _, _ in rows},
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
"""GB-seconds of the last price."""


def _price(page: str, start: str) -> float:
    found = re.search(rf"^\| {re.escape(start)}[^|]*\| ([\d.]+) \|$", page, re.MULTILINE)
    if not found:
        raise SystemExit(f"docs/cost.md has no price for {start!r}")
    return float(found[1])


@dataclass(frozen=True)
class Load:
    """Load of a number of learners, per second."""

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
        """Concurrent executions: starts per second times duration."""
        return (
            self.turns * TURN_SECONDS + self.reads * READ_SECONDS + self.opened * TITLE_SECONDS + self.behind
        )

    @property
    def behind(self) -> float:
        """Concurrent executions of the stream's function: one per partition with records."""
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
        """The minimum for the units: 3,000 read and 1,000 write units per second each."""
        return max(1, ceil(self.units.read / 3_000 + self.units.write / 1_000))

    @property
    def leases(self) -> float:
        return self.opened / 16

    @property
    def events(self) -> float:
        return self.turns + self.opened

    @property
    def model_requests(self) -> float:
        """Per model and minute."""
        return self.turns * 60

    @property
    def model_tokens(self) -> float:
        """Per model and minute."""
        return self.model_requests * (PROMPT_TOKENS + COMPLETION_TOKENS)

    def dollars(self) -> dict[str, float]:
        """Per hour."""
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
    """Consumption of one learner."""
    raise_it: str

    @property
    def learners(self) -> float:
        return self.value / self.of_one


SERVICE_QUOTAS: Final = "Service Quotas"


def quotas(figures: Figures) -> list[Quota]:
    """The defaults of AWS and of the template, in the order in which a growing load reaches them."""
    one = Load(100_000, figures)
    each = one.learners
    titles = 10 / TITLE_SECONDS
    found = [
        Quota("concurrent executions, new account", 10, one.concurrency / each, SERVICE_QUOTAS),
        Quota("concurrent executions", 1_000, one.concurrency / each, SERVICE_QUOTAS),
        Quota("requests per second, `ThrottlingRate`", 500, one.requests / each, "parameter"),
        Quota("requests per second, HTTP APIs of an account", 10_000, one.requests / each, SERVICE_QUOTAS),
        Quota("write units per second, new table", 4_000, one.units.write / each, "warm throughput"),
        Quota("read units per second, new table", 12_000, one.units.read / each, "warm throughput"),
        Quota("write units per second, a table", 40_000, one.units.write / each, SERVICE_QUOTAS),
        Quota("read units per second, a table", 40_000, one.units.read / each, SERVICE_QUOTAS),
        Quota(
            "read units per second, class item, all in one class", 3_000, one.turns / each, "several classes"
        ),
        Quota("write units per second, the eight id counters", 8_000, one.leases / each, "more counters"),
        Quota(
            "titles per second, ten workers", titles, one.opened / each, "`MaximumConcurrency` of WriteTitles"
        ),
        Quota("events per second", 10_000, one.events / each, SERVICE_QUOTAS),
        Quota("requests per minute to a Bedrock model", 1_000, one.model_requests / each, SERVICE_QUOTAS),
        Quota("tokens per minute of a Bedrock model", 2_000_000, one.model_tokens / each, SERVICE_QUOTAS),
    ]
    return sorted(found, key=lambda quota: quota.learners)


# The tables


def loads_table(figures: Figures) -> str:
    loads = [Load(each, figures) for each in LEARNERS]
    costs = [each.dollars() for each in loads]
    rows: list[tuple[str, list[float]]] = [
        ("requests per second", [each.requests for each in loads]),
        ("turns per second", [each.turns for each in loads]),
        ("sessions opened per second", [each.opened for each in loads]),
        ("concurrent executions", [each.concurrency for each in loads]),
        ("read units per second", [each.units.read for each in loads]),
        ("write units per second", [each.units.write for each in loads]),
        ("partitions, minimum", [each.partitions for each in loads]),
        ("stream records per second", [each.turns * RECORDS for each in loads]),
        ("events per second", [each.events for each in loads]),
        ("id leases per second", [each.leases for each in loads]),
        ("requests per minute to each model", [each.model_requests for each in loads]),
        ("million tokens per minute of each model", [each.model_tokens / 1e6 for each in loads]),
        *((f"$ per hour: {name}", [cost[name] for cost in costs]) for name in costs[0]),
        ("**$ per hour without tokens**", [sum(cost.values()) - cost["model tokens"] for cost in costs]),
        ("**$ per hour with tokens**", [sum(cost.values()) for cost in costs]),
        ("$ per day of eight hours with tokens", [8 * sum(cost.values()) for cost in costs]),
    ]
    head = "| concurrent learners | " + " | ".join(f"{each:,}" for each in LEARNERS) + " |"
    lines = [f"| {name} | " + " | ".join(map(shown, values)) + " |" for name, values in rows]
    return "\n".join([head, "|---|" + "--:|" * len(LEARNERS), *lines])


def quotas_table(figures: Figures) -> str:
    lines = [
        f"| {each.name} | {each.value:,.0f} | {_rounded(each.learners):,} | {each.raise_it} |"
        for each in quotas(figures)
    ]
    return "\n".join(["| quota | default | reached at learners | raised by |", "|---|--:|--:|---|", *lines])


def class_table(figures: Figures) -> str:
    """All learners of a class open a session and run a turn within a number of seconds."""
    opening = Units(
        figures.units["list_sessions"].read + FIRST_TURN.read + 2 * ACCOUNT_READ, FIRST_TURN.write
    )
    within = (60, 30, 10)
    rows = [
        ("requests per second", [2 * CLASS / seconds for seconds in within]),
        ("concurrent executions", [min(CLASS, CLASS / seconds * TURN_SECONDS) for seconds in within]),
        ("read units per second", [CLASS / seconds * opening.read for seconds in within]),
        ("write units per second", [CLASS / seconds * opening.write for seconds in within]),
        ("read units per second of the class item", [CLASS / seconds for seconds in within]),
        ("requests to each model in that minute", [float(CLASS)] * len(within)),
        (
            "thousand tokens of each model in that minute",
            [CLASS * (PROMPT_TOKENS + COMPLETION_TOKENS) / 1e3] * len(within),
        ),
    ]
    head = f"| {CLASS} learners begin within | " + " | ".join(f"{each} s" for each in within) + " |"
    lines = [f"| {name} | " + " | ".join(map(shown, values)) + " |" for name, values in rows]
    return "\n".join([head, "|---|" + "--:|" * len(within), *lines])


def hot_spots_table(figures: Figures) -> str:
    """Load and capacity of the shared resources at 100,000 learners, per second."""
    load = Load(LEARNERS[-1], figures)
    one = Load(1, figures)
    rows: list[tuple[str, str, float, float]] = [
        ("class item, all learners in one class", "read units", load.turns, 3_000),
        ("the same, if all begin within 10 s", "read units", load.learners / 10, 3_000),
        ("one of the eight id counters", "write units", load.leases / 8, 1_000),
        ("partition of one learner", "write units", one.units.write, 1_000),
        (
            "one stream shard",
            "records",
            load.turns * RECORDS / load.partitions,
            100 / STREAM_BATCH_SECONDS,
        ),
        ("title workers", "titles", load.opened, 10 / TITLE_SECONDS),
        (
            "sweep workers, if all learners delete a session within an hour",
            "sessions",
            load.learners / 3600,
            SWEPT,
        ),
        ("event bus", "events", load.events, 10_000),
        (
            f"counts of a class of {CLASS}, if all vote within a minute, each twice",
            "write units",
            2 * CLASS / 60 * VOTE_OF_CLASS,
            1_000,
        ),
    ]
    lines = [f"| {what} | {of} | {shown(asked)} | {shown(bears)} |" for what, of, asked, bears in rows]
    return "\n".join(["| resource | per second | load | capacity |", "|---|---|--:|--:|", *lines])


JUDGING: Final = {
    "put_vote": "a vote between two answers",
    "put_vote (changed)": "a changed vote",
    "delete_vote": "a withdrawn vote",
    "get_vote": "the vote of a turn",
    "get_blind_turn": "the blind view of a turn",
    "get_standings": "the standings of a user in a class",
    "put_rating": "a rating",
    "put_rating (changed)": "a changed rating",
    "list_turns?leaf": "a page of a branch",
    "get_usage": "the usage of 30 days",
}
"""The rows of docs/table.md that the page of costs shows for judging, branches and usage."""


def judging_table(figures: Figures) -> str:
    """Of the table alone: US dollars for a million calls."""
    lines = []
    for name, what in JUDGING.items():
        read, write = figures.units[name]
        dollars = read * figures.prices["read"] + write * figures.prices["write"]
        lines.append(f"| {what} | {figures.requests[name]} | {read:.0f} | {write:.0f} | {dollars:.2f} |")
    head = "| operation | requests | read units | write units | $ per million |"
    return "\n".join([head, "|---|--:|--:|--:|--:|", *lines])


def shown(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}".removesuffix(".0") if value >= 10 else f"{value:.2g}"


def _rounded(value: float) -> int:
    """Two significant digits, because the figure is an estimate."""
    size = 10 ** max(0, len(str(int(value))) - 2)
    return int(value // size * size)


BLOCKS: Final = {
    "loads": ("docs/limits.md", loads_table),
    "quotas": ("docs/limits.md", quotas_table),
    "hot spots": ("docs/limits.md", hot_spots_table),
    "class": ("docs/runbook.md", class_table),
    "judging": ("docs/cost.md", judging_table),
}


def written(text: str, name: str, block: str) -> str:
    """The page with the block between its two markers."""
    begin, end = f"<!-- capacity: {name} -->\n", "\n<!-- end -->"
    before, found, rest = text.partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise SystemExit(f"the page has no markers for the block {name}")
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
