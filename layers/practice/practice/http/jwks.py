"""Public keys of the issuer, by its JWKS URL: cached, refetched once for an unknown kid, and never without end."""

import json
import threading
import time
from typing import Any, Final

import jwt
import urllib3
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ConnectionError as NoConnection
from botocore.exceptions import HTTPClientError
from botocore.httpsession import URLLib3Session

from practice.errors import Unauthorized
from practice.runtime.config import config
from practice.runtime.snapshots import clear_on_restore

FRESH_SECONDS: Final = 600.0
STALE_SECONDS: Final = 3600.0
"""How long known keys serve while the issuer does not answer."""
COOL_DOWN_SECONDS: Final = 60.0
"""Tokens with made-up kids must not become requests to the issuer."""
RETRY_SECONDS: Final = 5.0
"""The same while the issuer does not answer: what it hides may be every key."""
TIMEOUT_SECONDS: Final = 3
MAX_BYTES: Final = 256 * 1024
_KINDS: Final = {"RS256": {"kty": "RSA"}, "ES256": {"kty": "EC", "crv": "P-256"}}
_RSA_BITS: Final = range(2048, 8192 + 1)


class _Keys:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.by_kid: dict[str, dict[str, Any]] = {}
        self.fetched_at: float | None = None
        self.try_again_at = 0.0

    def look_up(self, kid: str) -> dict[str, Any] | None:
        with self.lock:
            now = time.monotonic()
            is_fresh = self.fetched_at is not None and now - self.fetched_at < FRESH_SECONDS
            if now >= self.try_again_at and (not is_fresh or kid not in self.by_kid):
                fetched = _fetch(config().jwks_url)
                self.try_again_at = now + (RETRY_SECONDS if fetched is None else COOL_DOWN_SECONDS)
                if fetched is not None:
                    self.by_kid, self.fetched_at = fetched, now
            if self.fetched_at is None or now - self.fetched_at > STALE_SECONDS:
                raise Unauthorized("the issuer's keys are not available")
            return self.by_kid.get(kid)

    def clear_cache(self) -> None:
        self.__init__()  # type: ignore[misc]


_keys = _Keys()
clear_cache = clear_on_restore(_keys.clear_cache)


def key_for(header: dict[str, Any]) -> Any:
    """The public key that the token names. Raises Unauthorized; one request to the issuer now and then."""
    kid = header.get("kid")
    if not isinstance(kid, str):
        raise Unauthorized("no kid")
    found = _keys.look_up(kid)
    algorithm = str(header["alg"])
    if found is None or any(found.get(name) != value for name, value in _KINDS[algorithm].items()):
        raise Unauthorized("unknown kid")
    if not _is_for_verifying(found, algorithm):
        raise Unauthorized("the key is not for this")
    try:
        key = jwt.PyJWK(found, algorithm).key
    except (jwt.PyJWTError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise Unauthorized("the issuer's key cannot be read") from error
    if algorithm == "RS256" and key.key_size not in _RSA_BITS:
        raise Unauthorized("the issuer's key is too short or too long")
    return key


def _is_for_verifying(key: dict[str, Any], algorithm: str) -> bool:
    operations = key.get("key_ops", ["verify"])
    return (
        key.get("use", "sig") == "sig"
        and key.get("alg", algorithm) == algorithm
        and isinstance(operations, list)
        and "verify" in operations
        and "d" not in key  # a private key: whoever reads the set can sign with it
    )


def _fetch(url: str) -> dict[str, dict[str, Any]] | None:
    """The keys by kid; None when the issuer does not answer with a key set. Redirects are not followed."""
    session = URLLib3Session(timeout=TIMEOUT_SECONDS)
    try:
        answer = session.send(AWSRequest("GET", url, stream_output=True).prepare())
        if answer.status_code != 200:
            return None
        published = json.loads(_read(answer.raw))["keys"]
    except (NoConnection, HTTPClientError, urllib3.exceptions.HTTPError, OSError):
        return None
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    finally:
        session.close()
    if not isinstance(published, list):
        return None
    named = [key for key in published if isinstance(key, dict) and isinstance(key.get("kid"), str)]
    kids = [key["kid"] for key in named]
    return {key["kid"]: key for key in named if kids.count(key["kid"]) == 1}


def _read(raw: urllib3.HTTPResponse) -> bytes:
    """The whole answer, if it is neither too long nor too slow; raises ValueError otherwise."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    content = b""
    while chunk := raw.read1(MAX_BYTES):
        content += chunk
        if len(content) > MAX_BYTES or time.monotonic() > deadline:
            raise ValueError("too long or too slow")
    return content
