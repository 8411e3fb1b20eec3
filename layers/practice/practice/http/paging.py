"""What lists need of the edge: signed cursors, and how much one response holds.

A cursor is opaque, and bound to the user, the route and the filters it was made for.
"""

import binascii
import hashlib
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

from practice.errors import Invalid, Problem
from practice.limits import BODY_BYTES
from practice.runtime.config import config
from practice.runtime.secrets import secret

_TAG_BYTES: Final = 16
BAD_CURSOR: Final = Problem(
    "cursor_invalid", ("query", "cursor"), "Cursor should be the next_cursor of this list"
)


class ResponseBudget:
    """The bytes left of a response while it is filled."""

    def __init__(self, reserved: int = 20_000) -> None:
        self.left = BODY_BYTES - reserved

    def spend(self, text: str) -> None:
        """For what the response has in any case."""
        self.left -= len(text.encode())

    def take(self, text: str) -> bool:
        """Whether the text still fits; if so, its bytes are taken."""
        size = len(text.encode())
        if size > self.left:
            return False
        self.left -= size
        return True


class Pager:
    """For one caller. The store sees it as `practice.store.paging.Pager`."""

    def __init__(self, user_id: int) -> None:
        self._user_id = user_id

    def budget(self) -> ResponseBudget:
        return ResponseBudget()

    def cursor(self, position: object, *binding: object) -> str:
        """Continues after `position` in the list that `binding` names.

        One request to Secrets Manager for each process and five minutes.
        """
        raw = str(position).encode()
        return _text(_tag(raw, (self._user_id, *binding)) + raw)

    def position(self, cursor: str, *binding: object) -> str:
        """Raises Invalid for a cursor that was not made for the same user and binding."""
        try:
            sealed = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
            tag, raw = sealed[:_TAG_BYTES], sealed[_TAG_BYTES:]
            if hmac.compare_digest(tag, _tag(raw, (self._user_id, *binding))) and _text(sealed) == cursor:
                return raw.decode()
        except (ValueError, binascii.Error):
            pass  # not even base64: the same answer as a wrong signature
        raise Invalid([BAD_CURSOR])


def _text(sealed: bytes) -> str:
    return urlsafe_b64encode(sealed).rstrip(b"=").decode()


def _tag(raw: bytes, binding: tuple[object, ...]) -> bytes:
    bound = json.dumps(binding).encode()
    message = len(bound).to_bytes(4, "big") + bound + raw
    return hmac.digest(secret(config().cursor_secret_arn).encode(), message, hashlib.sha256)[:_TAG_BYTES]
