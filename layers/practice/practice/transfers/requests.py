"""What the two routes do at once, and what they leave to a job."""

from http import HTTPStatus
from typing import Final

from practice.caller import Caller
from practice.errors import BodyNotUtf8
from practice.http.inputs import Event, body_bytes
from practice.http.paging import ResponseBudget
from practice.http.replies import Reply
from practice.runtime.deadline import Deadline
from practice.schemas.transfer import Counts, Export, Import, TransferState
from practice.store.idempotency import IdempotentAttempt
from practice.transfers import exports, files, imports, jobs

AT_ONCE_SECONDS: Final = 15.0
LINES_AT_ONCE: Final = 1_000
"""An import of more is a job."""


def export(caller: Caller) -> Reply[str | Export]:
    """Inline when all of it fits one answer, and is read in time."""
    budget, deadline = ResponseBudget(), Deadline.after(AT_ONCE_SECONDS)
    kept: list[str] = []
    for line in exports.lines(caller.user_id):
        if not budget.take(line) or not deadline.remaining():
            transfer = jobs.start_job(caller, "export", TransferState.QUEUED, attempt=IdempotentAttempt())
            location = f"/user/practice/export/{transfer.transfer_id}"
            return Reply(jobs.wire_export(caller, transfer), HTTPStatus.ACCEPTED, {"location": location})
        kept.append(line + "\n")
    return Reply("".join(kept), HTTPStatus.OK, {"content-type": files.CONTENT_TYPE})


def restore(
    caller: Caller, event: Event, attempt: IdempotentAttempt, deadline: Deadline
) -> Reply[Counts | Import]:
    """A body at once, if it is not too much; else by a job, as is what comes by a link."""
    raw = body_bytes(event)
    if not raw:
        return _job(caller, attempt, TransferState.WAITING)
    try:
        lines = raw.decode().split("\n")
    except UnicodeDecodeError:
        raise BodyNotUtf8 from None
    counts = imports.check(lambda: lines)
    if len(lines) > LINES_AT_ONCE:
        return _job(caller, attempt, TransferState.QUEUED, lines)
    imports.restore(caller, lambda: lines, counts, attempt, deadline.remaining())
    return Reply(counts)


def _job(
    caller: Caller, attempt: IdempotentAttempt, state: TransferState, lines: list[str] | None = None
) -> Reply[Counts | Import]:
    transfer = jobs.start_job(caller, "import", state, lines, attempt=attempt)
    location = f"/user/practice/import/{transfer.transfer_id}"
    answer = jobs.wire_import(caller, transfer)
    return Reply(answer, HTTPStatus.ACCEPTED, {"location": location})
