"""`python -m tools.typescript_client [CLIENTS]`: write the types of the TypeScript and browser clients from the contracts.

openapi-typescript writes both. The schemas of AsyncAPI are those of OpenAPI: it reads them in a document without paths.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.openapi import TARGET as CONTRACT
from tools.python_client import LIVE_CONTRACT, ROOT

GENERATOR = ROOT / "node_modules" / "openapi-typescript" / "bin" / "cli.js"


def write(clients: Path) -> None:
    live = json.loads(LIVE_CONTRACT.read_text())
    with tempfile.TemporaryDirectory() as folder:
        wrapped = Path(folder, "live.json")
        schemas = {"schemas": live["components"]["schemas"]}
        wrapped.write_text(
            json.dumps({"openapi": "3.1.0", "info": live["info"], "paths": {}, "components": schemas})
        )
        _generate(CONTRACT, clients / "typescript" / "schema.d.ts")
        # What has a default may be left out of what a client sends.
        _generate(wrapped, clients / "web" / "messages.d.ts", "--default-non-nullable=false")


def _generate(contract: Path, target: Path, *options: str) -> None:
    node = shutil.which("node") or "node"
    done = subprocess.run(
        [node, GENERATOR, contract, "--output", target, *options], capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "clients")
