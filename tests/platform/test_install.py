"""tools/install.py, which starts before anything is installed, on the python3 that there is."""

import ast
import os
import subprocess
import sys
from pathlib import Path

from local.stack import ROOT

SCRIPT = ROOT / "tools" / "install.py"


def test_it_starts_on_python_3_6() -> None:
    tree = ast.parse(SCRIPT.read_text(), feature_version=(3, 6))

    evaluated = [
        annotation
        for node in ast.walk(tree)
        for annotation in (getattr(node, "annotation", None), getattr(node, "returns", None))
        if isinstance(annotation, ast.Subscript | ast.BinOp)
    ]
    assert not [ast.unparse(each) for each in evaluated], "quote them: 3.6 cannot evaluate these"
    named = {
        keyword.arg for node in ast.walk(tree) if isinstance(node, ast.Call) for keyword in node.keywords
    }
    assert not named & {"capture_output", "text", "missing_ok"}, "3.6 has no such arguments"
    assert not [
        node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "__future__"
    ]


def install(what: str, root: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a copy of the script on a tree of its own."""
    (root / "tools").mkdir()
    (root / "tools" / "install.py").write_text(SCRIPT.read_text())
    (root / "requirements").mkdir()
    for name in ("requirements/uv.txt", "requirements/dev.txt", "package-lock.json"):
        (root / name).write_text("")
    command = [sys.executable, str(root / "tools" / "install.py"), what]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_without_a_python_that_is_new_enough_it_reports_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    old = tmp_path / "bin" / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    environment = {"PATH": str(old.parent), "PYENV_ROOT": str(tmp_path), "HOME": str(tmp_path)}

    ended = install("venv", tmp_path, **environment)

    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
    assert ended.stderr.startswith("install Python 3.11 or newer with venv")


def test_a_python_that_is_named_and_too_old_is_refused(tmp_path: Path) -> None:
    ended = install("venv", tmp_path, PATH=os.defpath, PYTHON="/bin/false")

    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
    assert ended.stderr.startswith("PYTHON=/bin/false is not a working Python 3.11 or newer with venv")


def test_without_npm_it_goes_on_and_reports_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()

    ended = install("node", tmp_path, PATH=str(tmp_path / "bin"))

    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (0, "", 1)
    assert ended.stderr.startswith("npm is missing, install Node.js with npm")
