"""Idempotent POSTs: a request with the same key is carried out once, and answered the same.

The key's item is claimed before anything is done, and settled in the very transaction that does the work, so the work is
never done without the key knowing. An attempt that died leaves its claim behind; the claim lapses when its function cannot
run any more, and the next attempt takes over.
"""

import hashlib
import math
import secrets
import time
from dataclasses import dataclass
from typing import Any, Final

from practice import table
from practice.caller import Caller
from practice.errors import IdempotencyKeyReused, NotFound, RequestInFlight, Unauthorized
from practice.store import accounts
from practice.table import Versioned, keys

KEPT_SECONDS: Final = 24 * 3600
GRACE_SECONDS: Final = 2.0
"""How long after its function's end an attempt counts as alive: clocks differ."""


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """What the first attempt answered."""

    body: str
    is_accepted: bool
    """Whether the work went on after the answer."""
    version: int | None
    location: str | None


@dataclass(slots=True)
class IdempotentAttempt:
    """One attempt at a POST. Without a key it changes nothing and asks nothing."""

    key: keys.Key | None = None
    attempt: str = ""
    resume_id: int | None = None
    """The turn, session or transfer that a dead attempt began: this attempt continues it."""
    replay: StoredAnswer | None = None
    is_settled: bool = False

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
        self.is_settled = True

    def _settling(self, answer: Versioned[Any]) -> list[table.Write]:
        if self.key is None:
            return []
        return self._fill(self.key, answer.value.model_dump_json(), version=table.number(answer.version))

    def _fill(
        self, key: keys.Key, body: str, *, is_accepted: bool = False, **attributes: table.Value | None
    ) -> list[table.Write]:
        return table.fill(
            key,
            body,
            condition=_MINE,
            values=self._values(),
            attributes={
                "outcome": table.text("accepted" if is_accepted else "created"),
                "ttl": table.number(int(time.time()) + KEPT_SECONDS),
                **attributes,
            },
        )

    def resume_with(self, resume_id: int) -> list[table.Write]:
        """For the transaction that begins the work: the next attempt continues it. It comes last in its transaction."""
        if self.key is None:
            return []
        pointer = {"resume_id": table.number(resume_id)}
        return [table.update(self.key, set_to=pointer, condition=_MINE, values=self._values())]

    def keep(self, body: str, *, is_accepted: bool, location: str | None) -> None:
        """Keeps an answer after the work. It can be as large as answers get: parts are written before what names them."""
        if self.key is None:
            return
        main, *parts = self._fill(
            self.key,
            body,
            is_accepted=is_accepted,
            location=table.text(location) if location else None,
        )
        is_mine = table.check(self.key, _MINE, self._values())
        try:
            for part in parts:
                table.write(is_mine, part)
            table.write(main)
        except table.ConditionFailed:
            return  # another attempt took over, and answers from the same turn; or the user was erased

    def discard(self) -> None:
        """After a failure, which is not kept: the next request with this key begins other work."""
        if self.key is not None:
            self._write(table.delete(self.key, _MINE, self._values()))

    def release(self, failure: Exception) -> None:
        """After a refusal, which is not kept: the next request with this key starts anew, or resumes what was begun.

        It need not wait, as for a dead attempt. What is gone, which NotFound says, cannot be resumed.
        """
        if self.key is None or isinstance(failure, NotFound):
            self.discard()
            return
        nothing_begun = f"{_MINE} AND attribute_not_exists(#resume_id)"
        if not self._write(table.delete(self.key, nothing_begun, self._values())):
            ended = {"until": table.number(0)}
            self._write(table.update(self.key, set_to=ended, condition=_MINE, values=self._values()))

    def _values(self) -> dict[str, table.Value]:
        return {":attempt": table.text(self.attempt)}

    def _write(self, write: table.Write) -> bool:
        """False when the work was done after all, or the key belongs to another attempt by now."""
        try:
            table.write(write)
        except table.ConditionFailed:
            return False
        return True


_MINE: Final = "#attempt = :attempt AND attribute_not_exists(#outcome)"


@table.optimistic
def claim_key(caller: Caller, key_text: str, request: str, seconds: float) -> IdempotentAttempt:
    """Claims the key for as long as this function can run. One request; two when a claim exists already.

    `request` is the fingerprint of the request. Raises IdempotencyKeyReused for a key that came with another request,
    RequestInFlight while another attempt is alive, Unauthorized after an erasure of the caller.
    """
    key = keys.idempotency(caller.user_id, hashlib.sha256(key_text.encode()).hexdigest()[:32])
    attempt = secrets.token_hex(8)
    now = time.time()
    claim: dict[str, table.Value | None] = {
        "request": table.text(request),
        "attempt": table.text(attempt),
        "until": table.number(math.ceil((now + seconds + GRACE_SECONDS) * 1000)),
        "ttl": table.number(int(now) + KEPT_SECONDS),
    }
    is_free = "attribute_not_exists(#pk) OR #ttl <= :now"
    try:
        table.write(
            accounts.admitted(caller),
            table.put_attributes(key, claim, condition=is_free, values={":now": table.number(int(now))}),
        )
    except table.ConditionFailed as failed:
        if failed.index == 0:
            raise Unauthorized("token issued before the erasure of its user") from None
        current = failed.item or {}
    else:
        return IdempotentAttempt(key, attempt)
    if current.get("attempt") == table.text(attempt):
        return IdempotentAttempt(key, attempt)  # sent again after a lost acknowledgement, it meets itself
    if current["request"]["S"] != request:
        raise IdempotencyKeyReused
    if "outcome" in current:
        document = table.get(key)
        if document is None:
            raise table.ConditionFailed(0, None)  # it expired between the two requests
        return IdempotentAttempt(key, attempt, replay=_stored_answer(document), is_settled=True)
    if int(current["until"]["N"]) > now * 1000:
        raise RequestInFlight(math.ceil(int(current["until"]["N"]) / 1000 - now))
    resume_id = current.get("resume_id")
    if resume_id:
        claim["resume_id"] = resume_id
    table.write(
        table.put_attributes(key, claim, condition="#attempt = :dead", values={":dead": current["attempt"]})
    )
    return IdempotentAttempt(key, attempt, resume_id=int(resume_id["N"]) if resume_id else None)


def _stored_answer(document: table.Document) -> StoredAnswer:
    return StoredAnswer(
        document.text if isinstance(document.text, str) else document.text.decode(),
        document.string("outcome") == "accepted",
        document.number("version") if "version" in document.item else None,
        document.string("location") if "location" in document.item else None,
    )
