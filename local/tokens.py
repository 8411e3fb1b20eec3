"""Bearer tokens for the local stack, signed with the secret that only its DATA folder holds."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping


def mint(secret: str, user_id: int, ttl: int, settings: Mapping[str, str]) -> str:
    """An HS256 token that the functions accept under these settings."""
    now = int(time.time())
    claims: dict[str, object] = {
        settings.get("TOKEN_USER_CLAIM") or "sub": str(user_id),
        "iat": now,
        "exp": now + ttl,
    }
    if issuer := settings.get("TOKEN_ISSUER"):
        claims["iss"] = issuer
    if audience := settings.get("TOKEN_AUDIENCE"):
        claims["aud"] = audience
    signed = f"{_encode({'alg': 'HS256', 'typ': 'JWT'})}.{_encode(claims)}"
    signature = hmac.digest(secret.encode(), signed.encode(), hashlib.sha256)
    return f"{signed}.{_base64(signature)}"


def _encode(part: Mapping[str, object]) -> str:
    return _base64(json.dumps(part, separators=(",", ":")).encode())


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
