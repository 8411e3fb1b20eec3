"""Exports: all lines at once when they fit one answer, else a file that a worker writes."""

from typing import Final

from practice import limits
from practice.caller import Caller
from practice.errors import ImportInProgress
from practice.runtime.deadline import Deadline
from practice.schemas.transfer import Export, StoredTransfer, TransferStatus
from practice.transfers import exports, files, jobs

AT_ONCE_SECONDS: Final = 15.0
AT_ONCE_BYTES: Final = limits.BODY_BYTES - 20_000


def export(caller: Caller) -> str | Export:
    """All lines, when they fit one answer and are read in time; else the job that writes them to a file."""
    deadline = Deadline.after(AT_ONCE_SECONDS)
    left = AT_ONCE_BYTES
    kept: list[str] = []
    is_importing = exports.is_importing(caller.user_id)
    for line in exports.lines(caller.user_id, is_complete=not is_importing):
        left -= len(line.encode()) + 1
        if left < 0 or not deadline.remaining():
            return jobs.wire_export(caller, jobs.start(caller, "export", TransferStatus.QUEUED))
        kept.append(line + "\n")
    if not is_importing and exports.is_importing(caller.user_id):
        kept[0] = exports.header(is_complete=False) + "\n"
    return "".join(kept)


def work(user_id: int, transfer: StoredTransfer) -> None:
    key = files.name(user_id, transfer.transfer_id)
    if transfer.attempts >= jobs.ATTEMPTS:
        jobs.change(user_id, transfer.transfer_id, status=TransferStatus.FAILED, problem=jobs.INTERRUPTED)
        return
    jobs.change(user_id, transfer.transfer_id, status=TransferStatus.RUNNING, attempts=transfer.attempts + 1)
    is_importing = exports.is_importing(user_id)
    files.write(key, exports.lines(user_id, is_complete=not is_importing))
    is_importing = is_importing or exports.is_importing(user_id)
    incomplete = ImportInProgress.detail if is_importing else None
    jobs.change(user_id, transfer.transfer_id, status=TransferStatus.DONE, problem=incomplete)
    if jobs.read(user_id, transfer.transfer_id) is None:
        files.delete(key)  # the user was erased meanwhile
