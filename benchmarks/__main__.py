"""`python -m benchmarks [section ...]`: measures, prints, writes benchmarks/results/*.json."""

import argparse

from benchmarks import bundles, cold, figures, naive, store, warm
from benchmarks.lab import laboratory

SECTIONS = ("cold", "warm", "store")
QUICK = ("cold", "warm")
"""`store` fills libraries of 100,000 sessions, and takes as long as that."""


def main() -> None:
    options = argparse.ArgumentParser(prog="make bench", description=__doc__)
    options.add_argument(
        "sections", nargs="*", choices=[*SECTIONS, []], metavar="section", help=", ".join(SECTIONS)
    )
    options.add_argument("--rounds", type=int, default=9, help="how often everybody is measured in turn")
    options.add_argument("--long", action="store_true", help="the largest libraries and sessions too")
    chosen = options.parse_args()
    wanted = chosen.sections or QUICK
    bundles.make_layers()
    with laboratory() as lab:
        naive.make_table(lab)
        if "cold" in wanted:
            measured = cold.measure(lab, chosen.rounds)
            cold.show(measured)
            figures.write("cold", measured)
        if "warm" in wanted:
            both = [warm.measure(lab, times, chosen.rounds) for times in warm.CALLS]
            for measured in both:
                warm.show(measured)
            figures.write("warm", {"sizes": both})
        if "store" in wanted:
            measured = store.measure(lab, chosen.rounds, long=chosen.long)
            store.show(measured)
            store.write_document(measured)
            figures.write("store", measured)


if __name__ == "__main__":
    main()
