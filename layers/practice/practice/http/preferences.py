"""The `Prefer` header (RFC 7240), as far as it is honoured."""

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Preferences:
    respond_async: bool = False

    @classmethod
    def of(cls, header: str | None) -> Self:
        names = {
            each.partition(";")[0].partition("=")[0].strip().lower() for each in (header or "").split(",")
        }
        return cls(respond_async="respond-async" in names)
