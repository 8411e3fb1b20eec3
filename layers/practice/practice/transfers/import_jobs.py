"""Imports: a body at once if it is not too much, else by a worker, as is a file that was uploaded.

An import that comes with its request is a job too. Should its function die, the worker deletes what was written: its
message arrives after the claim has lapsed.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

from practice import table
from practice.caller import Caller
from practice.errors import (
    AccountNotEmpty,
    BodyNotUtf8,
    ImportInProgress,
    Invalid,
    PracticeError,
    Problem,
    StorageFull,
    StoreUnavailable,
    Unauthorized,
)
from practice.runtime import queues
from practice.runtime.deadline import Deadline
from practice.schemas.transfer import Counts, Import, StoredTransfer, TransferStatus
from practice.store import accounts
from practice.store.idempotency import IdempotentAttempt
from practice.table import Versioned
from practice.transfers import checking, claims, files, imports, jobs

LINES_AT_ONCE: Final = 1_000
"""An import of more is left to the worker."""
CLEARED_AT_ONCE: Final = 20
"""Pieces of a dead import that a request deletes; more are left to the worker."""
MARGIN_SECONDS: Final = 4.0
"""What a request keeps of its time to delete what it had written."""
FILE_BYTES: Final = 1024 * 1024 * 1024
POLL_SECONDS: Final = 2
"""How soon after its begin an import looks for its file."""
POLL_BACKOFF_SECONDS: Final = 30
"""It waits a second longer for each so many of its age: a job whose file never comes shall not keep the workers busy."""
LONGEST_POLL_SECONDS: Final = 300
PROGRESS_SECONDS: Final = 2.0


# At once, or by a job


def restore(caller: Caller, raw: bytes, attempt: IdempotentAttempt, deadline: Deadline) -> Counts | Import:
    """Imports a body at once, if it is not too much; else by a job, as is what comes by a link."""
    if not raw:
        return jobs.wire_import(caller, jobs.start(caller, "import", TransferStatus.WAITING, attempt))
    try:
        lines = raw.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise BodyNotUtf8 from None
    counts = checking.check(lambda: lines)
    claims.accept(accounts.read(caller.user_id))
    if len(lines) > LINES_AT_ONCE or not _at_once(caller, lines, counts, attempt, deadline):
        return jobs.wire_import(caller, jobs.start(caller, "import", TransferStatus.QUEUED, attempt, lines))
    return counts


def _at_once(
    caller: Caller, lines: list[str], counts: Counts, attempt: IdempotentAttempt, deadline: Deadline
) -> bool:
    """False when a dead import left more than a request can delete."""
    transfer = jobs.begin(caller, "import", TransferStatus.RUNNING, IdempotentAttempt(), has_file=False)
    user_id, transfer_id = caller.user_id, transfer.transfer_id
    working = deadline.less(MARGIN_SECONDS)
    try:
        jobs.ask(user_id, transfer_id, delay=int(claims.CLAIM_SECONDS) + 5)
        claim = claims.claim(user_id, transfer_id)
        if not claims.clear(claim, working, CLEARED_AT_ONCE):
            claim.lapse()
            jobs.change(user_id, transfer_id, status=TransferStatus.FAILED, problem=jobs.INTERRUPTED)
            return False
        _write(user_id, claim, lambda: lines, counts, transfer_id, attempt, working)
    except queues.NotSent as error:
        jobs.change(user_id, transfer_id, status=TransferStatus.FAILED, problem=StoreUnavailable.detail)
        raise StoreUnavailable("transfers: NotSent") from error
    except Exception as error:
        jobs.change(user_id, transfer_id, status=TransferStatus.FAILED, problem=_problem_text(error))
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
            jobs.change(user_id, transfer_id, status=TransferStatus.RUNNING, counts=so_far)

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
    document = jobs.find(user_id, transfer_id)
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


# Done by a worker


def poll_delay(age: timedelta) -> int:
    """Seconds until a waiting import looks for its file again."""
    return min(LONGEST_POLL_SECONDS, POLL_SECONDS + int(age.total_seconds()) // POLL_BACKOFF_SECONDS)


def work(user_id: int, transfer: StoredTransfer, deadline: Deadline) -> None:
    """Imports the job's file, or looks for it again later."""
    transfer_id, key = transfer.transfer_id, files.name(user_id, transfer.transfer_id)
    if transfer.status == TransferStatus.WAITING and files.size(key) is None:
        age = datetime.now(UTC) - datetime.fromisoformat(transfer.created_at)
        jobs.ask(user_id, transfer_id, poll_delay(age))
        return
    working = deadline.less(2 * MARGIN_SECONDS)
    try:
        if not transfer.has_file or transfer.attempts >= jobs.ATTEMPTS:
            _clean_up(user_id, transfer_id, working)
            return
        counts = _checked(key)
        claim = claims.claim(user_id, transfer_id)
        attempts = transfer.attempts + 1
        jobs.change(user_id, transfer_id, status=TransferStatus.RUNNING, attempts=attempts, counts=None)
        if not claims.clear(claim, working):
            claim.lapse()
            jobs.ask(user_id, transfer_id)
            return
        _write(user_id, claim, lambda: files.lines(key), counts, transfer_id, IdempotentAttempt(), working)
    except ImportInProgress:
        # Another import's claim, or that of a worker that died: the message comes again when it has lapsed.
        jobs.ask(user_id, transfer_id, int(claims.CLAIM_SECONDS) + 1)
    except (Invalid, AccountNotEmpty, UnicodeDecodeError, StorageFull) as error:
        jobs.change(user_id, transfer_id, status=TransferStatus.FAILED, problem=_problem_text(error))
    except Unauthorized:
        return  # the user was erased meanwhile


def _clean_up(user_id: int, transfer_id: int, deadline: Deadline) -> None:
    """After an import whose function died, or that workers began in vain."""
    account = accounts.read(user_id)
    if account and "importing" in account.item:
        claim = claims.claim(user_id, transfer_id)
        if not claims.clear(claim, deadline):
            claim.lapse()
            jobs.ask(user_id, transfer_id)
            return
        claim.release()
    jobs.change(user_id, transfer_id, status=TransferStatus.FAILED, problem=jobs.INTERRUPTED)


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
    return error.detail if isinstance(error, PracticeError) else jobs.INTERRUPTED
