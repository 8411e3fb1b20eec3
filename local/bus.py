"""EventBridge: events that the rules of the template hand to functions and queues."""

import json
import time
import uuid
from collections import deque
from collections.abc import Mapping
from typing import Any

from local.aws import JsonService
from local.http import read_json
from local.intrinsics import ACCOUNT, REGION
from local.patterns import matches
from local.queues import Queues
from local.template import Rule, Template

ENTRY_LIMIT = 1024 * 1024
REMEMBERED = 200


def inbox(function: str) -> str:
    """The queue in which events wait for a function that is invoked asynchronously."""
    return f"events for {function}"


class Bus:
    def __init__(self, template: Template, queues: Queues) -> None:
        self._rules = template.rules
        self._buses = set(template.buses) | {rule.bus for rule in template.rules}
        self._queues = queues
        self.published: deque[dict[str, Any]] = deque(maxlen=REMEMBERED)
        """The latest events that functions put, whether a rule takes them or not."""

    @property
    def service(self) -> JsonService:
        return JsonService({"PutEvents": self.put_events})

    def rules_for(self, event: Mapping[str, Any], bus: str | None = None) -> list[Rule]:
        """The rules that take an event, of one bus or of all."""
        return [rule for rule in self._rules if bus in (None, rule.bus) and matches(rule.pattern, event)]

    def put_events(self, request: dict[str, Any]) -> dict[str, Any]:
        results = [self._put(entry) for entry in request.get("Entries") or []]
        failed = sum("ErrorCode" in result for result in results)
        return {"Entries": results, "FailedEntryCount": failed}

    def _put(self, entry: Mapping[str, Any]) -> dict[str, str]:
        bus = str(entry.get("EventBusName") or "default").rsplit("/", 1)[-1]
        if bus not in self._buses:
            return _failure("ResourceNotFoundException", f"Event bus {bus} does not exist.")
        if not entry.get("Source") or not entry.get("DetailType"):
            return _failure("InvalidArgument", "Source and DetailType are required.")
        if len(json.dumps(entry).encode()) > ENTRY_LIMIT:
            return _failure("InvalidArgument", f"The entry is longer than {ENTRY_LIMIT} bytes.")
        try:
            detail = read_json(entry.get("Detail") or "")
        except ValueError:
            return _failure("MalformedDetail", "Detail is malformed.")
        if not isinstance(detail, dict):
            return _failure("MalformedDetail", "Detail is not a JSON object.")
        event = {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": entry["DetailType"],
            "source": entry["Source"],
            "account": ACCOUNT,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "region": REGION,
            "resources": entry.get("Resources") or [],
            "detail": detail,
        }
        self.published.append(event)
        for rule in self.rules_for(event, bus):
            self._queues.send(inbox(rule.function), json.dumps(event))
        return {"EventId": str(event["id"])}


def _failure(code: str, text: str) -> dict[str, str]:
    return {"ErrorCode": code, "ErrorMessage": text}
