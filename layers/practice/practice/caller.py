"""The caller: the content of a verified token."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caller:
    """The user a token was issued to."""

    user_id: int
    issued_at: float | None = None
    """The token's `iat`, in seconds since the epoch."""
    token_id: str | None = None
    """The token's `jti`."""
    expires_at: float | None = None
    """The token's `exp` with the leeway, in seconds since the epoch."""
