"""Write the figures into the documents, between the markers `<!-- name -->` and `<!-- /name -->`."""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import figures, growth, store
from benchmarks.warm import PROFILED
from tools.build import ROOT

PERFORMANCE = ROOT / "docs" / "performance.md"
COST = ROOT / "docs" / "cost.md"
LIVE = ROOT / "docs" / "live.md"

DEARER = {
    "GET session": "a response contains the key of its index row and its version, a few bytes per item.",
    "PATCH session": "as GET; the change also moves the index row of the session in the list by activity, "
    "which takes two writes.",
    "GET response": "a strongly consistent read returns the latest write. An index read costs half, "
    "but is eventually consistent.",
    "PATCH response": "a strongly consistent read, as GET response.",
    "DELETE response": "a strongly consistent read, as GET response.",
    "POST response": "a transaction, in which each write counts twice. It writes the response and the session's row in "
    "the list by activity, on the condition that the session and the model still exist. The naive write can leave a "
    "response below a session that was deleted meanwhile.",
    "POST session": "a transaction of the session, its settings, its models and the exact total of the list, ordered by "
    "creation and by activity. The naive total counts the whole index, at a cost that grows with the number of sessions.",
    "GET sessions": "a strongly consistent read, where an index read costs half. Each session document is also an item "
    "of its own and takes a whole unit, while an index that copies everything packs many into one, "
    "at the cost of each write.",
    "POST example": "a transaction with the exact total of the list, and an index row.",
}
"""Reasons for each endpoint with a figure above that of the naive design."""


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [
        list(heads),
        ["---", *["--:"] * (len(heads) - 1)],
        *([figures.shown(cell) for cell in row] for row in rows),
    ]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def cold(measured: dict[str, Any]) -> str:
    rows = sorted(measured["results"].items(), key=lambda each: each[1]["emulator_ratio"])
    over = sum(bool(row["over"]) for _, row in rows)
    return "\n\n".join(
        [
            table(
                [
                    "",
                    "in a process",
                    "by processor time",
                    "under the emulator",
                    "budget",
                    "further clients",
                    "",
                ],
                [
                    [
                        name,
                        *(row[figure] for figure in ("ratio", "processor_ratio", "emulator_ratio", "budget")),
                        ", ".join(row["further_clients"]) if row["kind"] == "ours" else "",
                        "; ".join(row["over"]) or ("" if row["budget"] is None else "within"),
                    ]
                    for name, row in rows
                ],
            ),
            f"{'No row is' if not over else f'{over} rows are'} over budget; {measured['rounds']} rounds, {day(measured)}.",
        ]
    )


def imports(measured: dict[str, Any]) -> str:
    of = measured["imports"]["milliseconds"]["get_session"]
    return table(
        ["module imported by `get_session`", "ms including its imports", "ms of its own"],
        [[f"`{name}`", whole, own] for name, (own, whole) in list(of.items())[:25]],
    )


def warm(measured: dict[str, Any]) -> str:
    first, *_ = measured["sizes"]
    peers = [name for name in next(iter(first["results"].values())) if name not in PROFILED]
    rows = [
        [operation, *(size["results"][operation]["ours"]["ratio"] for size in measured["sizes"])]
        + [first["results"][operation][peer]["ratio"] for peer in peers]
        for operation in first["results"]
    ]
    heads = [
        "",
        *(
            "ours" if size["times"] == 1 else f"ours, {size['times']} times as large"
            for size in measured["sizes"]
        ),
    ]
    return "\n\n".join([table([*heads, *peers], rows), f"{first['rounds']} rounds, {day(measured)}."])


def profile(measured: dict[str, Any]) -> str:
    results = measured["sizes"][0]["results"]
    shares = {
        (operation, who): results[operation][who]["shares"] for operation in results for who in PROFILED
    }
    milliseconds = {key: results[key[0]][key[1]]["milliseconds"] for key in shares}
    owners = sorted(
        {owner for each in shares.values() for owner in each},
        key=lambda owner: -sum(each.get(owner, 0.0) for each in shares.values()),
    )
    heads = ["microseconds of processor time", *(f"{operation}, {who}" for operation, who in shares)]
    return table(
        heads,
        [
            [owner, *(round(1000 * milliseconds[key] * each.get(owner, 0.0)) for key, each in shares.items())]
            for owner in owners
        ],
    )


def load(measured: dict[str, Any]) -> str:
    runs = [
        (f"{target}, paced" if level is each["paced"] else target, level)
        for target, each in measured["targets"].items()
        for level in (*each["levels"], each["paced"])
    ]
    memory = [
        [f"{target}, {kind}", row["early"], row["late"], row["growth"]]
        for target, each in measured["targets"].items()
        for kind, row in each["memory"]["kinds"].items()
    ]
    return "\n\n".join(
        [
            table(
                ["", "connections", "requests per second", "p50 ms", "p95 ms", "p99 ms", "errors"],
                [
                    [
                        name,
                        *(
                            level[figure]
                            for figure in ("connections", "per_second", "p50", "p95", "p99", "errors")
                        ),
                    ]
                    for name, level in runs
                ],
            ),
            f"Resident memory over {measured['minutes']:g} minutes at {measured['pace']:g} requests per second, MB "
            "(medians of the second and the last quarter):",
            table(["", "early", "late", "growth"], memory),
            "\n".join(f"{target}: {flatness(each)}." for target, each in measured["targets"].items()),
            f"Measured {day(measured)}.",
        ]
    )


