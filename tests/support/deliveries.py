"""Delivers what the local stack's threads would, one step after the other: stream records, messages, events.

The table has its stream only while something is delivered: the engine counts all records of a stream at every write, so
that a suite with one would end far slower than it began.
"""

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pytest

from local.consumers import EventConsumer, QueueConsumer, StreamConsumer
from local.stack import Stack

if TYPE_CHECKING:
    from types_boto3_dynamodb.type_defs import StreamSpecificationTypeDef


class Deliveries:
    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._listens = True
        template, triggers = stack.template, stack.triggers
        self._stream = [StreamConsumer(triggers, each, stack.engine) for each in template.stream_triggers]
        self._queues = [QueueConsumer(triggers, each) for each in template.queue_triggers]
        self._by_function = {
            trigger.function: consumer
            for trigger, consumer in zip(template.queue_triggers, self._queues, strict=True)
        }
        self._events = [
            EventConsumer(triggers, name, function.physical_name, function.retries, function.on_failure)
            for name, function in template.functions.items()
            if name in {rule.function for rule in template.rules}
        ]

    def listen(self, *, on: bool) -> None:
        """Whether changes of the table become records."""
        if on is not self._listens:
            table_name = self._stack.template.environment["TABLE_NAME"]
            view: StreamSpecificationTypeDef = {"StreamEnabled": on}
            if on:
                view["StreamViewType"] = "NEW_AND_OLD_IMAGES"
            self._stack.engine.client().update_table(TableName=table_name, StreamSpecification=view)
            self._listens = on

    def step_of(self, function: str) -> bool:
        """One batch of the function's queue."""
        return self._by_function[function].step()

    def of_the_stream(self) -> None:
        while any(each.step() for each in self._stream):
            pass

    def give_up_on_stream(self) -> None:
        """Reads what is left of the stream; a batch that fails once more goes to the dead-letter queue."""
        for consumer in self._stream:
            trigger = consumer._trigger
            consumer._trigger = replace(trigger, attempts=1)
            while consumer.step():
                pass
            consumer._trigger = trigger

    def run(self) -> None:
        """Until nothing is left that can be delivered now."""
        steps = [each.step for each in self._stream]
        steps += [each.step for each in self._queues]
        steps += [each.step for each in self._events]
        while any(step() for step in steps):
            pass

    def forget_what_waits(self) -> None:
        """Messages that earlier tests left for later: an import whose file never comes is looked for again and again."""
        for name, queue in self._stack.queues.declared.items():
            if queue.dead_letters:
                self._stack.queues.purge(name)

    def waiting(self, queue: str) -> list[dict[str, Any]]:
        return self._stack.queues.peek(f"practice-local-{queue}", 1_000_000)

    def dead_letters_in(self, queue: str) -> list[dict[str, Any]]:
        """Newest first."""
        return [each for each in self._stack.state["dead_letters"] if each["queue"].endswith(queue)]

    def dead_letters(self) -> list[str]:
        return [each["message_id"] for each in self._stack.state["dead_letters"]]

    def published(self, user_id: int) -> list[dict[str, Any]]:
        """The events about a user, oldest first."""
        return [event for event in self._stack.bus.published if event["detail"].get("user_id") == user_id]


@lru_cache(maxsize=1)
def _to(stack: Stack) -> Deliveries:
    return Deliveries(stack)


def of(stack: Stack) -> Deliveries:
    """With nothing left to deliver; from here on to the end of the test, what changes is."""
    if "streams" not in stack.capabilities:
        pytest.skip(f"{stack.engine.name} has no streams")
    deliveries = _to(stack)
    deliveries.listen(on=True)
    deliveries.run()
    deliveries.forget_what_waits()
    return deliveries


def cease(stack: Stack) -> None:
    """No change is a record any more, until the next `of`."""
    if "streams" in stack.capabilities:
        _to(stack).listen(on=False)


def forget(stack: Stack) -> None:
    """The table is another one, with a stream of its own."""
    _to.cache_clear()
    cease(stack)
