"""Queued jobs of exports and imports."""

from collections.abc import Mapping
from typing import Any, Final

from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from practice.events.batch import process
from practice.events.parsing import parse
from practice.runtime.config import config
from practice.runtime.deadline import Deadline
from practice.schemas.transfer import TRANSFER_MESSAGE
from practice.transfers import export_jobs, files, import_jobs, jobs

NAME: Final = "work_transfer"


def handle(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    deadline = Deadline.of(context)

    def work(record: SQSRecord) -> None:
        message = parse(record.body, TRANSFER_MESSAGE)
        run_job(message.user_id, message.transfer_id, deadline)

    return process(event, work, config().transfer_dead_letters_url, NAME)


def run_job(user_id: int, transfer_id: int, deadline: Deadline) -> None:
    """Does one job, at most `jobs.ATTEMPTS` times if it is delivered again. What is wrong with it becomes its `problem`."""
    transfer = jobs.read(user_id, transfer_id)
    if transfer is None:
        files.delete(files.name(user_id, transfer_id))  # erased or expired; a file may have come since
    elif transfer.status.has_ended:
        return
    elif transfer.kind == "export":
        export_jobs.work(user_id, transfer)
    else:
        import_jobs.work(user_id, transfer, deadline)
