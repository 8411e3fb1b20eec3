"""ETag and If-Match: a version for each object's own fields (RFC 9110, 8.8.3 and 13.1.1)."""

import re
from dataclasses import dataclass
from typing import Generic, TypeVar

from practice.errors import PreconditionFailed

Value = TypeVar("Value")

_STRONG = re.compile(r'(?:^|,)\s*"([^"]*)"(?=\s*(?:,|$))')


@dataclass(frozen=True, slots=True)
class Versioned(Generic[Value]):
    """What is answered, and the version of its own fields."""

    value: Value
    version: int


@dataclass(frozen=True, slots=True)
class IfMatch:
    """The versions a client is ready to change; None accepts any."""

    tags: frozenset[str] | None = None

    @classmethod
    def of(cls, header: str | None) -> "IfMatch":
        if header is None or header.strip() == "*":
            return cls()
        return cls(frozenset(_STRONG.findall(header)))

    def accept(self, version: int) -> None:
        """Raises PreconditionFailed when somebody was faster."""
        if self.tags is not None and str(version) not in self.tags:
            raise PreconditionFailed(etag(version))


ANY = IfMatch()


def etag(version: int) -> str:
    return f'"{version}"'
