"""`python -m tools.walk`: count the files, calls and functions of ours that a request passes through.

For a PATCH of a session and a chat with two models, on a local stack in memory, warm. Threads of a turn count too.
"""

import logging
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Final

from local.stack import Stack
from practice.runtime import log
from tests.support.learners import Learner, in_process, learner, new_user_id

ROOT: Final = Path(__file__).resolve().parent.parent
OURS: Final = (str(ROOT / "layers" / "practice"), str(ROOT / "functions"))


def walked(request: Callable[[], object]) -> Counter[tuple[str, str]]:
    """Calls by file and function."""
    calls: Counter[tuple[str, str]] = Counter()

    def count(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(OURS) and not code.co_name.startswith("<"):
            calls[code.co_filename, code.co_qualname] += 1

    threading.setprofile(count)
    sys.setprofile(count)
    try:
        request()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return calls


def main() -> None:
    logging.getLogger().setLevel(logging.CRITICAL)
    log.logger.setLevel("CRITICAL")
    with Stack() as stack:
        who: Learner = learner(in_process(stack), stack.token_secret, new_user_id())
        path = f"/sessions/{who.open_session()['session_id']}"
        requests: dict[str, Callable[[], object]] = {
            "PATCH /sessions/{session_id}": lambda: who.patch(path, {"title": "Tone"}),
            "POST /sessions/{session_id}/chat": lambda: who.post(f"{path}/chat", {"prompt_text": "Why?"}),
        }
        for name, request in requests.items():
            request()
            who.patch(path, {"title": "Other"})
            calls = walked(request)
            files = {file for file, _ in calls}
            print(f"{name}: {len(files)} files, {calls.total()} calls of {len(calls)} functions")


if __name__ == "__main__":
    main()
