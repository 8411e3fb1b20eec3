"""What a client sends to add and to change a response."""

from typing import Annotated

from pydantic import BaseModel, Field

from practice.models.fields import Answer, FreeForm, Prompt

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
