"""What a handler returns when it is more than a model, and how a body becomes JSON."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Generic, TypeVar

from pydantic import BaseModel

Body = TypeVar("Body", bound="BaseModel | Sequence[BaseModel] | str | None")


class Reply(Generic[Body]):
    """For the few answers that are more than a model: a status, headers, or a body that is JSON already."""

    def __init__(
        self,
        body: Body,
        status: HTTPStatus | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.body = body
        self.status = status
        self.headers = dict(headers or {})


def json_text(body: BaseModel | Sequence[BaseModel] | str) -> str:
    if isinstance(body, str):
        return body
    if isinstance(body, BaseModel):
        return body.model_dump_json()
    return "[" + ",".join(item.model_dump_json() for item in body) + "]"
