"""The time that a function has left."""

import time
from dataclasses import dataclass
from typing import Any, Final, Self

LONGEST_SECONDS: Final = 29.0
"""API Gateway waits 30 for a function."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the monotonic clock."""

    at: float

    @classmethod
    def of(cls, context: Any) -> Self:
        remaining = getattr(context, "get_remaining_time_in_millis", None)
        return cls.after(remaining() / 1000 if remaining else LONGEST_SECONDS)

    @classmethod
    def after(cls, seconds: float) -> Self:
        return cls(time.monotonic() + seconds)

    def less(self, seconds: float) -> "Deadline":
        return Deadline(self.at - seconds)

    def remaining(self) -> float:
        return max(0.0, self.at - time.monotonic())
