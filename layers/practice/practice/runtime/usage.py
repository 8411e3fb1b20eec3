"""Counts the requests of one invocation to DynamoDB."""

from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass(slots=True)
class Usage:
    """Requests and capacity units of one invocation."""

    requests: int = 0
    read_units: float = 0.0
    write_units: float = 0.0
    throttles: int = 0
    operations: list[str] = field(default_factory=list)


usage: ContextVar[Usage | None] = ContextVar("usage", default=None)
