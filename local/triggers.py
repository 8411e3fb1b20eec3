"""What starts functions besides HTTP: queues, the table's stream, the bus."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from local.bus import inbox
from local.consumers import EventConsumer, QueueConsumer, StreamConsumer, retry_delay
from local.engine import Engine
from local.functions import FunctionError, Invoker, PayloadTooLargeError
from local.queues import Queues
from local.template import QueueTrigger, Template

CONSUMERS_PER_QUEUE = 4
CONSUMERS_OF_WIDE_QUEUES = 16
"""Of a queue whose messages take long, so that hundreds are worked on at the same time: turns."""
WIDE = 100
POLL_SECONDS = 0.2

log = logging.getLogger("local.triggers")


class Triggers:
    """Delivers from threads between `start` and `close`; what is left then waits for the next start."""

    def __init__(self, template: Template, invoker: Invoker, queues: Queues, engine: Engine) -> None:
        self._invoker = invoker
        self.queues = queues
        self.closing = threading.Event()
        self._deliveries = 0
        self._counting = threading.Lock()
        self._watched = [trigger.queue for trigger in template.queue_triggers]
        self._workers: list[_Worker] = []
        for queue_trigger in template.queue_triggers:
            consumer = QueueConsumer(self, queue_trigger)
            self._workers += [_Worker(self, consumer.step) for _ in range(_consumers(queue_trigger))]
        for function in sorted({rule.function for rule in template.rules}):
            self._watched.append(inbox(function))
            declared = template.functions[function]
            events = EventConsumer(
                self, function, declared.physical_name, declared.retries, declared.on_failure
            )
            self._workers.append(_Worker(self, events.step))
        if "streams" in engine.capabilities:
            for stream_trigger in template.stream_triggers:
                self._workers.append(_Worker(self, StreamConsumer(self, stream_trigger, engine).step))

    def start(self) -> None:
        for worker in self._workers:
            worker.thread.start()

    def close(self, grace: float = 5.0) -> None:
        """Deliver nothing more; wait a little for what is under way."""
        self.closing.set()
        with self.queues.changed:
            self.queues.changed.notify_all()
        deadline = time.monotonic() + grace
        for worker in self._workers:
            if worker.thread.is_alive():
                worker.thread.join(max(0.0, deadline - time.monotonic()))

    def settle(self, seconds: float = 10.0) -> None:
        """Wait until everything sent so far, and what that led to, is delivered or a dead letter."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            since, deliveries = time.monotonic(), self._deliveries
            with self.queues.changed:
                self.queues.changed.notify_all()
            while any(worker.idle_since < since for worker in self._workers):
                if time.monotonic() > deadline:
                    break
                time.sleep(0.005)
            waiting = any(self.queues.unsettled(queue) for queue in self._watched)
            if deliveries == self._deliveries and not waiting:
                return
        raise TimeoutError(f"events are still under way after {seconds} seconds")

    def __call__(self, function: str, event: dict[str, Any]) -> Any:
        """The function's answer; FunctionError with the reason when it has none."""
        with self._counting:
            self._deliveries += 1
        try:
            return self._invoker.invoke(function, event)
        except PayloadTooLargeError as error:
            raise FunctionError(str(error)) from None


def _consumers(trigger: QueueTrigger) -> int:
    return CONSUMERS_OF_WIDE_QUEUES if trigger.concurrency >= WIDE else CONSUMERS_PER_QUEUE


class _Worker:
    """One thread that repeats a step: deliver what there is, or say that there was nothing."""

    def __init__(self, triggers: Triggers, step: Callable[[], bool]) -> None:
        self.idle_since = 0.0
        self._triggers = triggers
        self._step = step
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        failures = 0
        while not self._triggers.closing.is_set():
            began = time.monotonic()
            try:
                busy = self._step()
                failures = 0
            except Exception as error:
                # A worker outlives its errors, such as an engine that restarts.
                if not self._triggers.closing.is_set():
                    trace = not isinstance(error, BotoCoreError | ClientError)
                    log.error("a trigger failed, trying again: %s", error, exc_info=trace)  # noqa: TRY400
                busy, failures = True, failures + 1
                self._triggers.closing.wait(retry_delay(failures))
            if busy:
                self.idle_since = 0.0
                continue
            self.idle_since = began
            with self._triggers.queues.changed:
                if not self._triggers.closing.is_set():
                    self._triggers.queues.changed.wait(POLL_SECONDS)
