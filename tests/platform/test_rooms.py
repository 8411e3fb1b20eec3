"""Which room of the package may import which: data flows one way, from the edge to the table."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "layers" / "practice" / "practice"
GROUND = {"errors", "limits", "caller"}
STORE = {"schemas", "table", "store", "runtime"}
MAY_IMPORT = {
    **{name: set[str]() for name in GROUND},
    "runtime": set[str](),
    "schemas": set[str](),
    "table": {"runtime"},
    "store": {"table", "schemas", "runtime"},
    "turns": STORE,
    "transfers": STORE,
    "http": STORE | {"turns", "transfers"},
    "live": STORE | {"turns", "transfers", "http"},
    "events": STORE | {"turns", "transfers"},
}


def imported_by(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "practice":
            names = (
                [alias.name for alias in node.names] if node.module == "practice" else [str(node.module)[9:]]
            )
            yield from (name.partition(".")[0] for name in names)


@pytest.mark.parametrize(
    "room", sorted({file.relative_to(PACKAGE).parts[0] for file in PACKAGE.rglob("*.py")})
)
def test_a_room_imports_only_what_it_may(room: str) -> None:
    if room == "__init__.py":
        return
    name = room.removesuffix(".py")
    assert name in MAY_IMPORT, f"{name} is a new room: add a row to MAY_IMPORT and to docs/architecture.md"
    files = [PACKAGE / room] if room.endswith(".py") else (PACKAGE / room).rglob("*.py")
    wrong = {
        f"{file.relative_to(PACKAGE)} imports {other}"
        for file in files
        for other in imported_by(file)
        if other not in MAY_IMPORT[name] | GROUND | {name}
    }
    assert wrong == set()
