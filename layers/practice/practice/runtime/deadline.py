"""The time that a function has left."""

import threading
import time
from dataclasses import dataclass, field
from typing import Any, Final, Self

LONGEST_SECONDS: Final = 29.0
"""API Gateway waits 30 for a function."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the monotonic clock, or an earlier one at which it is stopped."""

    at: float
    stopped: threading.Event = field(default_factory=threading.Event, compare=False, repr=False)

    @classmethod
    def of(cls, context: Any) -> Self:
        remaining = getattr(context, "get_remaining_time_in_millis", None)
        return cls.after(remaining() / 1000 if remaining else LONGEST_SECONDS)

    @classmethod
    def after(cls, seconds: float) -> Self:
        return cls(time.monotonic() + seconds)

    def less(self, seconds: float) -> "Deadline":
        """Another deadline, which is stopped by itself."""
        return Deadline(self.at - seconds)

    def remaining(self) -> float:
        return 0.0 if self.stopped.is_set() else max(0.0, self.at - time.monotonic())
