"""The processes that a command starts end with it."""

import shutil
import signal
from types import FrameType


def with_parent() -> list[str]:
    """A prefix for a command that is to end when this process is killed and cannot end it itself."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []


def end_on_sigterm() -> None:
    """SIGTERM ends what was started, as Ctrl-C does."""
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt
