"""What a change of an item has as its consequences: work for the queues, and events for the bus."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, TypeVar

from pydantic import BaseModel

from practice import table
from practice.events.messages import (
    Sweep,
    SweepExample,
    SweepModel,
    SweepParts,
    SweepSession,
    SweepTurns,
)
from practice.events.outbound import (
    AnswerRated,
    ComparedAnswer,
    Ended,
    ExampleCreated,
    ModelAnswer,
    ModelError,
    OutboundEvent,
    SessionCreated,
    SessionDeleted,
    SettingsChanged,
    TurnCompleted,
    VoteCast,
    VoteWithdrawn,
)
from practice.schemas.example import Example
from practice.schemas.rating import Rating
from practice.schemas.response import Response
from practice.schemas.session import OwnSession
from practice.schemas.settings import StoredSettings
from practice.schemas.turn import StoredTurn, TurnStatus
from practice.schemas.vote import StoredVote
from practice.table import Document, keys
from practice.table.keys import ItemRef


class Answered(NamedTuple):
    """A session with a new answer, which may need a title."""

    user_id: int
    session_id: int


Model = TypeVar("Model", bound=BaseModel)
Consequence = OutboundEvent | Sweep | Answered


def of(record: Mapping[str, Any]) -> Iterator[Consequence]:
    """Raises KeyError, TypeError, ValueError or AttributeError for an unreadable record."""
    change, name = record["dynamodb"], record["eventName"]
    place = keys.item_ref_of(table.key_of(change["Keys"]))
    if place is None:
        return  # a part, an account, an idempotency key, or an item of a later version
    new = table.document_from_image(change["NewImage"]) if name != "REMOVE" else None
    old = table.document_from_image(change["OldImage"]) if name != "INSERT" else None
    if new is None and old and "parts" in old.item:
        yield SweepParts(pk=old.key.pk, sk=old.key.sk, version=old.version, count=old.number("parts"))
    yield from _CONSEQUENCES[place.kind](place, old, new)


def _of_session(place: ItemRef, old: Document | None, new: Document | None) -> Iterator[Consequence]:
    user_id, session_id = place.user_id, place.id
    if new is None:
        yield SweepSession(user_id=user_id, session_id=session_id)
        session = _session(old)
        yield SessionDeleted(
            event_id=f"SessionDeleted-{session_id}",
            user_id=user_id,
            session_id=session_id,
            class_id=session.class_id if session else None,
            project_id=session.project_id if session else None,
            created_at=session.created_at if session else None,
        )
        return
    if old is None:
        session = _session(new) or _read(new, OwnSession)
        if session is None:
            return  # deleted since: that record follows
        yield SessionCreated(
            event_id=f"SessionCreated-{session_id}",
            user_id=user_id,
            session_id=session_id,
            class_id=session.class_id,
            project_id=session.project_id,
            agent_id=session.agent_id,
            created_at=session.created_at,
        )


def _of_settings(place: ItemRef, old: Document | None, new: Document | None) -> Iterator[Consequence]:
    if old is None or new is None:
        return
    settings = StoredSettings.model_validate_json(new.text) if new.text else None
    before = StoredSettings.model_validate_json(old.text) if old.text else None
    # Visible settings have a version of their own. A record of settings in parts has only the item's version.
    if settings and before and settings.version == before.version:
        return
    if new.version == old.version:
        return
    yield SettingsChanged(
        event_id=f"SettingsChanged-{place.id}-{new.version}",
        user_id=place.user_id,
        session_id=place.id,
        setting_id=settings.setting_id if settings else None,
        example_ids=sorted(int(number) for number in new.item.get("examples", {}).get("NS", ())),
        updated_at=settings.updated_at if settings else None,
    )


def _of_models(place: ItemRef, old: Document | None, new: Document | None) -> Iterator[Consequence]:
    if old is None or new is None:
        return
    for model_id in sorted(_live(old) - _live(new)):
        yield SweepModel(user_id=place.user_id, session_model_id=model_id)


def _live(models: Document) -> set[int]:
    return {int(number) for number in models.item.get("live", {}).get("NS", ())}


def _of_response(place: ItemRef, old: Document | None, new: Document | None) -> Iterator[Consequence]:
    was_answered, is_answered = ("of_model" in each.item if each else False for each in (old, new))
    if new is None:
        if old and was_answered and "turn" in old.item:
            yield SweepTurns(user_id=place.user_id, turn_ids=[old.number("turn")])
        return
    if was_answered or not is_answered or "turn" in new.item or "imported" in new.item:
        return
    # A response that was added by itself counts as a turn.
    response = Response.model_validate_json(new.text) if new.text else _read(new, Response)
    if response is None:
        return
    yield TurnCompleted(
        event_id=f"TurnCompleted-{response.response_id}",
        user_id=place.user_id,
        session_id=response.session_id,
        turn_id=response.response_id,
        status="done",
        created_at=response.created_at,
        results=[
            ModelAnswer(
                session_model_id=response.session_model_id,
                model_name=response.model_name,
                response_id=response.response_id,
                latency_ms=response.latency_ms,
                **_tokens(response.token_usage or {}),
            )
        ],
        errors=[],
    )
    yield Answered(place.user_id, response.session_id)


_ENDED: Final[Mapping[str, Ended]] = {"done": "done", "failed": "failed", "cancelled": "cancelled"}


def _of_turn(place: ItemRef, old: Document | None, new: Document | None) -> Iterator[Consequence]:
    if old is None or new is None or old.string("status") == new.string("status"):
        return
    status = _ENDED.get(new.string("status"))
    if status is None or old.string("status") == TurnStatus.QUEUED:  # cancelled there, no model was asked
        return
    turn = StoredTurn.model_validate_json(new.text) if new.text else _read(new, StoredTurn)
    if turn is None:
        return
    asked = {each.model_name: each for each in turn.asked}
    outcome = json.loads(new.string("outcome"))
    yield TurnCompleted(
        event_id=f"TurnCompleted-{turn.turn_id}",
        user_id=place.user_id,
        session_id=turn.session_id,
        turn_id=turn.turn_id,
        status=status,
        created_at=turn.created_at,
        results=[
            ModelAnswer(
                session_model_id=asked[each["model_name"]].session_model_id,
                model_name=each["model_name"],
                response_id=asked[each["model_name"]].response_id,
                latency_ms=each["latency_ms"],
                cost_usd=each.get("cost_usd"),
                **_tokens(each),
            )
            for each in outcome["models"]
        ],
        errors=[
            ModelError(
                session_model_id=asked[each["model_name"]].session_model_id,
                model_name=each["model_name"],
                code=each["code"],
            )
            for each in outcome["errors"]
        ],
        cost_usd=outcome.get("cost_usd"),
    )
    if outcome["models"]:
        yield Answered(place.user_id, turn.session_id)


def _tokens(usage: Mapping[str, object]) -> dict[str, int | None]:
    return {name: _figure(usage.get(name)) for name in ("prompt_tokens", "completion_tokens", "total_tokens")}


def _figure(value: object) -> int | None:
    """Clients choose what their usage object holds: events carry counts alone."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else None


