"""The stack's own paths under /_local/: what it holds, and the events that `make event` hands in."""

import json
from collections.abc import Callable
from dataclasses import asdict
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from local.aws import PREFIX, Service
from local.bus import Bus
from local.engine import Engine
from local.functions import Invoker
from local.handover import RefusedError, hand_over
from local.http import Request, Response, json_response, message, read_json
from local.live import Live
from local.pages import state_page
from local.presigned import is_presigned
from local.queues import DROPPED, Queues
from local.template import Template
from practice.limits import MAX_ID

SCRIPT = Path(__file__).with_name("stack.mjs")


class Control:
    def __init__(
        self,
        template: Template,
        engine: Engine,
        invoker: Invoker,
        queues: Queues,
        bus: Bus,
        services: dict[str, Service],
        host: str,
        token: Callable[[int], str],
        live: Live,
    ) -> None:
        self._template = template
        self._engine = engine
        self._invoker = invoker
        self._queues = queues
        self._bus = bus
        self._services = services
        self._host = host
        self._token = token
        self._live = live

    def answer(self, request: Request) -> Response:
        by_link = request.path.startswith(f"{PREFIX}s3/") and is_presigned(request.query)
        if not by_link and self.is_foreign(request):
            return message(403, "Forbidden")
        if request.path.startswith(PREFIX):
            service = self._services.get(request.path.removeprefix(PREFIX).partition("/")[0])
            return service.answer(request) if service else message(404, "Not Found")
        if request.path == "/_local/events" and request.method == "POST":
            return self._hand_over(request)
        if request.path == "/_local/token" and request.method == "POST":
            return self._mint(request)
        if request.path == "/_local/stack.mjs" and request.method == "GET":
            return Response(200, [("content-type", "text/javascript; charset=utf-8")], SCRIPT.read_bytes())
        if request.path in ("/_local/", "/_local") and request.method == "GET":
            return state_page(self.state())
        if request.path == "/_local/state" and request.method == "GET":
            return json_response(200, self.state())
        return message(404, "Not Found")

    def state(self) -> dict[str, Any]:
        counts = self._queues.counts()
        dead = self._dead_letter_queues()
        return {
            "engine": {
                "name": self._engine.name,
                "endpoint": self._engine.endpoint,
                "capabilities": sorted(self._engine.capabilities),
            },
            "connections": self._live.state(),
            "functions": [self._function(name) for name in sorted(self._template.functions)],
            "pending": [
                {"queue": queue, "count": count, "messages": self._queues.peek(queue, 20)}
                for queue, count in sorted(counts.items())
                if queue not in dead
            ],
            "dead_letters": [
                {"queue": queue, **letter} for queue in dead for letter in self._queues.peek(queue)
            ],
            "published": list(reversed(self._bus.published)),
        }

    def _dead_letter_queues(self) -> list[str]:
        template = self._template
        named = [queue.dead_letters for queue in template.queues.values()]
        named += [trigger.on_failure for trigger in template.stream_triggers]
        named += [function.on_failure for function in template.functions.values()]
        return [*sorted({name for name in named if name}), DROPPED]

    def _function(self, name: str) -> dict[str, Any]:
        template = self._template
        starts = [(route.function, route.key) for route in template.routes]
        starts += [(route.function, f"WebSocket {route.path}") for route in template.live_routes]
        starts += [(each.function, f"queue {each.queue}") for each in template.queue_triggers]
        starts += [(each.function, f"stream of {each.table}") for each in template.stream_triggers]
        starts += [(rule.function, f"bus {rule.bus}: {json.dumps(rule.pattern)}") for rule in template.rules]
        return {"name": name, "started_by": [start for function, start in starts if function == name]}

    def is_foreign(self, request: Request) -> bool:
        """Whether it comes from another machine, or from a page of another site: by its own name or a rebound one."""
        host = request.header("host") or ""
        try:
            address = urlsplit(f"//{host}")
            address.port  # noqa: B018 (raises for what is no number)
            name = address.hostname or ""
            is_here = name in ("localhost", self._host) or ip_address(name).is_loopback
        except ValueError:
            return True
        same_origin = request.header("origin") in (None, f"http://{host}")
        return not (is_here and same_origin and ip_address(request.client).is_loopback)

    def _mint(self, request: Request) -> Response:
        """A token for a learner, as `make token` prints it."""
        if other := _other_than_json(request):
            return other
        try:
            user_id = read_json(request.body)["user_id"]
        except (ValueError, LookupError, TypeError):
            user_id = None
        if type(user_id) is not int or not 1 <= user_id <= MAX_ID:
            return json_response(422, {"refused": f"user_id is an integer from 1 to {MAX_ID}"})
        return json_response(200, {"token": self._token(user_id)})

    def _hand_over(self, request: Request) -> Response:
        if other := _other_than_json(request):
            return other
        try:
            event = read_json(request.body)
        except ValueError as error:
            return json_response(400, {"refused": f"not JSON: {error}"})
        try:
            outcomes = hand_over(event, self._template, self._invoker, self._bus)
        except RefusedError as error:
            return json_response(422, {"refused": str(error)})
        return json_response(200, {"outcomes": [asdict(outcome) for outcome in outcomes]})


def _other_than_json(request: Request) -> Response | None:
    """The refusal of a body that a page of another site could send without asking first."""
    content_type = request.header("content-type") or "application/json"
    if content_type.partition(";")[0].strip().lower() == "application/json":
        return None
    return json_response(415, {"refused": f"the body is application/json, not {content_type}"})
