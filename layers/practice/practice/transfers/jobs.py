"""Exports and imports that are too large for one answer: begun here, done by a worker, looked up until they are done."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnection

from practice import table
from practice.caller import Caller
from practice.errors import (
    AccountNotEmpty,
    ExportNotFound,
    ImportNotFound,
    Invalid,
    RequestInFlight,
    StoreUnavailable,
)
from practice.runtime import clock, queues
from practice.runtime.config import config
from practice.runtime.deadline import Deadline
from practice.schemas.transfer import (
    Counts,
    Export,
    Import,
    StoredTransfer,
    TransferMessage,
    TransferState,
)
from practice.store import accounts
from practice.store.idempotency import IdempotentAttempt
from practice.table import ids, keys
from practice.transfers import exports, files, imports

KEPT: Final = timedelta(hours=24)
FILE_BYTES: Final = 1024 * 1024 * 1024
POLL_SECONDS: Final = 2
"""How soon after its begin an import looks for its file."""
POLL_BACKOFF_SECONDS: Final = 30
"""It waits a second longer for each so many of its age: a job whose file never comes shall not keep the workers busy."""
LONGEST_POLL_SECONDS: Final = 300


def start_job(
    caller: Caller,
    kind: Literal["export", "import"],
    state: TransferState,
    lines: list[str] | None = None,
    *,
    attempt: IdempotentAttempt,
) -> StoredTransfer:
    """The job, its file if there is one, and its message. Refuses like a create while the user is erased.

    Goes on with the job that a dead attempt had begun. Raises StoreUnavailable when the file or the message is not taken;
    should the message arrive all the same, it finds a job that failed.
    """
    transfer = _read(caller.user_id, attempt.resume_id) if attempt.resume_id else None
    if transfer is None or transfer.state == TransferState.FAILED:
        transfer = _written(caller, kind, state, attempt)
    if transfer.state != state:
        return transfer  # its worker has begun
    try:
        if lines is not None:
            files.write(files.name(caller.user_id, transfer.transfer_id), lines)
        _ask(caller.user_id, transfer.transfer_id)
    except (queues.NotSent, ClientError, NoConnection, HTTPClientError) as error:
        _set(caller.user_id, transfer.transfer_id, TransferState.FAILED, problem=StoreUnavailable.detail)
        attempt.discard()
        raise StoreUnavailable(f"transfers: {type(error).__name__}") from error
    return transfer


def _written(
    caller: Caller, kind: Literal["export", "import"], state: TransferState, attempt: IdempotentAttempt
) -> StoredTransfer:
    now = datetime.now(UTC)
    (transfer_id,) = ids.new_ids(1)
    transfer = StoredTransfer(
        transfer_id=transfer_id,
        kind=kind,
        state=state,
        created_at=clock.written(now),
        expires_at=clock.written(now + KEPT),
    )
    expiry = {"ttl": table.number(int((now + KEPT).timestamp()))}
    key = keys.transfer(caller.user_id, transfer_id)
    writes = [accounts.counted(caller, "transfers", 0), *table.put(key, transfer, attributes=expiry)]
    try:
        table.write(*writes, *attempt.resume_with(transfer_id))
    except table.ConditionFailed as failed:
        if failed.index >= len(writes):
            raise RequestInFlight(1) from None
        raise accounts.refusal(failed) from None
    return transfer


def _ask(user_id: int, transfer_id: int, delay: int = 0) -> None:
    message = TransferMessage(user_id=user_id, transfer_id=transfer_id)
    queues.send_later(config().transfer_queue_url, message.model_dump_json(), delay)


def poll_delay(age: timedelta) -> int:
    """Seconds until a waiting import looks for its file again."""
    return min(LONGEST_POLL_SECONDS, POLL_SECONDS + int(age.total_seconds()) // POLL_BACKOFF_SECONDS)


def get_export(caller: Caller, export_id: int) -> Export:
    """One request."""
    transfer = _read(caller.user_id, export_id)
    if transfer is None or transfer.kind != "export":
        raise ExportNotFound
    return wire_export(caller, transfer)


def get_import(caller: Caller, import_id: int) -> Import:
    """One request."""
    transfer = _read(caller.user_id, import_id)
    if transfer is None or transfer.kind != "import":
        raise ImportNotFound
    return wire_import(caller, transfer)


def wire_export(caller: Caller, transfer: StoredTransfer) -> Export:
    is_done = transfer.state == TransferState.DONE
    link = files.download_link(files.name(caller.user_id, transfer.transfer_id)) if is_done else None
    return Export(export_id=transfer.transfer_id, url=link, **_common(transfer))


def wire_import(caller: Caller, transfer: StoredTransfer) -> Import:
    is_waiting = transfer.state == TransferState.WAITING
    link = files.upload_link(files.name(caller.user_id, transfer.transfer_id)) if is_waiting else None
    return Import(import_id=transfer.transfer_id, upload_url=link, **_common(transfer))


def _common(transfer: StoredTransfer) -> dict[str, Any]:
    return transfer.model_dump(include={"state", "created_at", "expires_at", "counts", "problem"})


def _document(user_id: int, transfer_id: int) -> table.Document | None:
    key = keys.transfer(user_id, transfer_id)
    document = table.get(key)
    # Expired items stay in the table for a while.
    return document if document and document.number("ttl") > datetime.now(UTC).timestamp() else None


def _read(user_id: int, transfer_id: int) -> StoredTransfer | None:
    document = _document(user_id, transfer_id)
    return StoredTransfer.model_validate_json(document.text) if document else None


def work(user_id: int, transfer_id: int, deadline: Deadline) -> None:
    """Does one job, again if it is delivered again. What is wrong with the file becomes its `problem`."""
    transfer = _read(user_id, transfer_id)
    if transfer is None or transfer.state in (TransferState.DONE, TransferState.FAILED):
        return  # erased, expired, or delivered twice
    key = files.name(user_id, transfer_id)
    if transfer.state == TransferState.WAITING and files.size(key) is None:
        _ask(
            user_id, transfer_id, poll_delay(datetime.now(UTC) - datetime.fromisoformat(transfer.created_at))
        )
        return
    _set(user_id, transfer_id, TransferState.RUNNING)
    if transfer.kind == "export":
        files.write(key, exports.lines(user_id))
        _set(user_id, transfer_id, TransferState.DONE)
        if _read(user_id, transfer_id) is None:
            files.delete_all(user_id)  # the user was erased meanwhile
        return
    try:
        counts = _import(user_id, key, deadline)
    except (Invalid, AccountNotEmpty, UnicodeDecodeError) as error:
        _set(user_id, transfer_id, TransferState.FAILED, problem=_problem_text(error))
    else:
        _set(user_id, transfer_id, TransferState.DONE, counts=counts)


def _import(user_id: int, key: str, deadline: Deadline) -> Counts:
    if (files.size(key) or 0) > FILE_BYTES:
        raise Invalid([])
    counts = imports.check(lambda: files.lines(key))
    # The account was not erased since this job was begun: its item would have gone.
    imports.restore(
        Caller(user_id), lambda: files.lines(key), counts, IdempotentAttempt(), deadline.remaining()
    )
    return counts


def _problem_text(error: Exception) -> str:
    if isinstance(error, Invalid) and error.problems:
        problem = error.problems[0]
        return f"{problem['msg']} (at {problem['loc']})"
    return (
        "account_not_empty"
        if isinstance(error, AccountNotEmpty)
        else "The file should be NDJSON of at most 1 GB"
    )


def _set(
    user_id: int,
    transfer_id: int,
    state: TransferState,
    *,
    counts: Counts | None = None,
    problem: str | None = None,
) -> None:
    for _ in table.attempts():
        document = _document(user_id, transfer_id)
        if document is None:
            return
        before = StoredTransfer.model_validate_json(document.text)
        if before.state == TransferState.DONE:
            return  # by a worker that was given the same message
        after = before.model_copy(update={"state": state, "counts": counts, "problem": problem})
        try:
            table.write(*table.revise(document, after))
        except table.ConditionFailed:
            continue
        return
