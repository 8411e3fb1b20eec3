"""Bearer token -> caller. The reason of a refusal goes to the log, never to the caller."""

import json
import re
from typing import Any, Final

import jwt

from practice.caller import Caller
from practice.errors import Unauthorized
from practice.limits import MAX_ID, TOKEN_CHARACTERS
from practice.runtime.config import config
from practice.runtime.secrets import secret

_DIGITS = re.compile(r"[1-9][0-9]{0,15}", re.ASCII)
_MINIMUM_SECRET_BYTES: Final = 32
"""RFC 7518, 3.2: an HS256 key is at least as long as its hash."""


def authenticate(authorization: str | None) -> Caller:
    """Raises Unauthorized. A process asks Secrets Manager once in five minutes."""
    if not authorization:
        raise Unauthorized("no Authorization header")
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthorized("not a bearer token")
    token = token.strip(" ")
    if not token or len(token) > TOKEN_CHARACTERS:
        raise Unauthorized("token empty or too long")
    header = _header(token)
    claims = _verified(token, header)
    _check_times(claims)
    expires_at = float(claims["exp"]) + config().token_leeway_seconds
    return Caller(_user_id(claims), _issued_at(claims), _token_id(claims), expires_at)


def _header(token: str) -> dict[str, Any]:
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.InvalidTokenError, ValueError, RecursionError) as error:
        raise Unauthorized(type(error).__name__) from error
    if "crit" in header:
        raise Unauthorized("critical extensions are not understood")
    if str(header.get("typ", "JWT")).upper() not in ("JWT", "AT+JWT"):
        raise Unauthorized("not an access token")
    return header


def _verified(token: str, header: dict[str, Any]) -> dict[str, Any]:
    algorithm = header.get("alg")
    settings = config()
    if algorithm == "HS256" and settings.token_secret_arn:
        candidates = _shared_secrets(secret(settings.token_secret_arn))
    elif algorithm in ("RS256", "ES256") and settings.jwks_url:
        from practice.http.jwks import key_for  # imports cryptography: it has a layer of its own

        candidates = [key_for(header)]
    else:
        raise Unauthorized("algorithm not accepted")
    failure = "no key"
    for key in candidates:
        try:
            return _claims(token, key, str(algorithm))
        except jwt.InvalidSignatureError:
            failure = "InvalidSignatureError"
        except (jwt.InvalidTokenError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise Unauthorized(type(error).__name__) from error
    raise Unauthorized(failure)


def _claims(token: str, key: Any, algorithm: str) -> dict[str, Any]:
    settings = config()
    claims: dict[str, Any] = jwt.decode(
        token,
        key,
        algorithms=[algorithm],
        issuer=settings.token_issuer or None,
        audience=settings.token_audience or None,
        leeway=settings.token_leeway_seconds,
        # The subject is checked below: PyJWT refuses the integers that our issuers send.
        options={"require": ["exp"], "verify_aud": bool(settings.token_audience), "verify_sub": False},
    )
    return claims


def _shared_secrets(stored: str) -> list[str]:
    """The live secrets, newest first: a rotation keeps the previous one valid until it is removed."""
    if not stored.startswith("{"):
        secrets = [stored]
    else:
        fields = json.loads(stored)
        secrets = [fields[name] for name in ("current", "previous") if fields.get(name)]
    if not secrets or any(len(each.encode()) < _MINIMUM_SECRET_BYTES for each in secrets):
        raise RuntimeError("the token secret must have 32 bytes or more")
    return secrets


def _check_times(claims: dict[str, Any]) -> None:
    """PyJWT also accepts strings and booleans as times."""
    for name in ("exp", "nbf", "iat"):
        value = claims.get(name, 0)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= MAX_ID:
            raise Unauthorized(f"{name} is not a time")


def _user_id(claims: dict[str, Any]) -> int:
    value = claims.get(config().token_user_claim)
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_ID:
        raise Unauthorized("no user id in the token")
    return value


def _issued_at(claims: dict[str, Any]) -> float | None:
    value = claims.get("iat")
    return None if value is None else float(value)


def _token_id(claims: dict[str, Any]) -> str | None:
    value = claims.get("jti")
    return value if isinstance(value, str) else None
