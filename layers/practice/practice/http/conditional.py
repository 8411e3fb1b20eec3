"""ETag and If-Match: a version for each object's own fields (RFC 9110, 8.8.3 and 13.1.1)."""

import re
from typing import Final

from practice.store.versions import ANY_VERSION, ExpectedVersions

_STRONG: Final = re.compile(r'(?:^|,)\s*"(0|[1-9][0-9]{0,15})"(?=\s*(?:,|$))', re.ASCII)
"""A strong ETag of ours; no other can match."""


def expected_versions(if_match: str | None) -> ExpectedVersions:
    if if_match is None or if_match.strip() == "*":
        return ANY_VERSION
    return ExpectedVersions(frozenset(int(version) for version in _STRONG.findall(if_match)))


def etag(version: int) -> str:
    return f'"{version}"'
