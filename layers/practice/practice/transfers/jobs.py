"""Exports and imports as jobs: begun by a request, done at once or by a worker, looked up until they have ended.

An import that comes with its request is a job too. Should its function die, the worker deletes what was written: its
message arrives after the claim has lapsed.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnection

from practice import limits, table
from practice.caller import Caller
from practice.errors import (
    AccountNotEmpty,
    BodyNotUtf8,
    ExportNotFound,
    ImportInProgress,
    ImportNotFound,
    Invalid,
    PracticeError,
    Problem,
    RequestInFlight,
    StorageFull,
    StoreUnavailable,
    TooManyTransfers,
    Unauthorized,
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
    TransferStatus,
)
from practice.store import accounts
from practice.store.idempotency import IdempotentAttempt
from practice.table import Versioned, ids, keys
from practice.transfers import checking, claims, exports, files, imports

AT_ONCE_SECONDS: Final = 15.0
LINES_AT_ONCE: Final = 1_000
"""An import of more is left to the worker."""
CLEARED_AT_ONCE: Final = 20
"""Pieces of a dead import that a request deletes; more are left to the worker."""
AT_ONCE_BYTES: Final = limits.BODY_BYTES - 20_000
MARGIN_SECONDS: Final = 4.0
"""What a request keeps of its time to delete what it had written."""
TRANSFERS_AT_ONCE: Final = 3
"""Of one account, that have not ended."""
ATTEMPTS: Final = 2
"""How often a worker begins a job."""
KEPT: Final = timedelta(hours=24)
FILE_BYTES: Final = 1024 * 1024 * 1024
POLL_SECONDS: Final = 2
"""How soon after its begin an import looks for its file."""
POLL_BACKOFF_SECONDS: Final = 30
"""It waits a second longer for each so many of its age: a job whose file never comes shall not keep the workers busy."""
LONGEST_POLL_SECONDS: Final = 300
PROGRESS_SECONDS: Final = 2.0
INTERRUPTED: Final = "interrupted"

Kind = Literal["export", "import"]


# Begun by a request


def export(caller: Caller) -> str | Export:
    """All lines, when they fit one answer and are read in time; else the job that writes them to a file."""
    deadline = Deadline.after(AT_ONCE_SECONDS)
    left = AT_ONCE_BYTES
    kept: list[str] = []
    is_importing = exports.is_importing(caller.user_id)
    for line in exports.lines(caller.user_id, is_complete=not is_importing):
        left -= len(line.encode()) + 1
        if left < 0 or not deadline.remaining():
            return wire_export(caller, start(caller, "export", TransferStatus.QUEUED))
        kept.append(line + "\n")
    if not is_importing and exports.is_importing(caller.user_id):
        kept[0] = exports.header(is_complete=False) + "\n"
    return "".join(kept)


def restore(caller: Caller, raw: bytes, attempt: IdempotentAttempt, deadline: Deadline) -> Counts | Import:
    """Imports a body at once, if it is not too much; else by a job, as is what comes by a link."""
    if not raw:
        return wire_import(caller, start(caller, "import", TransferStatus.WAITING, attempt))
    try:
        lines = raw.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise BodyNotUtf8 from None
    counts = checking.check(lambda: lines)
    claims.accept(accounts.read(caller.user_id))
    if len(lines) > LINES_AT_ONCE or not _at_once(caller, lines, counts, attempt, deadline):
        return wire_import(caller, start(caller, "import", TransferStatus.QUEUED, attempt, lines))
    return counts


def _at_once(
    caller: Caller, lines: list[str], counts: Counts, attempt: IdempotentAttempt, deadline: Deadline
) -> bool:
    """False when a dead import left more than a request can delete."""
    transfer = _new(caller, "import", TransferStatus.RUNNING, IdempotentAttempt(), has_file=False)
    user_id, transfer_id = caller.user_id, transfer.transfer_id
    working = deadline.less(MARGIN_SECONDS)
    try:
        _ask(user_id, transfer_id, delay=int(claims.CLAIM_SECONDS) + 5)
        claim = claims.claim(user_id, transfer_id)
        if not claims.clear(claim, working, CLEARED_AT_ONCE):
            claim.lapse()
            _change(user_id, transfer_id, status=TransferStatus.FAILED, problem=INTERRUPTED)
            return False
        _write(user_id, claim, lambda: lines, counts, transfer_id, attempt, working)
    except queues.NotSent as error:
        _change(user_id, transfer_id, status=TransferStatus.FAILED, problem=StoreUnavailable.detail)
        raise StoreUnavailable("transfers: NotSent") from error
    except Exception as error:
        _change(user_id, transfer_id, status=TransferStatus.FAILED, problem=_problem_text(error))
        raise
    return True


def _write(
    user_id: int,
    claim: claims.Claim,
    source: checking.Source,
    counts: Counts,
    transfer_id: int,
    attempt: IdempotentAttempt,
    deadline: Deadline,
) -> None:
    """Into the claimed account, if it is empty. What fails deletes what it wrote, as far as there is time."""
    shown = Deadline.after(PROGRESS_SECONDS)

    def progress(so_far: Counts) -> None:
        nonlocal shown
        if not deadline.remaining():
            raise StoreUnavailable("no time is left for the import")
        if not shown.remaining():
            shown = Deadline.after(PROGRESS_SECONDS)
            _change(user_id, transfer_id, status=TransferStatus.RUNNING, counts=so_far)

    try:
        claims.accept_cleared(accounts.read(user_id))
        imports.write(claim, source, progress)
        _end(user_id, claim, counts, transfer_id, attempt)
    except AccountNotEmpty:
        claim.release()
        raise
    except Exception:
        _abandon(claim, Deadline.after(max(deadline.remaining(), MARGIN_SECONDS / 2)))
        raise


@table.optimistic
def _end(
    user_id: int, claim: claims.Claim, counts: Counts, transfer_id: int, attempt: IdempotentAttempt
) -> None:
    """One transaction frees the account, ends the job, and keeps the answer."""
    document = _document(user_id, transfer_id)
    if document is None:
        raise ImportInProgress  # erased, and the claim with it
    before = StoredTransfer.model_validate_json(document.text)
    done = before.model_copy(update={"status": TransferStatus.DONE, "counts": counts, "problem": None})
    try:
        attempt.commit([claim.released(), *table.revise(document, done)], Versioned(counts, 1))
    except table.ConditionFailed as failed:
        if failed.index == 0:
            raise ImportInProgress from None
        raise


def _abandon(claim: claims.Claim, deadline: Deadline) -> None:
    """What cannot be deleted now is left to the worker."""
    try:
        if claims.clear(claim, deadline):
            claim.release()
        else:
            claim.lapse()
    except (StoreUnavailable, ImportInProgress):
        return


def start(
    caller: Caller,
    kind: Kind,
    status: TransferStatus,
    attempt: IdempotentAttempt | None = None,
    lines: list[str] | None = None,
) -> StoredTransfer:
    """The job, its file if there is one, and its message. Refuses like a create while the user is erased.

    Goes on with the job that a dead attempt had begun. Raises StoreUnavailable when the file or the message is not taken;
    should the message arrive all the same, it finds a job that failed.
    """
    attempt = attempt or IdempotentAttempt()
    transfer = _read(caller.user_id, attempt.resume_id) if attempt.resume_id else None
    if transfer is None or transfer.status == TransferStatus.FAILED:
        transfer = _new(caller, kind, status, attempt)
    if transfer.status != status:
        return transfer  # its worker has begun
    try:
        if lines is not None:
            files.write(files.name(caller.user_id, transfer.transfer_id), lines)
        _ask(caller.user_id, transfer.transfer_id)
    except (queues.NotSent, ClientError, NoConnection, HTTPClientError) as error:
        _change(
            caller.user_id,
            transfer.transfer_id,
            status=TransferStatus.FAILED,
            problem=StoreUnavailable.detail,
        )
        attempt.discard()
        raise StoreUnavailable(f"transfers: {type(error).__name__}") from error
    return transfer


@table.optimistic
def _new(
    caller: Caller, kind: Kind, status: TransferStatus, attempt: IdempotentAttempt, *, has_file: bool = True
) -> StoredTransfer:
    """Two requests, three beside other jobs. An export that has not ended is reused, and an import that waits for its file.

    Raises TooManyTransfers beside too many that have not ended.
    """
    account = accounts.read(caller.user_id)
    before = account.item.get("jobs") if account else None
    under_way = _under_way(caller.user_id, [int(each) for each in before["NS"]] if before else [])
    for each in under_way:
        if each.kind == kind and (kind == "export" or each.status == status == TransferStatus.WAITING):
            return each
    if len(under_way) >= TRANSFERS_AT_ONCE:
        raise TooManyTransfers
    now = datetime.now(UTC)
    (transfer_id,) = ids.new_ids(1)
    transfer = StoredTransfer(
        transfer_id=transfer_id,
        kind=kind,
        status=status,
        created_at=clock.to_timestamp(now),
        expires_at=clock.to_timestamp(now + KEPT),
        has_file=has_file,
    )
    condition, values = accounts.not_erased(caller)
    begun = account.item.get("transfers") if account else None
    if begun:
        values[":begun"] = begun
    counted = table.update(
        keys.account(caller.user_id),
        set_to={
            "ttl": None,
            "jobs": table.numbers([*(each.transfer_id for each in under_way), transfer_id]),
        },
        add={"transfers": 1},
        condition=f"{condition} AND {'#transfers = :begun' if begun else 'attribute_not_exists(#transfers)'}",
        values=values,
    )
    expiry = {"ttl": table.number(int((now + KEPT).timestamp()))}
    puts = table.put(keys.transfer(caller.user_id, transfer_id), transfer, attributes=expiry)
    pointer = attempt.resume_with(transfer_id)
    try:
        table.write(counted, *puts, *pointer)
    except table.ConditionFailed as failed:
        if failed.index > len(puts):
            raise RequestInFlight(1) from None
        if accounts.is_erased(failed.item or {}, caller):
            raise accounts.count_refusal(failed) from None
        raise
    return transfer


def _under_way(user_id: int, transfer_ids: list[int]) -> list[StoredTransfer]:
    """One request, none without ids."""
    if not transfer_ids:
        return []
    found = table.fetch(keys.transfer(user_id, transfer_id) for transfer_id in transfer_ids)
    transfers = [StoredTransfer.model_validate_json(each.text) for each in found.values() if _is_kept(each)]
    return [each for each in transfers if not each.status.has_ended]


def _ask(user_id: int, transfer_id: int, delay: int = 0) -> None:
    message = TransferMessage(user_id=user_id, transfer_id=transfer_id)
    queues.send_later(config().transfer_queue_url, message.model_dump_json(), delay)


def poll_delay(age: timedelta) -> int:
    """Seconds until a waiting import looks for its file again."""
    return min(LONGEST_POLL_SECONDS, POLL_SECONDS + int(age.total_seconds()) // POLL_BACKOFF_SECONDS)


# Looked up


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
    is_done = transfer.status == TransferStatus.DONE
    link = files.download_link(files.name(caller.user_id, transfer.transfer_id)) if is_done else None
    return Export(export_id=transfer.transfer_id, url=link, **_common(transfer))


def wire_import(caller: Caller, transfer: StoredTransfer) -> Import:
    is_waiting = transfer.status == TransferStatus.WAITING
    link = files.upload_link(files.name(caller.user_id, transfer.transfer_id)) if is_waiting else None
    return Import(import_id=transfer.transfer_id, upload_url=link, **_common(transfer))


def _common(transfer: StoredTransfer) -> dict[str, Any]:
    return transfer.model_dump(include={"status", "created_at", "expires_at", "counts", "problem"})


def _document(user_id: int, transfer_id: int) -> table.Document | None:
    document = table.get(keys.transfer(user_id, transfer_id))
    return document if document and _is_kept(document) else None


def _is_kept(document: table.Document) -> bool:
    """Expired items stay in the table for a while."""
    return document.number("ttl") > datetime.now(UTC).timestamp()


def _read(user_id: int, transfer_id: int) -> StoredTransfer | None:
    document = _document(user_id, transfer_id)
    return StoredTransfer.model_validate_json(document.text) if document else None


# Done by a worker


def run_job(user_id: int, transfer_id: int, deadline: Deadline) -> None:
    """Does one job, at most `ATTEMPTS` times if it is delivered again. What is wrong with it becomes its `problem`."""
    transfer = _read(user_id, transfer_id)
    if transfer is None:
        files.delete(files.name(user_id, transfer_id))  # erased or expired; a file may have come since
        return
    if transfer.status.has_ended:
        return
    if transfer.kind == "export":
        _export(user_id, transfer)
    elif transfer.status == TransferStatus.WAITING and files.size(files.name(user_id, transfer_id)) is None:
        age = datetime.now(UTC) - datetime.fromisoformat(transfer.created_at)
        _ask(user_id, transfer_id, poll_delay(age))
    else:
        _import(user_id, transfer, deadline)


def _export(user_id: int, transfer: StoredTransfer) -> None:
    key = files.name(user_id, transfer.transfer_id)
    if transfer.attempts >= ATTEMPTS:
        _change(user_id, transfer.transfer_id, status=TransferStatus.FAILED, problem=INTERRUPTED)
        return
    _change(user_id, transfer.transfer_id, status=TransferStatus.RUNNING, attempts=transfer.attempts + 1)
    is_importing = exports.is_importing(user_id)
    files.write(key, exports.lines(user_id, is_complete=not is_importing))
    is_importing = is_importing or exports.is_importing(user_id)
    incomplete = ImportInProgress.detail if is_importing else None
    _change(user_id, transfer.transfer_id, status=TransferStatus.DONE, problem=incomplete)
    if _read(user_id, transfer.transfer_id) is None:
        files.delete(key)  # the user was erased meanwhile


def _import(user_id: int, transfer: StoredTransfer, deadline: Deadline) -> None:
    transfer_id, key = transfer.transfer_id, files.name(user_id, transfer.transfer_id)
    working = deadline.less(2 * MARGIN_SECONDS)
    try:
        if not transfer.has_file or transfer.attempts >= ATTEMPTS:
            _clean_up(user_id, transfer_id, working)
            return
        counts = _checked(key)
        claim = claims.claim(user_id, transfer_id)
        attempts = transfer.attempts + 1
        _change(user_id, transfer_id, status=TransferStatus.RUNNING, attempts=attempts, counts=None)
        if not claims.clear(claim, working):
            claim.lapse()
            _ask(user_id, transfer_id)
            return
        _write(user_id, claim, lambda: files.lines(key), counts, transfer_id, IdempotentAttempt(), working)
    except ImportInProgress:
        # Another import's claim, or that of a worker that died: the message comes again when it has lapsed.
        _ask(user_id, transfer_id, int(claims.CLAIM_SECONDS) + 1)
    except (Invalid, AccountNotEmpty, UnicodeDecodeError, StorageFull) as error:
        _change(user_id, transfer_id, status=TransferStatus.FAILED, problem=_problem_text(error))
    except Unauthorized:
        return  # the user was erased meanwhile


def _clean_up(user_id: int, transfer_id: int, deadline: Deadline) -> None:
    """After an import whose function died, or that workers began in vain."""
    account = accounts.read(user_id)
    if account and "importing" in account.item:
        claim = claims.claim(user_id, transfer_id)
        if not claims.clear(claim, deadline):
            claim.lapse()
            _ask(user_id, transfer_id)
            return
        claim.release()
    _change(user_id, transfer_id, status=TransferStatus.FAILED, problem=INTERRUPTED)


def _checked(key: str) -> Counts:
    if (files.size(key) or 0) > FILE_BYTES:
        files.delete(key)
        raise Invalid([Problem("too_long", ("body",), "The file should have at most 1 GB")])
    return checking.check(lambda: files.lines(key))


def _problem_text(error: Exception) -> str:
    """Why a job failed: of what a file holds it names the place alone."""
    if isinstance(error, Invalid):
        problem = error.problems[0]
        return f"{problem['msg']} (at {problem['loc']})"
    if isinstance(error, UnicodeDecodeError):
        return "The file should be NDJSON in UTF-8"
    return error.detail if isinstance(error, PracticeError) else INTERRUPTED


@table.optimistic
def _change(user_id: int, transfer_id: int, **update: object) -> None:
    """Nothing for a job that has ended, which a worker that was given the same message may have seen to, or has gone."""
    document = _document(user_id, transfer_id)
    if document is None:
        return
    before = StoredTransfer.model_validate_json(document.text)
    if before.status.has_ended:
        return
    table.write(*table.revise(document, before.model_copy(update=update)))
