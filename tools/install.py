"""Install what a make target needs: `python3 tools/install.py venv | node | node-dev | <name of a requirements/*.txt>`.

It starts on any python3 from 3.6 on, so its syntax and calls are those of 3.6. Messages go to stderr, because other
programs read the output of some targets. `PYTHON` names the interpreter to install for; the default is the first that
works, beginning with the version of the deployed functions.
"""

import fcntl
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "requirements"
VENV = ROOT / ".venv"
TOOLS = ROOT / ".tools"
PYTHONS = ("python3.13", "python3.12", "python3.11", "python3.14", "python3")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def quietly(command: "Sequence[str | Path]") -> "subprocess.CompletedProcess[str]":
    pipe = subprocess.PIPE
    words = [str(word) for word in command]
    return subprocess.run(
        words, cwd=str(ROOT), stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, universal_newlines=True
    )


def run(*command: "str | Path") -> None:
    """Run a command; show its output only if it fails."""
    done = quietly(command)
    if done.returncode:
        say(done.stdout + done.stderr)
        raise SystemExit(f"failed: {' '.join(map(str, command))}")


def install_locked(python: Path, lock: Path) -> None:
    """Make an environment match the lock exactly. uv does not read the configuration of pip (a mirror, a certificate),
    so pip is the fallback.
    """
    uv = (VENV / "bin" / "uv", "pip", "sync", "--quiet", "--require-hashes", "--python", python, lock)
    if quietly(uv).returncode:
        pip = (VENV / "bin" / "python", "-m", "pip", "--python", python)
        run(*pip, "install", "--quiet", "--require-hashes", "--requirement", lock)


def works(python: "str | Path") -> bool:
    """Whether it is a Python 3.11 or newer with venv: a name on the PATH may be a shim without either."""
    probe = "import ensurepip, sqlite3, ssl, sys, venv; sys.exit(sys.version_info < (3, 11))"
    try:
        return quietly((python, "-c", probe)).returncode == 0
    except OSError:
        return False


def find_python() -> str:
    wanted = os.environ.get("PYTHON")
    if wanted:
        if not works(wanted):
            raise SystemExit(
                f"PYTHON={wanted} is not a working Python 3.11 or newer with venv: set it to one, or unset it"
            )
        return wanted
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    folders += map(str, sorted(pyenv.glob("versions/*/bin"), reverse=True))
    for name in PYTHONS:
        for folder in folders:
            found = shutil.which(name, path=folder)
            if found and works(found):
                return found
    raise SystemExit("install Python 3.11 or newer with venv (Debian: apt-get install python3 python3-venv)")


def install_venv(folder: Path) -> bool:
    """The environment of the project. uv is installed first, from its own lock, and installs the rest."""
    python = folder / "bin" / "python"
    if not works(python):
        base = find_python()
        say(f"installing Python packages for {base}")
        run(base, "-m", "venv", "--clear", folder)
    run(python, "-m", "pip", "install", "--quiet", "--require-hashes", "--requirement", LOCKS / "uv.txt")
    install_locked(python, LOCKS / "dev.txt")
    # The folder of the layer relative to site-packages, so that `practice` can be imported as in a function.
    for packages in folder.glob("lib/python3*/site-packages"):
        layer = os.path.relpath(ROOT / "layers" / "practice", packages)
        (packages / "practice_layer.pth").write_text(f"{layer}\n")
    return True


def install_tool(folder: Path) -> bool:
    """A separate environment for a tool that pins other versions of packages that the code uses."""
    say(f"installing requirements/{folder.name}.txt")
    run(VENV / "bin" / "python", "-m", "venv", "--clear", "--without-pip", folder)
    install_locked(folder / "bin" / "python", LOCKS / f"{folder.name}.txt")
    return True


def install_node(folder: Path, *omitted: str) -> bool:
    """The database engine and the page assets, and what only tests use. The local stack runs without them, on moto."""
    npm = shutil.which("npm")
    if not npm:
        say(
            "npm is missing, install Node.js with npm: without it the table's data ends with the stack, and /docs is empty"
        )
        return False
    done = quietly((npm, "ci", "--no-audit", "--no-fund", "--loglevel=error", *omitted))
    engine_expected = (sys.platform, platform.machine()) == ("linux", "x86_64")
    if done.returncode or (engine_expected and not (folder / "@dynoxide").is_dir()):
        reason = (done.stderr.strip() or "a package did not arrive").splitlines()[-1]
        say(f"npm could not install the packages of package.json, continuing without them: {reason}")
        return False
    return True


def install_node_run(folder: Path) -> bool:
    return install_node(folder, "--omit=dev")


def install_node_dev(folder: Path) -> bool:
    done = install_node(folder)
    if done:
        (folder / "installed").touch()  # it includes the packages for `make run`
    return done


def main(what: str) -> None:
    if what == "venv":
        folder, locks, install = VENV, [LOCKS / "uv.txt", LOCKS / "dev.txt"], install_venv
    elif what in ("node", "node-dev"):
        install = install_node_dev if what == "node-dev" else install_node_run
        folder, locks = ROOT / "node_modules", [ROOT / "package-lock.json"]
    else:
        folder, locks, install = TOOLS / what, [LOCKS / f"{what}.txt"], install_tool
    TOOLS.mkdir(exist_ok=True)
    with (TOOLS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = folder / ("installed-dev" if what == "node-dev" else "installed")
        if stamp.exists() and all(stamp.stat().st_mtime >= file.stat().st_mtime for file in locks):
            return  # another make installed it while this one waited
        if install(folder):
            stamp.touch()


if __name__ == "__main__":
    main(sys.argv[1])
