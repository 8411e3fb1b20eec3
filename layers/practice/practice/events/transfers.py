"""Queued jobs of exports and imports."""

from collections.abc import Mapping
from typing import Any, Final

from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from practice.events.batch import parse, process
from practice.runtime.config import config
from practice.runtime.deadline import Deadline
from practice.schemas.transfer import TRANSFER_MESSAGE
from practice.transfers import jobs

NAME: Final = "work_transfer"


def handle(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    deadline = Deadline.of(context)

    def work(record: SQSRecord) -> None:
        message = parse(record.body, TRANSFER_MESSAGE)
        jobs.run_job(message.user_id, message.transfer_id, deadline)

    return process(event, work, config().transfer_dead_letters_url, NAME)
