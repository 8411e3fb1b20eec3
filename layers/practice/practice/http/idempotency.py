"""The `Idempotency-Key` header: which requests are the same, and how a kept answer becomes a response."""

import hashlib
from http import HTTPStatus

from practice.caller import Caller
from practice.errors import Invalid, Problem
from practice.http.inputs import Event, body_bytes
from practice.http.replies import Reply, etag
from practice.limits import IDEMPOTENCY_KEY_CHARACTERS
from practice.store.idempotency import IdempotentAttempt, StoredAnswer, claim_key


def claim(caller: Caller, event: Event, route: str, seconds: float) -> IdempotentAttempt:
    """Without the header an attempt that keeps nothing. `seconds` is how long this function can run at most."""
    header = event.get("headers", {}).get("idempotency-key")
    if header is None:
        return IdempotentAttempt()
    if not 1 <= len(header) <= IDEMPOTENCY_KEY_CHARACTERS:
        kind = "string_too_long" if header else "string_too_short"
        message = f"Idempotency-Key should have 1 to {IDEMPOTENCY_KEY_CHARACTERS} characters"
        raise Invalid([Problem(kind, ("header", "idempotency-key"), message)])
    return claim_key(caller, header, fingerprint(event, route), seconds)


def fingerprint(event: Event, route: str) -> str:
    """What makes two requests the same: the route with its ids, the query, the body."""
    ids = sorted((event.get("pathParameters") or {}).items())
    digest = hashlib.sha256()
    for part in (route, repr(ids), event.get("rawQueryString", "")):
        digest.update(part.encode() + b"\0")
    digest.update(body_bytes(event))
    return digest.hexdigest()


def replayed(answer: StoredAnswer) -> Reply[str]:
    headers = {}
    if answer.version is not None:
        headers["etag"] = etag(answer.version)
    if answer.location is not None:
        headers["location"] = answer.location
    return Reply(answer.body, HTTPStatus.ACCEPTED if answer.is_accepted else HTTPStatus.CREATED, headers)


def settle(attempt: IdempotentAttempt, reply: Reply[str | None]) -> None:
    """Keeps a success that no transaction kept; a failure is not kept, and the next request starts anew."""
    if reply.status is not None and reply.status >= HTTPStatus.BAD_REQUEST:
        attempt.discard()
    elif not attempt.is_settled:
        attempt.keep(
            reply.body or "",
            is_accepted=reply.status == HTTPStatus.ACCEPTED,
            location=reply.headers.get("location"),
        )
