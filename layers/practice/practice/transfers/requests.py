"""What the two routes do at once, and what they leave to a job."""

from http import HTTPStatus
from typing import Final

from practice.answers import Room
from practice.api import Reply
from practice.auth import Caller
from practice.deadline import Deadline
from practice.errors import BodyNotUtf8
from practice.inputs import Event, body_bytes
from practice.models.transfer import Counts, Export, Import, TransferState
from practice.store.idempotency import Once
from practice.transfers import exports, files, imports, jobs

AT_ONCE_SECONDS: Final = 15.0
LINES_AT_ONCE: Final = 1_000
"""An import of more is a job."""


def export(caller: Caller) -> Reply[str | Export]:
    """Inline when all of it fits one answer, and is read in time."""
    room, deadline = Room(), Deadline.after(AT_ONCE_SECONDS)
    kept: list[str] = []
    for line in exports.lines(caller.user_id):
        if not room.take(line) or not deadline.remaining():
            transfer = jobs.begin(caller, "export", TransferState.QUEUED, once=Once())
            location = f"/user/practice/export/{transfer.transfer_id}"
            return Reply(jobs.wire_export(caller, transfer), HTTPStatus.ACCEPTED, {"location": location})
        kept.append(line + "\n")
    return Reply("".join(kept), HTTPStatus.OK, {"content-type": files.CONTENT_TYPE})


def put_back(caller: Caller, event: Event, once: Once, deadline: Deadline) -> Reply[Counts | Import]:
    """A body at once, if it is not too much; else by a job, as is what comes by a link."""
    raw = body_bytes(event)
    if not raw:
        return _job(caller, once, TransferState.WAITING)
    try:
        lines = raw.decode().split("\n")
    except UnicodeDecodeError:
        raise BodyNotUtf8 from None
    counts = imports.check(lambda: lines)
    if len(lines) > LINES_AT_ONCE:
        return _job(caller, once, TransferState.QUEUED, lines)
    imports.put_back(caller, lambda: lines, counts, once, deadline.remaining())
    return Reply(counts)


def _job(
    caller: Caller, once: Once, state: TransferState, lines: list[str] | None = None
) -> Reply[Counts | Import]:
    transfer = jobs.begin(caller, "import", state, lines, once=once)
    location = f"/user/practice/import/{transfer.transfer_id}"
    answer = jobs.wire_import(caller, transfer)
    once.keep(answer.model_dump_json(), HTTPStatus.ACCEPTED, location)
    return Reply(answer, HTTPStatus.ACCEPTED, {"location": location})
