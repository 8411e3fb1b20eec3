"""`Idempotency-Key`: the same POST twice is done once, and answered the same.

The key's item is claimed before anything is done, and settled in the very transaction that does it, so that there is no
moment in which the work is done and the key does not know. An attempt that died leaves its claim behind; it lapses when the
function cannot run any more, and the next attempt takes over.
"""

import hashlib
import math
import secrets
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from practice import table
from practice.errors import IdempotencyKeyReused, Invalid, Problem, RequestInFlight
from practice.http.conditional import Versioned, etag
from practice.http.inputs import Event, body_bytes
from practice.limits import IDEMPOTENCY_KEY_CHARACTERS
from practice.table import keys

KEPT_SECONDS: Final = 24 * 3600
GRACE_SECONDS: Final = 2.0
"""How long after its function's end an attempt counts as alive: clocks differ."""


@dataclass(frozen=True, slots=True)
class Replay:
    """What the first attempt answered."""

    body: str
    status: HTTPStatus
    headers: dict[str, str]


@dataclass(slots=True)
class IdempotentAttempt:
    """One attempt at a POST. Without a key it changes nothing and asks nothing."""

    key: keys.Key | None = None
    attempt: str = ""
    resume_id: int | None = None
    """The turn, session or transfer that a dead attempt had begun: what it stored is to be used."""
    replay: Replay | None = None

    def commit(self, writes: list[table.Write], answer: Versioned[Any]) -> None:
        """Writes in one transaction what is to be done and how it was answered.

        Raises ConditionFailed for one of `writes`, RequestInFlight when another attempt took over meanwhile.
        """
        settling = self._settling(answer)
        try:
            if writes or settling:
                table.write(*writes, *settling)
        except table.ConditionFailed as failed:
            if failed.index >= len(writes):
                raise RequestInFlight(1) from None
            raise

    def _settling(self, answer: Versioned[Any]) -> list[table.Write]:
        if self.key is None:
            return []
        return table.fill(
            self.key,
            answer.value.model_dump_json(),
            condition=_MINE,
            values={":attempt": table.text(self.attempt)},
            attributes={
                "status": table.number(HTTPStatus.CREATED),
                "etag": table.text(etag(answer.version)),
                "ttl": table.number(int(time.time()) + KEPT_SECONDS),
            },
        )

    def resume_with(self, resume_id: int) -> list[table.Write]:
        """For the transaction that begins it: whoever takes over continues it. To come last in its transaction."""
        if self.key is None:
            return []
        pointer = {"turn_id": table.number(resume_id)}
        attempt = {":attempt": table.text(self.attempt)}
        return [table.update(self.key, set_to=pointer, condition=_MINE, values=attempt)]

    def keep(self, body: str, status: HTTPStatus, location: str) -> None:
        """How a turn was answered, after it: as large as answers get, so its parts are written before what names them."""
        if self.key is None:
            return
        main, *parts = table.fill(
            self.key,
            body,
            condition=_MINE,
            values={":attempt": table.text(self.attempt)},
            attributes={
                "status": table.number(status),
                "location": table.text(location),
                "ttl": table.number(int(time.time()) + KEPT_SECONDS),
            },
        )
        for part in parts:
            table.write(part)
        try:
            table.write(main)
        except table.ConditionFailed:
            return  # another attempt took over, and answers from the same turn

    def discard(self) -> None:
        """After what came to nothing, which is not kept: the next request with this key begins another one."""
        if self.key is None:
            return
        try:
            table.write(table.delete(self.key, _MINE, {":attempt": table.text(self.attempt)}))
        except table.ConditionFailed:
            return

    def release(self) -> None:
        """After a refusal, which is not kept: the next request with this key starts anew."""
        if self.key is None:
            return
        try:
            not_begun = f"{_MINE} AND attribute_not_exists(#turn_id)"
            table.write(table.delete(self.key, not_begun, {":attempt": table.text(self.attempt)}))
        except table.ConditionFailed:
            return  # it was done after all, or belongs to another attempt by now


_MINE: Final = "#attempt = :attempt AND attribute_not_exists(#status)"


def claim_key(
    user_id: int, header: str | None, event: Event, route: str, seconds: float
) -> IdempotentAttempt:
    """Claims the key for as long as this function can run. One request; two where a claim stands already.

    Raises IdempotencyKeyReused for a key that came with another request, RequestInFlight while its twin is alive, Invalid
    for a key that is no key.
    """
    if header is None:
        return IdempotentAttempt()
    _check(header)
    key = keys.idempotency(user_id, hashlib.sha256(header.encode()).hexdigest()[:32])
    request = fingerprint(event, route)
    attempt = secrets.token_hex(8)
    for _ in table.attempts():
        now = time.time()
        claim: dict[str, table.Value | None] = {
            "request": table.text(request),
            "attempt": table.text(attempt),
            "until": table.number(math.ceil((now + seconds + GRACE_SECONDS) * 1000)),
            "ttl": table.number(int(now) + KEPT_SECONDS),
        }
        standing = _claim(
            key, claim, "attribute_not_exists(#pk) OR #ttl <= :now", {":now": table.number(int(now))}
        )
        if standing is None:
            return IdempotentAttempt(key, attempt)
        if standing["request"]["S"] != request:
            raise IdempotencyKeyReused
        if "status" in standing:
            document = table.fetch([key]).get(key)
            if document is None:
                continue
            return IdempotentAttempt(key, attempt, replay=_replay(document))
        if int(standing["until"]["N"]) > now * 1000:
            raise RequestInFlight(math.ceil(int(standing["until"]["N"]) / 1000 - now))
        resume_id = standing.get("turn_id")
        if resume_id:
            claim["turn_id"] = resume_id
        if _claim(key, claim, "#attempt = :dead", {":dead": standing["attempt"]}) is None:
            return IdempotentAttempt(key, attempt, resume_id=int(resume_id["N"]) if resume_id else None)
    raise AssertionError("attempts() ends by raising")


def _check(header: str) -> None:
    if not 1 <= len(header) <= IDEMPOTENCY_KEY_CHARACTERS:
        kind = "string_too_long" if header else "string_too_short"
        message = f"Idempotency-Key should have 1 to {IDEMPOTENCY_KEY_CHARACTERS} characters"
        raise Invalid([Problem(kind, ("header", "idempotency-key"), message)])


def fingerprint(event: Event, route: str) -> str:
    """What makes two requests the same: the route with its ids, the query, the body."""
    ids = sorted((event.get("pathParameters") or {}).items())
    digest = hashlib.sha256()
    for part in (route, repr(ids), event.get("rawQueryString", "")):
        digest.update(part.encode() + b"\0")
    digest.update(body_bytes(event))
    return digest.hexdigest()


def _claim(
    key: keys.Key, attributes: dict[str, table.Value | None], condition: str, values: dict[str, table.Value]
) -> table.Item | None:
    """None when the claim stands, else what stood there before."""
    try:
        table.write(table.put_attributes(key, attributes, condition=condition, values=values))
    except table.ConditionFailed as failed:
        return failed.item or {}
    return None


def _replay(document: table.Document) -> Replay:
    body = document.text if isinstance(document.text, str) else document.text.decode()
    kept = [name for name in ("etag", "location") if name in document.item]
    headers: dict[str, str] = {name: document.string(name) for name in kept}
    return Replay(body, HTTPStatus(document.number("status")), headers)
