"""What was built is refused when it could not be deployed, or would start slowly."""

import py_compile
from collections.abc import Callable
from pathlib import Path

import pytest

from tools import artefacts
from tools.artefacts import BUDGETS, ELF_MACHINES, FUNCTION_BUDGET
from tools.build import targets

VERSION = "3.13"
TAG = "cpython-313"


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """One layer with bytecode, and one function."""
    package = tmp_path / "PracticeLayer" / "python" / "practice"
    package.mkdir(parents=True)
    (package / "keys.py").write_text("ONE = 1\n")
    compile_(package / "keys.py", py_compile.PycInvalidationMode.UNCHECKED_HASH)
    function = tmp_path / "GetSession"
    function.mkdir()
    (function / "handler.py").write_text("def lambda_handler(event, context): ...\n")
    return tmp_path


def compile_(source: Path, mode: py_compile.PycInvalidationMode) -> None:
    py_compile.compile(str(source), str(bytecode_of(source)), invalidation_mode=mode)


def bytecode_of(source: Path) -> Path:
    return source.parent / "__pycache__" / f"{source.stem}.{TAG}.pyc"


def library(machine: int) -> bytes:
    return b"\x7fELF" + bytes(14) + machine.to_bytes(2, "little")


def refused(built: Path, *, release: bool = True) -> bool:
    return artefacts.main(built, VERSION, "arm64", release) == 1


def test_what_is_complete_is_good(built: Path) -> None:
    assert not refused(built)


def no_bytecode_of_one_module(built: Path) -> None:
    (built / "PracticeLayer" / "python" / "practice" / "clock.py").write_text("")


def bytecode_of_another_python(built: Path) -> None:
    compiled = bytecode_of(built / "PracticeLayer" / "python" / "practice" / "keys.py")
    compiled.rename(compiled.with_name("keys.cpython-312.pyc"))


def bytecode_that_looks_at_the_time_of_its_source(built: Path) -> None:
    source = built / "PracticeLayer" / "python" / "practice" / "keys.py"
    compile_(source, py_compile.PycInvalidationMode.TIMESTAMP)


def no_bytecode_at_all(built: Path) -> None:
    bytecode_of(built / "PracticeLayer" / "python" / "practice" / "keys.py").unlink()


def a_library_for_another_processor(built: Path) -> None:
    (built / "PracticeLayer" / "python" / "fast.so").write_bytes(library(ELF_MACHINES["x86_64"]))


def botocore_without_its_reduced_descriptions(built: Path) -> None:
    (built / "PracticeLayer" / "python" / "botocore").mkdir()


def a_layer_beyond_its_unzipped_size(built: Path) -> None:
    most, _ = BUDGETS["PracticeLayer"]
    (built / "PracticeLayer" / "python" / "zeros").write_bytes(bytes(int(most * 1e6)))


def a_function_beyond_its_unzipped_size(built: Path) -> None:
    most, _ = FUNCTION_BUDGET
    (built / "GetSession" / "zeros").write_bytes(bytes(int(most * 1e6)))


@pytest.mark.parametrize(
    "fault",
    [
        no_bytecode_of_one_module,
        bytecode_of_another_python,
        bytecode_that_looks_at_the_time_of_its_source,
        no_bytecode_at_all,
        a_library_for_another_processor,
        botocore_without_its_reduced_descriptions,
        a_layer_beyond_its_unzipped_size,
        a_function_beyond_its_unzipped_size,
    ],
    ids=lambda fault: fault.__name__,
)
def test_what_is_not_is_refused(built: Path, fault: Callable[[Path], None]) -> None:
    fault(built)

    assert refused(built)


def test_a_layer_beyond_its_zipped_size_is_refused(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUDGETS, "PracticeLayer", (BUDGETS["PracticeLayer"][0], 0.0001))

    assert refused(built)


def test_only_a_release_needs_bytecode(built: Path) -> None:
    no_bytecode_at_all(built)

    assert not refused(built, release=False)


def test_a_library_for_the_processor_is_good(built: Path) -> None:
    (built / "PracticeLayer" / "python" / "fast.so").write_bytes(library(ELF_MACHINES["arm64"]))

    assert not refused(built)


def test_bytecode_of_python_311_may_be_larger(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`make builds` failed for it: the same source has a tenth more bytecode there."""
    monkeypatch.setitem(BUDGETS, "PracticeLayer", (1.0, 1.0))
    monkeypatch.setattr(
        artefacts, "sizes", lambda path: (1.07, 0.5) if path.name == "PracticeLayer" else (0.0, 0.0)
    )
    package = built / "PracticeLayer" / "python" / "practice"
    for version in ("311", "312"):
        compiled = bytecode_of(package / "keys.py")
        compiled.with_name(f"keys.cpython-{version}.pyc").write_bytes(compiled.read_bytes())

    assert artefacts.main(built, "3.11", "arm64", release=True) == 0
    assert artefacts.main(built, "3.12", "arm64", release=True) == 1


def test_every_runtime_and_processor_that_the_template_allows_is_built() -> None:
    assert targets() == [
        (version, processor)
        for version in ("3.11", "3.12", "3.13", "3.14")
        for processor in ("arm64", "x86_64")
    ]
