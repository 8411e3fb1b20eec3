"""`python -m benchmarks [section ...]`: measures, prints, writes benchmarks/results/*.json."""

import argparse

from benchmarks import bundles, cold, figures, naive, warm
from benchmarks.lab import laboratory

SECTIONS = ("cold", "warm")


def main() -> None:
    options = argparse.ArgumentParser(prog="make bench", description=__doc__)
    options.add_argument(
        "sections", nargs="*", choices=[*SECTIONS, []], metavar="section", help=", ".join(SECTIONS)
    )
    options.add_argument("--rounds", type=int, default=9, help="how often everybody is measured in turn")
    chosen = options.parse_args()
    wanted = chosen.sections or SECTIONS
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


if __name__ == "__main__":
    main()
