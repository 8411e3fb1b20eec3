"""The schemas of the service, for the peers that validate with pydantic."""

import gc

from pydantic import BaseModel

from practice.schemas.session import OwnSession, Session, SessionChanges
from practice.schemas.settings import Settings, SettingsChanges

gc.enable()

__all__ = ["Page", "Session", "SessionChanges", "Settings", "SettingsChanges"]


class Page(BaseModel):
    items: list[OwnSession]
    total: int
    page: int
    size: int
    next_cursor: str | None
