"""A few-shot example of the user's library."""

from typing import Any

from pydantic import BaseModel

from practice.models.fields import Timestamp


class Example(BaseModel):
    example_id: int
    user_id: int
    input_text: str
    output_text: str
    is_active: bool
    created_at: Timestamp
    updated_at: Timestamp
    title: str | None
    meta: dict[str, Any]
