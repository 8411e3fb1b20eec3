"""A response: what one model answered to one prompt."""

from typing import Annotated, Any

from pydantic import BaseModel, Field

from practice.models.fields import Answer, FreeForm, Prompt, Timestamp

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


class ResponsePage(BaseModel):
    """Ascending by time; `next_cursor` leads to the older ones."""

    items: list[Response]
    next_cursor: str | None
