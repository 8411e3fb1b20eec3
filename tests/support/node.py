"""Node.js, for the modules of clients/web."""

import shutil
import subprocess
from functools import lru_cache


@lru_cache(maxsize=1)
def node_with_websocket() -> list[str] | None:
    """The command of a Node.js that has WebSocket: 22 by itself, 20 by a flag."""
    if shutil.which("node") is None:
        return None
    for command in (["node"], ["node", "--no-warnings", "--experimental-websocket"]):
        asked = subprocess.run([*command, "-p", "typeof WebSocket"], capture_output=True, text=True)
        if asked.stdout.strip() == "function":
            return command
    return None
