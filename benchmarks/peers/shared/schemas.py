"""The very models of the service, for the peers that validate with pydantic."""

import gc

from pydantic import BaseModel

from practice.models.session import OwnSession, Session
from practice.models.session_requests import SessionChanges
from practice.models.settings import Settings
from practice.models.settings_requests import SettingsChanges

gc.enable()

__all__ = ["Page", "Session", "SessionChanges", "Settings", "SettingsChanges"]


class Page(BaseModel):
    items: list[OwnSession]
    total: int
    page: int
    size: int
    next_cursor: str | None
