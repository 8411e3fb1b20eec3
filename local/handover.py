"""An event file, handed to the function that the template says it would start."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from local.bus import Bus
from local.envelopes import failed_items
from local.functions import FunctionError, Invoker, PayloadTooLargeError
from local.gateway import Router
from local.patterns import matches
from local.queues import Queues
from local.template import Template


class RefusedError(Exception):
    """No trigger takes the event, or the function did not take it."""


@dataclass(frozen=True)
class Outcome:
    function: str
    answer: Any


def hand_over(event: Any, template: Template, invoker: Invoker, bus: Bus, queues: Queues) -> list[Outcome]:
    """What each function answered; RefusedError with the reason when one could not take the event."""
    functions, targets = _functions(event, template, bus)
    if not functions and not targets:
        raise RefusedError(f"no trigger of the template takes {_describe(event)}")
    for queue in targets:
        queues.send(queue, json.dumps(event))
    outcomes = [Outcome(f"queue {queue}", None) for queue in targets]
    for function in functions:
        try:
            answer = invoker.invoke(function, event)
        except (FunctionError, PayloadTooLargeError) as error:
            raise RefusedError(f"{function} failed: {error}") from None
        if failed := failed_items(answer):
            raise RefusedError(f"{function} reported as failed: {', '.join(sorted(failed))}")
        outcomes.append(Outcome(function, answer))
    return outcomes


def _functions(event: Any, template: Template, bus: Bus) -> tuple[list[str], list[str]]:
    """The functions and the queues that take the event."""
    if not isinstance(event, Mapping):
        return [], []
    if "requestContext" in event and "http" in (event["requestContext"] or {}):
        http = event["requestContext"]["http"]
        by_key = [route.function for route in template.routes if route.key == event.get("routeKey")]
        match = Router(template.routes).match(http.get("method", ""), event.get("rawPath", ""))
        return by_key or ([match.route.function] if match else []), []
    if "detail-type" in event and "source" in event:
        if event["source"] == "aws.events" and event["detail-type"] == "Scheduled Event":
            return [schedule.function for schedule in template.schedules], []
        rules = bus.rules_for(event)
        return [r.function for r in rules if r.function], [r.queue for r in rules if r.queue]
    records = event.get("Records")
    if isinstance(records, list) and records and all(isinstance(record, Mapping) for record in records):
        source, arn = records[0].get("eventSource"), str(records[0].get("eventSourceARN", ""))
        if source == "aws:sqs":
            return [
                t.function
                for t in template.queue_triggers
                if _names(arn, template.queues[t.queue].logical_id, t.queue)
            ], []
        if source == "aws:dynamodb":
            return [
                trigger.function
                for trigger in template.stream_triggers
                if not trigger.filters
                or any(matches(f, record) for f in trigger.filters for record in records)
            ], []
    return [], []


def _names(arn: str, logical_id: str, local_name: str) -> bool:
    """Whether the ARN is of this queue: CloudFormation names it `<stack>-<logical id>-<random>`."""
    name = arn.rsplit(":", 1)[-1]
    return name in (local_name, logical_id) or logical_id in re.split(r"[-.]", name)


def _describe(event: Any) -> str:
    if isinstance(event, Mapping):
        if "detail-type" in event:
            return f"detail-type {event['detail-type']!r} of source {event.get('source')!r}"
        if (
            isinstance(event.get("Records"), list)
            and event["Records"]
            and isinstance(event["Records"][0], Mapping)
        ):
            record = event["Records"][0]
            return f"records of {record.get('eventSourceARN') or record.get('eventSource')!r}"
    return "such an event"
