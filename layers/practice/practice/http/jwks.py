"""The issuer's public keys, by PyJWT's client: cached, fetched again for an unknown `kid`, limited in time and size."""

import json
import time
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

import jwt
import urllib3
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ConnectionError as NoConnection
from botocore.exceptions import HTTPClientError
from botocore.httpsession import URLLib3Session
from jwt.exceptions import PyJWKClientConnectionError, PyJWKClientError, PyJWKSetError

from practice.errors import Unauthorized
from practice.runtime.config import config
from practice.runtime.snapshots import clear_on_restore

FRESH_SECONDS: Final = 600.0
STALE_SECONDS: Final = 3600.0
"""How long known keys are used while the issuer does not answer."""
COOL_DOWN_SECONDS: Final = 60.0
"""Between requests for unknown kids: tokens with made-up kids must not become requests to the issuer."""
RETRY_SECONDS: Final = 5.0
"""Between requests while the issuer does not answer."""
TIMEOUT_SECONDS: Final = 3
MAX_BYTES: Final = 256 * 1024
_ALGORITHMS: Final = {"RSA": "RS256", "EC": "ES256"}
_RSA_BITS: Final = range(2048, 8192 + 1)


class IssuerKeys(jwt.PyJWKClient):
    """Adds stale keys while the issuer does not answer, a back-off after failures, and checks of the published keys."""

    def __init__(self, url: str) -> None:
        super().__init__(url, lifespan=FRESH_SECONDS, cooldown_duration=COOL_DOWN_SECONDS)
        self._known: jwt.PyJWKSet | None = None
        self._retry_at = 0.0

    def get_jwk_set(self, refresh: bool = False) -> jwt.PyJWKSet:
        try:
            self._known = super().get_jwk_set(refresh)
        except PyJWKClientError:
            # A refresh looks for a key that is not among the known ones.
            if refresh or self._known is None or self._age() > STALE_SECONDS:
                raise
        return self._known

    def _age(self) -> float:
        return time.monotonic() - (self._last_successful_fetch or 0.0)

    def fetch_data(self) -> jwt.PyJWKSet:
        """Unlike PyJWT's own, it limits the size and the total time. A set without a usable key raises PyJWKSetError."""
        now = time.monotonic()
        if now < self._retry_at:
            raise PyJWKClientConnectionError("the issuer failed a moment ago")
        self._retry_at = now + RETRY_SECONDS
        keys = jwt.PyJWKSet(list(_usable(self._as_jwk_set_payload(_download(self.uri)).get("keys"))))
        self._retry_at, self._last_successful_fetch = 0.0, now
        return keys


@lru_cache(maxsize=1)
def _issuer_keys() -> IssuerKeys:
    return IssuerKeys(config().jwks_url)


clear_cache = clear_on_restore(_issuer_keys.cache_clear)


def key_for(header: dict[str, Any]) -> Any:
    """The public key that the token names. Raises Unauthorized. At most one request to the issuer."""
    kid = header.get("kid")
    if not isinstance(kid, str):
        raise Unauthorized("no kid")
    try:
        found = _issuer_keys().get_signing_key(kid)
    except (PyJWKClientError, PyJWKSetError) as error:
        raise Unauthorized(type(error).__name__) from error
    if found.algorithm_name != header["alg"]:
        raise Unauthorized("the key is for another algorithm")
    return found.key


def _usable(published: Any) -> Iterator[dict[str, Any]]:
    """The keys that verify our tokens. Of two with the same `kid` neither does."""
    if not isinstance(published, list):
        raise PyJWKClientError("the keys are not a list")
    named = [key for key in published if isinstance(key, dict) and isinstance(key.get("kid"), str)]
    kids = [key["kid"] for key in named]
    for key in named:
        if kids.count(key["kid"]) == 1 and _verifies(key):
            yield key


def _verifies(key: dict[str, Any]) -> bool:
    kind, operations = key.get("kty"), key.get("key_ops", ["verify"])
    algorithm = _ALGORITHMS.get(kind) if isinstance(kind, str) else None
    if (
        algorithm is None
        or (kind == "EC" and key.get("crv") != "P-256")
        or key.get("use", "sig") != "sig"
        or key.get("alg", algorithm) != algorithm
        or not isinstance(operations, list)
        or "verify" not in operations
        or "d" in key  # a private key: every reader of the set can sign with it
    ):
        return False
    try:
        parsed = jwt.PyJWK(key, algorithm).key
    except (jwt.PyJWTError, ArithmeticError, LookupError, TypeError, ValueError):
        return False
    return algorithm != "RS256" or parsed.key_size in _RSA_BITS


def _download(url: str) -> Any:
    """The JSON of the key set. Redirects are not followed. Raises PyJWKClientError."""
    session = URLLib3Session(timeout=TIMEOUT_SECONDS)
    try:
        answer = session.send(AWSRequest("GET", url, stream_output=True).prepare())
        if answer.status_code != 200:
            raise PyJWKClientConnectionError(f"the issuer answered {answer.status_code}")
        return json.loads(_read(answer.raw))
    except (NoConnection, HTTPClientError, urllib3.exceptions.HTTPError, OSError) as error:
        raise PyJWKClientConnectionError(type(error).__name__) from error
    except (ValueError, RecursionError) as error:
        raise PyJWKClientError("not a key set") from error
    finally:
        session.close()


def _read(raw: urllib3.HTTPResponse) -> bytes:
    """Raises ValueError for an answer that is too long or too slow."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    content = b""
    while chunk := raw.read1(MAX_BYTES):
        content += chunk
        if len(content) > MAX_BYTES or time.monotonic() > deadline:
            raise ValueError("too long or too slow")
    return content