def _of_rating(place: ItemRef, old: Document | None, new: Document | None) -> Iterator[Consequence]:
    if new is None or "imported" in new.item:
        return
    rating = Rating.model_validate_json(new.text)
    yield AnswerRated(
        event_id=f"AnswerRated-{place.id}-{rating.updated_at}",
        user_id=place.user_id,
        session_id=keys.session_of(place.id),
        session_model_id=new.number("model"),
        response_id=place.id,
        score=rating.score,
        created_at=rating.created_at,
        updated_at=rating.updated_at,
    )


def _of_vote(place: ItemRef, old: Document | None, new: Document | None) -> Iterator[Consequence]:
    before, after = _vote(old), _vote(new)
    if after and new and not (before and before.updated_at == after.updated_at):
        yield VoteCast(
            event_id=f"VoteCast-{place.id}-{new.version}",
            user_id=place.user_id,
            session_id=keys.session_of(place.id),
            winner=after.winner,
            tie=after.tie.value if after.tie else None,
            updated_at=after.updated_at,
            **_voted(after),
        )
    if before and old and after is None:
        yield VoteWithdrawn(
            event_id=f"VoteWithdrawn-{place.id}-{old.version}",
            user_id=place.user_id,
            session_id=keys.session_of(place.id),
            **_voted(before),
        )


def _vote(document: Document | None) -> StoredVote | None:
    """None where there is no vote, or an imported one, which is no news."""
    vote = StoredVote.model_validate_json(document.text) if document and document.text else None
    return None if vote is None or vote.imported else vote


def _voted(vote: StoredVote) -> dict[str, Any]:
    return {
        "turn_id": vote.turn_id,
        "class_id": vote.class_id,
        "blind": vote.blind,
        "answers": [ComparedAnswer.model_validate(each.model_dump()) for each in vote.answers],
        "created_at": vote.created_at,
    }


def _of_example(place: ItemRef, old: Document | None, new: Document | None) -> Iterator[Consequence]:
    if new is None:
        yield SweepExample(user_id=place.user_id, example_id=place.id)
    elif old is None:
        example = Example.model_validate_json(new.text)
        yield ExampleCreated(
            event_id=f"ExampleCreated-{place.id}",
            user_id=place.user_id,
            example_id=place.id,
            is_active=example.is_active,
            created_at=example.created_at,
        )


_CONSEQUENCES: Final = {
    "SESSION": _of_session,
    "SETTINGS": _of_settings,
    "MODELS": _of_models,
    "RESPONSE": _of_response,
    "TURN": _of_turn,
    "RATING": _of_rating,
    "VOTE": _of_vote,
    "EXAMPLE": _of_example,
}


def _session(document: Document | None) -> OwnSession | None:
    """None when its text is in parts, which are records of their own."""
    return OwnSession.model_validate_json(document.text) if document and document.text else None


def _read(document: Document, model: type[Model]) -> Model | None:
    """The present state of a document in parts. One request, and one for the parts."""
    found = table.fetch([document.key]).get(document.key)
    return model.model_validate_json(found.text) if found else None
