"""Secrets Manager, asked with one signed request."""

import time
from typing import Final

from practice.errors import StoreUnavailable
from practice.runtime import signed
from practice.runtime.snapshots import clear_on_restore

SERVICE: Final = "secretsmanager"
LIFETIME_SECONDS: Final = 300.0
"""How long a rotated secret may go unnoticed."""

_cache: dict[str, tuple[float, str]] = {}


def secret(secret_id: str) -> str:
    """The string of a secret, cached for five minutes; the last known one serves while Secrets Manager does not answer.

    Raises StoreUnavailable when it never answered.
    """
    known = _cache.get(secret_id)
    if known and time.monotonic() - known[0] < LIFETIME_SECONDS:
        return known[1]
    try:
        value = _fetch(secret_id)
    except StoreUnavailable:
        if known is None:
            raise
        value = known[1]
    _cache[secret_id] = (time.monotonic(), value)
    return value


@clear_on_restore
def clear_cache() -> None:
    _cache.clear()


def _fetch(secret_id: str) -> str:
    answer = signed.call(SERVICE, "secretsmanager.GetSecretValue", {"SecretId": secret_id})
    value: str = answer["SecretString"]
    return value
