"""Events that the service publishes on the bus: ids and figures, never a text of the user's.

Each event follows from one record of the table's stream, so that no write misses its event. An event may arrive twice, with
the same `event_id`.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal

from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnection

from practice.runtime import aws, queues
from practice.runtime.config import config
from practice.runtime.log import logger
from practice.schemas.base import BaseModel
from practice.schemas.fields import Timestamp

if TYPE_CHECKING:
    from types_boto3_events.client import EventBridgeClient

SOURCE: Final = "practice.api"


Ended = Literal["done", "failed", "cancelled"]


class OutboundEvent(BaseModel):
    """The detail of an event; its class is the detail-type."""

    version: Literal[1] = 1
    event_id: str
    user_id: int


class SessionCreated(OutboundEvent):
    session_id: int
    class_id: int | None
    project_id: int | None
    agent_id: int | None
    created_at: Timestamp


class SessionDeleted(OutboundEvent):
    session_id: int
    class_id: int | None
    project_id: int | None
    created_at: Timestamp | None


class ModelAnswer(BaseModel):
    """The outcome of one model in a turn."""

    session_model_id: int
    model_name: str
    response_id: int
    latency_ms: int | None
    prompt_tokens: int | None
    completion_tokens: int | None
    total_tokens: int | None
    cost_usd: str | None = None
    """US dollars, a decimal string; null without a price, and for a response that was added by itself."""


class ModelError(BaseModel):
    session_model_id: int
    model_name: str
    code: str


class TurnCompleted(OutboundEvent):
    """A turn, or a response that was added by itself."""

    session_id: int
    turn_id: int
    status: Ended
    created_at: Timestamp
    results: list[ModelAnswer]
    errors: list[ModelError]
    cost_usd: str | None = None
    """Of all models together, those whose answer was not kept included."""


class AnswerRated(OutboundEvent):
    """A rating was given or changed."""

    session_id: int
    session_model_id: int
    response_id: int
    score: int
    created_at: Timestamp
    updated_at: Timestamp


class ComparedAnswer(BaseModel):
    session_model_id: int
    model_name: str
    response_id: int


class VoteCast(OutboundEvent):
    """A vote was cast or changed."""

    session_id: int
    turn_id: int
    class_id: int | None
    blind: bool
    winner: int | None
    """The response id of the best answer; null for a tie."""
    tie: Literal["good", "bad"] | None
    answers: list[ComparedAnswer]
    created_at: Timestamp
    updated_at: Timestamp


class VoteWithdrawn(OutboundEvent):
    """A vote was withdrawn, or went with one of its answers, its session or its user."""

    session_id: int
    turn_id: int
    class_id: int | None
    blind: bool
    answers: list[ComparedAnswer]
    created_at: Timestamp


class SettingsChanged(OutboundEvent):
    session_id: int
    setting_id: int | None
    example_ids: list[int]
    updated_at: Timestamp | None


class ExampleCreated(OutboundEvent):
    example_id: int
    is_active: bool
    created_at: Timestamp


class UserDataErased(OutboundEvent):
    """The last event about a user: how many items were deleted, and what the user's models took in all."""

    items_deleted: int
    sessions: int
    examples: int
    responses: int
    turns: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: str
    """US dollars, a decimal string."""
    erased_at: Timestamp


EVENTS: Final[tuple[type[OutboundEvent], ...]] = (
    SessionCreated,
    SessionDeleted,
    TurnCompleted,
    AnswerRated,
    VoteCast,
    VoteWithdrawn,
    SettingsChanged,
    ExampleCreated,
    UserDataErased,
)


@lru_cache(maxsize=1)
def client() -> "EventBridgeClient":
    made: EventBridgeClient = aws.client("events", queues.CLIENT_CONFIG)
    return made


def publish(events: Sequence[OutboundEvent]) -> list[int]:
    """One request for every ten events; the places in `events` of those that the bus did not accept."""
    bus = config().event_bus_name
    unsent: list[int] = []
    for start in range(0, len(events), queues.ENTRIES):
        places = range(start, min(start + queues.ENTRIES, len(events)))
        entries = [_entry(bus, events[place]) for place in places]
        try:
            answer = client().put_events(Entries=entries)  # type: ignore[arg-type]
        except (ClientError, NoConnection, HTTPClientError) as error:
            logger.warning("not published", extra={"cause": queues.code_of(error), "events": len(entries)})
            unsent += places
            continue
        for place, result in zip(places, answer["Entries"], strict=True):
            if "ErrorCode" in result:
                logger.warning("not published", extra={"cause": result["ErrorCode"], "events": 1})
                unsent.append(place)
    return unsent


def _entry(bus: str, event: OutboundEvent) -> dict[str, Any]:
    return {
        "EventBusName": bus,
        "Source": SOURCE,
        "DetailType": type(event).__name__,
        "Detail": event.model_dump_json(),
    }