def flatness(target: dict[str, Any]) -> str:
    verdict = target["memory"]["is_flat"]
    return (
        "the run was too short to judge memory"
        if verdict is None
        else "memory is flat"
        if verdict
        else "memory GROWS"
    )


def endpoints(measured: dict[str, Any]) -> str:
    heads = ["endpoint", "requests", "read units", "write units", "$ per million"]
    rows = store.rows(measured)
    naive = ["naive: requests", "read", "write", "$ per million"]
    why = [f"- **{name}**: {DEARER.get(name, 'no reason is documented.')}" for name in dearer(measured)]
    return "\n\n".join(
        [
            table([*heads, *naive], rows),
            "Reasons for figures above those of the naive design:",
            "\n".join(why),
            f"Measured {day(measured)}.",
        ]
    )


def dearer(measured: dict[str, Any]) -> list[str]:
    return [
        name
        for name, row in measured["endpoints"].items()
        if any(row["ours"][figure] > row["naive"][figure] for figure in store.FIGURES)
    ]


def prices(measured: dict[str, Any]) -> str:
    return "\n\n".join(
        [
            table(
                ["US dollars", "$"], [[what, f"{price:.3f}"] for what, price in measured["prices"].items()]
            ),
            f"The gateway and the function add ${store.AROUND:.2f} per million calls, independently of the table.",
        ]
    )


def grown(measured: dict[str, Any]) -> str:
    parts = []
    for by, rows in measured["by"].items():
        sizes = [size["size"] for size in next(iter(rows.values()))["sizes"]]
        heads = [
            by,
            *(f"{size:,}: {what}" for size in sizes for what in ("units", "ms")),
            "flat",
        ]
        parts.append(
            table(
                heads,
                [
                    [
                        name,
                        *(
                            cell
                            for size in row["sizes"]
                            for cell in (
                                f"{growth.units_of(size):g} ({size['requests']})",
                                size["p50_milliseconds"],
                            )
                        ),
                        growth.flatness(row),
                    ]
                    for name, row in rows.items()
                ],
            )
        )
    return "\n\n".join([*parts, f"Medians of {measured['calls']} calls in turn, {day(measured)}."])


def live(measured: dict[str, Any]) -> str:
    rows = [
        ("one connection", measured["one"]),
        ("one connection, the built functions under the emulator", measured["emulated"]),
        ("one turn of 30 seconds", measured["long"]),
    ]
    rows += [("100 connections at once", each) for each in measured["many"]]
    long = measured["long"]
    sizes = ", ".join(f"{size:.0f}" for size in measured["megabytes"])
    return "\n\n".join(
        [
            table(
                ["three models", "turns", "added, p50", "added, p95", "messages a turn", "wrong answers"],
                [
                    [
                        name,
                        each["turns"],
                        f"{each['added_p50_ms']:.0f} ms",
                        f"{each['added_p95_ms']:.0f} ms",
                        round(each["messages"]),
                        each["wrong"],
                    ]
                    for name, each in rows
                ],
            ),
            f"The live API bills ${long['dollars']:.5f} for the turn of 30 seconds. The stack had {sizes} MB of memory "
            f"after the runs with a hundred connections. Measured {day(measured)}.",
        ]
    )


BLOCKS: dict[Path, dict[str, tuple[str, Callable[[dict[str, Any]], str]]]] = {
    PERFORMANCE: {
        "cold": ("cold", cold),
        "imports": ("cold", imports),
        "warm": ("warm", warm),
        "profile": ("warm", profile),
        "load": ("load", load),
    },
    LIVE: {"figures": ("live", live)},
    COST: {"endpoints": ("store", endpoints), "prices": ("store", prices), "growth": ("growth", grown)},
}
"""For each document and block: the name of the result, and the function that formats it."""


def day(measured: dict[str, Any]) -> str:
    return str(measured["measured"])[:10]


def written(document: Path) -> str:
    """The document with blocks from the current results."""
    text = document.read_text()
    for block, (name, write) in BLOCKS[document].items():
        around = re.compile(rf"(<!-- {block} -->\n).*?(<!-- /{block} -->)", re.DOTALL)
        measured = figures.read(name)
        if measured is None or not around.search(text):
            raise SystemExit(f"{document.name} has no markers for {block}, or there are no results of {name}")
        block_text = write(measured).replace("\\", r"\\")
        text = around.sub(rf"\1\n{block_text}\n\n\2", text)
    return text


def write() -> None:
    for document in BLOCKS:
        document.write_text(written(document))
