"""Page cursors: opaque, signed, bound to the user, the route and the filters they were made for."""

import binascii
import hashlib
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

from practice.errors import Invalid, Problem
from practice.runtime.config import config
from practice.runtime.secrets import secret

_TAG_BYTES: Final = 16


def seal(position: str, *binding: object) -> str:
    """A cursor that continues after `position`. One request to Secrets Manager for each process and five minutes."""
    raw = position.encode()
    return _text(_tag(raw, binding) + raw)


def unseal(cursor: str, *binding: object) -> str:
    """The position; raises Invalid for a cursor that was not made by `seal` for the same binding."""
    try:
        sealed = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        tag, raw = sealed[:_TAG_BYTES], sealed[_TAG_BYTES:]
        if hmac.compare_digest(tag, _tag(raw, binding)) and _text(sealed) == cursor:
            return raw.decode()
    except (ValueError, binascii.Error):
        pass  # not even base64: the same answer as a wrong signature
    raise Invalid([BAD_CURSOR])


BAD_CURSOR: Final = Problem(
    "cursor_invalid", ("query", "cursor"), "Cursor should be the next_cursor of this list"
)


def _text(sealed: bytes) -> str:
    return urlsafe_b64encode(sealed).rstrip(b"=").decode()


def _tag(raw: bytes, binding: tuple[object, ...]) -> bytes:
    bound = json.dumps(binding).encode()
    message = len(bound).to_bytes(4, "big") + bound + raw
    return hmac.digest(secret(config().cursor_secret_arn).encode(), message, hashlib.sha256)[:_TAG_BYTES]
