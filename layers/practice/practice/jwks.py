"""Public keys of the issuer, by its JWKS URL: cached, refetched once for an unknown kid, and never without end."""

import json
import threading
import time
from typing import Any, Final

import jwt
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ConnectionError as NoConnection
from botocore.exceptions import HTTPClientError
from botocore.httpsession import URLLib3Session

from practice.config import config
from practice.errors import Unauthorized

FRESH_SECONDS: Final = 600.0
STALE_SECONDS: Final = 3600.0
"""How long known keys serve while the issuer does not answer."""
COOL_DOWN_SECONDS: Final = 60.0
"""Tokens with made-up kids must not become requests to the issuer."""
MAX_BYTES: Final = 256 * 1024
_KEY_TYPES: Final = {"RS256": "RSA", "ES256": "EC"}
_MINIMUM_RSA_BITS: Final = 2048


class _Keys:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.by_kid: dict[str, dict[str, Any]] = {}
        self.fetched_at: float | None = None
        self.tried_at: float | None = None

    def look_up(self, kid: str) -> dict[str, Any] | None:
        with self.lock:
            now = time.monotonic()
            is_fresh = self.fetched_at is not None and now - self.fetched_at < FRESH_SECONDS
            may_try = self.tried_at is None or now - self.tried_at >= COOL_DOWN_SECONDS
            if may_try and (not is_fresh or kid not in self.by_kid):
                self.tried_at = now
                fetched = _fetch(config().jwks_url)
                if fetched is not None:
                    self.by_kid, self.fetched_at = fetched, now
            if self.fetched_at is None or now - self.fetched_at > STALE_SECONDS:
                raise Unauthorized("the issuer's keys are not available")
            return self.by_kid.get(kid)

    def forget(self) -> None:
        self.__init__()  # type: ignore[misc]


_keys = _Keys()
forget = _keys.forget


def key_for(header: dict[str, Any]) -> Any:
    """The public key that the token names. Raises Unauthorized; one request to the issuer now and then."""
    kid = header.get("kid")
    if not isinstance(kid, str):
        raise Unauthorized("no kid")
    found = _keys.look_up(kid)
    algorithm = str(header["alg"])
    if found is None or found.get("kty") != _KEY_TYPES[algorithm]:
        raise Unauthorized("unknown kid")
    if found.get("use", "sig") != "sig" or found.get("alg", algorithm) != algorithm:
        raise Unauthorized("the key is not for this")
    try:
        key = jwt.PyJWK(found, algorithm).key
    except jwt.PyJWTError as error:
        raise Unauthorized("the issuer's key cannot be read") from error
    if algorithm == "RS256" and key.key_size < _MINIMUM_RSA_BITS:
        raise Unauthorized("the issuer's key is too short")
    return key


def _fetch(url: str) -> dict[str, dict[str, Any]] | None:
    """The keys by kid; None when the issuer does not answer with a key set. Redirects are not followed."""
    try:
        answer = URLLib3Session(timeout=3).send(AWSRequest("GET", url, stream_output=True).prepare())
        if answer.status_code != 200:
            return None
        raw = answer.raw.read(MAX_BYTES + 1)
        published = json.loads(raw)["keys"] if len(raw) <= MAX_BYTES else None
    except (NoConnection, HTTPClientError, ValueError, KeyError, TypeError, RecursionError):
        return None
    if not isinstance(published, list):
        return None
    named = [key for key in published if isinstance(key, dict) and isinstance(key.get("kid"), str)]
    kids = [key["kid"] for key in named]
    return {key["kid"]: key for key in named if kids.count(key["kid"]) == 1}
