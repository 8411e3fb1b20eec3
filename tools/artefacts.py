"""Check the result of `sam build`: bytecode and processor of the deploy target, and size budgets."""

import io
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from practice.runtime.services import DESCRIPTIONS

# Megabytes, unzipped and zipped: a tenth above the current sizes. Lambda allows 250 MB unzipped for a function with its
# layers.
BUDGETS = {
    "DependenciesLayer": (46.7, 26.9),
    "CryptographyLayer": (18.1, 6.1),
    "PracticeLayer": (2.28, 1.02),
}
LARGER_BYTECODE = {"3.11": 1.08}
"""The same source of ours, 0.49 MB, compiles to 0.70 MB under Python 3.11, and to 0.61 under 3.12 and 3.13."""
FUNCTION_BUDGET = (0.003, 0.0015)

UNCHECKED_HASH = (1).to_bytes(4, "little")
ELF_MACHINES = {"x86_64": 0x3E, "arm64": 0xB7}


def main(folder: Path, version: str, architecture: str, release: bool) -> int:
    # A nested stack is built as a folder with its template.
    artefacts = sorted(
        path for path in folder.iterdir() if path.is_dir() and not (path / "template.yaml").exists()
    )
    if not artefacts:
        raise SystemExit(f"{folder} contains no build result")
    problems = [problem for path in artefacts for problem in check(path, version, architecture)]
    uncompiled = [path.name for path in artefacts if is_layer(path) and not any(path.rglob("*.pyc"))]
    if uncompiled:
        remark = f"{', '.join(uncompiled)}: no bytecode, because Python {version} is not installed"
        if release:
            problems.append(remark)
        else:
            print(f"{remark}; cold starts will be slow", file=sys.stderr)
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def check(path: Path, version: str, architecture: str) -> Iterator[str]:
    unzipped, zipped = sizes(path)
    most_unzipped, most_zipped = BUDGETS.get(path.name, FUNCTION_BUDGET)
    if path.name == "PracticeLayer":
        most_unzipped *= LARGER_BYTECODE.get(version, 1)
    if is_layer(path):
        print(f"{path.name:18} {unzipped:6.2f} MB unzipped {zipped:6.2f} MB zipped")
    if unzipped > most_unzipped or zipped > most_zipped:
        yield (
            f"{path.name}: {unzipped:.2f} MB unzipped and {zipped:.2f} MB zipped, "
            f"above the budget of {most_unzipped:.2f} and {most_zipped}"
        )
    for library in path.rglob("*.so*"):
        machine = int.from_bytes(library.read_bytes()[18:20], "little")
        if machine != ELF_MACHINES[architecture]:
            yield f"{library.relative_to(path.parent)}: not built for {architecture}"
    if is_layer(path) and any(path.rglob("*.pyc")):
        yield from check_bytecode(path, version)
        if (path / "python" / "botocore").is_dir() and not (path / "python" / DESCRIPTIONS).is_dir():
            yield f"{path.name}: without the reduced descriptions of AWS, so cold starts would be slow"


def check_bytecode(layer: Path, version: str) -> Iterator[str]:
    tag = f"cpython-{version.replace('.', '')}"
    for source in layer.rglob("*.py"):
        compiled = source.parent / "__pycache__" / f"{source.stem}.{tag}.pyc"
        if not compiled.exists() or compiled.read_bytes()[4:8] != UNCHECKED_HASH:
            name = source.relative_to(layer.parent)
            yield f"{name}: no bytecode of Python {version} with unchecked hashes"
            return


def is_layer(artefact: Path) -> bool:
    return (artefact / "python").is_dir()


def sizes(artefact: Path) -> tuple[float, float]:
    """Megabytes unzipped, as in Lambda, and zipped, as uploaded."""
    unzipped = 0
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        for file in artefact.rglob("*"):
            if file.is_file():
                unzipped += file.stat().st_size
                zipped.write(file, file.relative_to(artefact))
    return unzipped / 1e6, archive.tell() / 1e6
