"""`python -m benchmarks [section ...]`: measure, print, and write benchmarks/results, the pictures and the documents.

Pictures and documents are always written; the section `pictures` measures nothing. If a budget is exceeded, the exit status
is 1 after everything is measured and written.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable

from benchmarks import bundles, cold, documents, figures, growth, live, load, naive, pictures, store, warm
from benchmarks.lab import laboratory

SECTIONS = ("cold", "warm", "store", "load", "live", "pictures")


def main() -> None:
    options = argparse.ArgumentParser(prog="make bench", description=__doc__)
    options.add_argument(
        "sections", nargs="*", choices=[*SECTIONS, []], metavar="section", help=", ".join(SECTIONS)
    )
    options.add_argument(
        "--rounds", type=int, default=7, help="number of rounds; each measures all contenders alternately"
    )
    options.add_argument(
        "--long",
        action="store_true",
        help="measure the largest libraries and sessions, and memory over 10 minutes",
    )
    options.add_argument("--minutes", type=float, help="duration of the memory measurement under load")
    chosen = options.parse_args()
    minutes = chosen.minutes or (load.LONG_MINUTES if chosen.long else load.MINUTES)
    measured: dict[str, Callable[[], list[str]]] = {
        "cold": lambda: measure_cold(chosen.rounds),
        "warm": lambda: measure_warm(chosen.rounds),
        "store": lambda: measure_store(long=chosen.long),
        "load": lambda: measure_load(minutes),
        "live": measure_live,
    }
    wanted = chosen.sections or list(measured)
    if len(wanted) > 1:
        # Each section runs in its own process, because the clients and secrets of one lab do not work in another.
        options_given = [each for each in sys.argv[1:] if each not in chosen.sections]
        sys.exit(
            max(
                [
                    subprocess.run([sys.executable, "-m", "benchmarks", name, *options_given]).returncode
                    for name in wanted
                ]
            )
        )
    failures = []
    for name, measure in measured.items():
        if name not in wanted:
            continue
        started = time.monotonic()
        try:
            failures += measure()
        except (SystemExit, subprocess.TimeoutExpired) as reason:
            # Earlier results are kept, and later sections still run.
            failures.append(f"{name} was not measured: {reason}")
        print(f"\n{name}: {time.monotonic() - started:.0f} seconds", flush=True)
    for name in pictures.DRAWN:
        pictures.draw(name, figures.read(name))
    documents.write()
    for failure in failures:
        print(f"FAILED {failure}", file=sys.stderr)
    sys.exit(1 if failures else 0)


def measure_cold(rounds: int) -> list[str]:
    bundles.make_layers()
    with laboratory() as lab:
        naive.make_table(lab)
        measured = cold.measure(lab, rounds)
    cold.show(measured)
    figures.write("cold", measured)
    return cold.failures(measured)


def measure_warm(rounds: int) -> list[str]:
    bundles.make_layers()
    with laboratory(streams=False) as lab:
        naive.make_table(lab)
        measured = {"sizes": [warm.measure(lab, times, rounds) for times in warm.CALLS]}
    for size in measured["sizes"]:
        warm.show(size)
    figures.write("warm", measured)
    return warm.failures(measured)


def measure_store(*, long: bool) -> list[str]:
    with laboratory(streams=False) as lab:
        naive.make_table(lab)
        measured = store.measure(lab)
        store.show(measured)
        figures.write("store", measured)
        grown = growth.measure(lab, long=long)
    growth.show(grown)
    figures.write("growth", grown)
    unexplained = [name for name in documents.dearer(measured) if name not in documents.DEARER]
    return [
        f"{name}: more expensive than the naive design, without a documented reason" for name in unexplained
    ] + growth.failures(grown)


def measure_load(minutes: float) -> list[str]:
    measured = load.measure(minutes=minutes)
    load.show(measured)
    figures.write("load", measured)
    return load.failures(measured)


def measure_live() -> list[str]:
    measured = live.measure()
    live.show(measured)
    figures.write("live", measured)
    return live.failures(measured)


if __name__ == "__main__":
    main()
