"""Time as the API writes it: RFC 3339, UTC, six fractional digits, `Z`."""

import time
from datetime import UTC, datetime, timedelta

_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"


def now() -> str:
    return to_timestamp(datetime.now(UTC))


def to_timestamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime(_FORMAT)


def version() -> int:
    """Higher than any version of an object that had the same place before: the microseconds since 1970."""
    return time.time_ns() // 1000


def just_after(timestamp: str) -> str:
    """The present, or a microsecond after `timestamp` when the clock here is behind it."""
    next_moment = datetime.strptime(timestamp, _FORMAT).replace(tzinfo=UTC) + timedelta(microseconds=1)
    return to_timestamp(max(datetime.now(UTC), next_moment))
