"""Responses: what one model answered to one prompt, what a client sends, the list."""

from typing import Annotated, Any

from pydantic import Field

from practice.schemas.base import BaseModel
from practice.schemas.fields import Answer, FreeForm, Prompt, Timestamp


class Response(BaseModel):
    response_id: int
    session_model_id: int
    session_id: int
    model_name: str
    prompt_text: str
    response_text: str
    created_at: Timestamp
    token_usage: dict[str, Any] | None
    latency_ms: int | None


LatencyMs = Annotated[int, Field(ge=0, le=2**31 - 1)]


class NewResponse(BaseModel):
    prompt_text: Prompt
    response_text: Answer
    token_usage: FreeForm | None = None
    latency_ms: LatencyMs | None = None


class ResponseChanges(BaseModel):
    """Absent means unchanged; the texts cannot be null."""

    prompt_text: Prompt = ""
    response_text: Answer = ""
    token_usage: FreeForm | None = None
    latency_ms: LatencyMs | None = None


class ResponsePage(BaseModel):
    """Ascending by time; `next_cursor` leads to the older ones."""

    items: list[Response]
    next_cursor: str | None
