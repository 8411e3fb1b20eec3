"""Bearer tokens for the local stack, signed with the secret that only its DATA folder holds."""

import time
from collections.abc import Mapping

import jwt


def mint(secret: str, user_id: int, ttl: int, settings: Mapping[str, str]) -> str:
    """An HS256 token that the functions accept under these settings."""
    now = int(time.time())
    claims = {settings.get("TOKEN_USER_CLAIM") or "sub": str(user_id), "iat": now, "exp": now + ttl}
    named = {"iss": settings.get("TOKEN_ISSUER"), "aud": settings.get("TOKEN_AUDIENCE")}
    claims |= {name: value for name, value in named.items() if value}
    return jwt.encode(claims, secret, algorithm="HS256")
