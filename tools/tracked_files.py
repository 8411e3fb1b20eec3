"""Check that no file of the repository contains the host of a package registry or a path of one machine."""

import re
import subprocess
import sys
from pathlib import Path

FORBIDDEN = {
    "a package registry's host": re.compile(
        r"pypi\.org|pythonhosted\.org|npmjs\.(?:org|com)|yarnpkg\.com|unpkg\.com|jsdelivr\.net"
    ),
    "a path of one machine": re.compile(r"(?<![\w.}~$/-])/(?:root|work|home|Users)/\w"),
}


def findings() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=True,
        capture_output=True,
        text=True,
    )
    found = []
    for name in filter(None, listed.stdout.split("\0")):
        path = Path(name)
        if not path.is_file():
            continue  # deleted, but not yet committed
        text = path.read_bytes().decode(errors="replace")
        for number, line in enumerate(text.splitlines(), start=1):
            found += [f"{name}:{number}: {what}" for what, form in FORBIDDEN.items() if form.search(line)]
    return found


if __name__ == "__main__":
    for finding in (found := findings()):
        print(finding)
    sys.exit(bool(found))
