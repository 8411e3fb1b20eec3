"""Install what a make target needs: `python3 tools/install.py venv | node | <name of a requirements/*.txt>`.

Runs on any Python 3.8 or newer, before anything is installed. Everything it says goes to stderr, because the output of
some targets is read by other programs. `PYTHON` names the interpreter to use; otherwise it is the newest that works,
the one of the deployed functions first.
"""

import fcntl
import os
import platform
import shutil
import subprocess
import sys
import time
from glob import glob
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
TOOLS = ROOT / ".tools"
LOCKS = ROOT / "requirements"
STAMP = "installed"  # the Makefile compares it with the locks
NAMES = ("python3.13", "python3.12", "python3.11", "python3.14", "python3", "python")


def say(text):
    print(text, file=sys.stderr, flush=True)


def run(*command, cwd=ROOT):
    """Run quietly; show what the command said only if it fails."""
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        say(done.stdout + done.stderr)
        raise SystemExit(f"failed: {' '.join(str(part) for part in command)}")


def works(python):
    """A name on the PATH may be a shim without a Python behind it, or lack venv: only running it tells."""
    probe = "import sys, ensurepip, ssl, sqlite3, venv; sys.exit(sys.version_info < (3, 11))"
    try:
        return subprocess.run([str(python), "-c", probe], capture_output=True, timeout=60, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def find_python():
    wanted = os.environ.get("PYTHON")
    if wanted:
        if not works(wanted):
            raise SystemExit(f"PYTHON={wanted} is not a working Python 3.11 or newer with venv")
        return wanted
    folders = os.environ.get("PATH", "").split(os.pathsep)
    pyenv = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
    folders += sorted(glob(os.path.join(pyenv, "versions", "*", "bin")), reverse=True)
    for name in NAMES:
        for folder in folders:
            found = shutil.which(name, path=folder)
            if found and works(found):
                return found
    raise SystemExit("needs Python 3.11 or newer with venv (on Debian: apt-get install python3 python3-venv)")


def install_venv(folder):
    if not works(folder / "bin" / "python"):
        python = find_python()
        say(f"installing Python packages into {folder.name} ({python})")
        run(python, "-m", "venv", "--clear", folder)
    python = folder / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--require-hashes", "--requirement", LOCKS / "uv.txt")
    run(folder / "bin" / "uv", "pip", "sync", "--quiet", "--python", python, "--require-hashes", LOCKS / "dev.txt")
    # Our own package, importable as in a function: the layer's folder by its place relative to site-packages.
    for packages in folder.glob("lib/python3*/site-packages"):
        layer = os.path.relpath(ROOT / "layers" / "practice", packages)
        (packages / "practice-layer.pth").write_text(layer + "\n")


def install_tool(folder):
    """A tool with an environment of its own, because it pins packages that the code uses in other versions."""
    say(f"installing {folder.name} into {folder.relative_to(ROOT)}")
    uv = VENV / "bin" / "uv"
    run(uv, "venv", "--quiet", "--clear", "--python", VENV / "bin" / "python", folder)
    lock = LOCKS / f"{folder.name}.txt"
    run(uv, "pip", "sync", "--quiet", "--python", folder / "bin" / "python", "--require-hashes", lock)


def install_node(folder):
    """Whether the database engine of the local stack is there; without it the stack says that it falls back."""
    npm = shutil.which("npm")
    if not npm:
        say("npm is not installed: going on without the packages of package.json")
        return False
    command = [npm, "ci", "--no-audit", "--no-fund", "--loglevel=error"]
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    has_engine = (folder / "@dynoxide").is_dir() or (sys.platform, platform.machine()) != ("linux", "x86_64")
    if done.returncode or not has_engine:
        reason = (done.stderr.strip() or "the registry did not answer").splitlines()[-1]
        say(f"npm could not install the packages of package.json, going on without: {reason}")
        return False
    return True


def is_current(stamp, locks):
    return stamp.exists() and all(stamp.stat().st_mtime >= lock.stat().st_mtime for lock in locks)


def main(what):
    if what == "venv":
        folder, locks, install = VENV, [LOCKS / "uv.txt", LOCKS / "dev.txt"], install_venv
    elif what == "node":
        folder, locks, install = ROOT / "node_modules", [ROOT / "package-lock.json"], install_node
    else:
        folder, locks, install = TOOLS / what, [LOCKS / f"{what}.txt"], install_tool
    TOOLS.mkdir(exist_ok=True)
    with open(TOOLS / "lock", "w") as lock:  # two makes at once: the second finds the work done
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = folder / STAMP
        if is_current(stamp, locks):
            return
        begin = time.time()
        if install(folder) is False:
            return
        folder.mkdir(exist_ok=True)
        stamp.touch()
        os.utime(stamp)
        if time.time() - begin > 5:
            say(f"installed {what} in {time.time() - begin:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1])
