"""SECURITY.md says what was measured, and names what measures it."""

import json
import re
from pathlib import Path

import pytest

from tests.support.lists import assert_complete
from tests.support.torture import COUNTED, FIGURES, PAGE, with_figures

TESTS = Path(__file__).parents[1]


@pytest.mark.skipif(not FIGURES.exists(), reason="make torture writes the figures at the end of a whole run")
def test_the_figures_on_the_page_are_those_of_the_last_long_run() -> None:
    figures = json.loads(FIGURES.read_text())

    assert with_figures(PAGE.read_text(), figures) == PAGE.read_text()
    assert figures["counted"].keys() == COUNTED.keys()
    assert all(figures["counted"].values())


def test_what_the_long_run_counts_is_named_on_the_page() -> None:
    modules = set(TESTS.glob("*/test_*.py")) - {Path(__file__)}
    trusted = [
        each.relative_to(TESTS).as_posix() for each in modules if "pytest.mark.trust" in each.read_text()
    ]

    assert len(trusted) >= 5
    page = PAGE.read_text()
    assert_complete(
        (name for name in trusted if f"`tests/{name}`" in page), trusted, "SECURITY.md, with what it tests"
    )


def test_every_test_that_the_page_names_exists() -> None:
    """In the module that is named before it in its row."""
    named = 0
    for row in PAGE.read_text().splitlines():
        module = ""
        for name in re.findall(r"`(tests/[a-z_/]+\.py|test_[a-z_]+)`", row):
            if name.startswith("tests/"):
                module = (TESTS.parent / name).read_text()
            else:
                assert f"def {name}(" in module, name
            named += 1

    assert named > 50
