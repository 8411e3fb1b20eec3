"""Ratings: what a learner thinks of one answer."""

from typing import Annotated

from pydantic import AfterValidator, Field

from practice import limits
from practice.schemas.base import BaseModel
from practice.schemas.fields import PATTERN, Timestamp, storable

Score = Annotated[int, Field(ge=1, le=5)]
Tag = Annotated[
    str,
    Field(max_length=limits.TAG_CHARACTERS, json_schema_extra=PATTERN),
    AfterValidator(storable),
]
Tags = Annotated[list[Tag], Field(max_length=limits.RATING_TAGS)]
Comment = Annotated[
    str,
    Field(max_length=limits.COMMENT_CHARACTERS, json_schema_extra=PATTERN),
    AfterValidator(storable),
]


class NewRating(BaseModel):
    """Replaces the whole rating."""

    score: Score
    tags: Tags | None = None
    """null or absent: none."""
    comment: Comment | None = None


class Rating(BaseModel):
    response_id: int
    score: int
    tags: list[str]
    comment: str | None
    created_at: Timestamp
    updated_at: Timestamp
