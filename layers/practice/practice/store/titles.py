"""The title of a session whose user gave it none."""

from typing import NamedTuple

from practice import table
from practice.errors import SessionNotFound
from practice.runtime import clock
from practice.schemas.response import Response
from practice.schemas.session import OwnSession
from practice.store.views import read_view
from practice.table import keys


class FirstAnswer(NamedTuple):
    response: Response
    class_id: int | None
    """Of its session."""


def first_answer(user_id: int, session_id: int) -> FirstAnswer | None:
    """The first of the newest answers in a session without a title; None when it has one, has no answer yet, or was deleted.

    One request.
    """
    try:
        view = read_view(user_id, session_id, with_responses=True)
    except SessionNotFound:
        return None
    if view.session.title or not view.live:
        return None
    return FirstAnswer(Response.model_validate_json(view.live[-1].text), view.session.class_id)


@table.optimistic
def write(user_id: int, session_id: int, title: str) -> bool:
    """Two requests. False when the user set one meanwhile, or the session was deleted."""
    key = keys.session(user_id, session_id)
    document = table.get(key)
    if document is None:
        return False
    session = OwnSession.model_validate_json(document.text)
    if session.title:
        return False
    titled = session.model_copy(update={"title": title, "updated_at": clock.just_after(session.updated_at)})
    table.write(*table.revise(document, titled))
    return True
