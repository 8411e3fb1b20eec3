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
from local.template import Template


class RefusedError(Exception):
    """No trigger takes the event, or the function did not take it."""


@dataclass(frozen=True)
class Outcome:
    function: str
    answer: Any


def hand_over(event: Any, template: Template, invoker: Invoker, bus: Bus) -> list[Outcome]:
    """What each function answered; RefusedError with the reason when one could not take the event."""
    functions = _functions(event, template, bus) if isinstance(event, Mapping) else []
    if not functions:
        raise RefusedError(f"no trigger of the template takes {json.dumps(event)[:200]}")
    outcomes = []
    for function in functions:
        try:
            answer = invoker.invoke(function, dict(event))
        except (FunctionError, PayloadTooLargeError) as error:
            raise RefusedError(f"{function} failed: {error}") from None
        if failed := failed_items(answer):
            raise RefusedError(f"{function} reported as failed: {', '.join(sorted(failed))}")
        outcomes.append(Outcome(function, answer))
    return outcomes


def _functions(event: Mapping[str, Any], template: Template, bus: Bus) -> list[str]:
    if "requestContext" in event and "http" in (event["requestContext"] or {}):
        http = event["requestContext"]["http"]
        by_key = [route.function for route in template.routes if route.key == event.get("routeKey")]
        match = Router(template.routes).match(http.get("method", ""), event.get("rawPath", ""))
        return by_key or ([match.route.function] if match else [])
    if "connectionId" in (event.get("requestContext") or {}):
        key = event["requestContext"].get("routeKey")
        return [route.function for route in template.live_routes if route.path == key]
    if "detail-type" in event and "source" in event:
        return [rule.function for rule in bus.rules_for(event)]
    records = event.get("Records")
    if not isinstance(records, list) or not records or not isinstance(records[0], Mapping):
        return []
    source, arn = records[0].get("eventSource"), str(records[0].get("eventSourceARN", ""))
    if source == "aws:sqs":
        queues = template.queues
        return [
            t.function for t in template.queue_triggers if _names(arn, queues[t.queue].logical_id, t.queue)
        ]
    if source == "aws:dynamodb":
        return [
            trigger.function
            for trigger in template.stream_triggers
            if not trigger.filters or any(matches(f, record) for f in trigger.filters for record in records)
        ]
    return []


def _names(arn: str, logical_id: str, local_name: str) -> bool:
    """Whether the ARN is of this queue: CloudFormation names it `<stack>-<logical id>-<random>`."""
    name = arn.rsplit(":", 1)[-1]
    return name in (local_name, logical_id) or logical_id in re.split(r"[-.]", name)
