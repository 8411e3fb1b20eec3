"""Versions of stored objects: what a change expects, and what comes with a value."""

from dataclasses import dataclass
from typing import Final, Generic, NamedTuple, TypeVar

from practice.errors import VersionConflict

Value = TypeVar("Value")


class Versioned(NamedTuple, Generic[Value]):
    """A value, and the version of its own fields."""

    value: Value
    version: int


@dataclass(frozen=True, slots=True)
class ExpectedVersions:
    """The versions that a client is ready to change or delete; None accepts any."""

    versions: frozenset[int] | None = None

    def check(self, version: int) -> None:
        """Raises VersionConflict."""
        if self.versions is not None and version not in self.versions:
            raise VersionConflict(version)


ANY_VERSION: Final = ExpectedVersions()
