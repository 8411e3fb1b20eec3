"""A response: what one model answered to one prompt."""

from typing import Any

from pydantic import BaseModel

from practice.models.fields import Timestamp


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
