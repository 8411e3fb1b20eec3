"""What a model is shown of a session: the answers to the ancestors of a turn."""

from collections.abc import Collection, Iterator
from itertools import chain, count, islice
from threading import Lock
from typing import Final, Self

from practice import table
from practice.limits import KB
from practice.schemas.response import Response
from practice.schemas.turn import StoredTurn
from practice.store.branches import Node, ancestors, load, turn_of
from practice.store.views import View, is_live
from practice.table import keys

HISTORY_TURNS: Final = 200
"""Read for a history, at most, beside those among the newest responses of the session."""
HISTORY_BYTES: Final = 16 * 1024 * KB
"""The same for the answers, compressed. A model that has none keeps reading while the others have all that they take."""


class History:
    """The answers to a turn's ancestors, the newest first, read when one of its models takes them and then kept for all."""

    def __init__(self, answers: Iterator[table.Document]) -> None:
        self._left = answers
        self._read: list[table.Document] = []
        self._lock = Lock()
        self._failure: Exception | None = None

    @classmethod
    def before(cls, user_id: int, view: View, turn: StoredTurn) -> Self:
        """Of a turn."""
        session_id = view.session.session_id
        branch = ancestors(user_id, session_id, view.models, turn.turn_id, turn)
        return cls(_answers(user_id, view, branch, [each.session_model_id for each in turn.asked]))

    @classmethod
    def after(cls, user_id: int, view: View, node: Node | None, wanted: Collection[int]) -> Self:
        """Of a turn that is to follow this one and to ask the wanted models."""
        if node is None:
            return cls(iter(()))
        older = ancestors(user_id, view.session.session_id, view.models, node.turn_id, node.stored)
        return cls(_answers(user_id, view, chain([node.turn_id], older), wanted))

    def of_model(self, session_model_id: int) -> Iterator[Response]:
        for place in count():
            document = self._at(place)
            if document is None:
                return
            if keys.model_in(document.string("of_model")) == session_model_id:
                yield Response.model_validate_json(document.text)

    def _at(self, place: int) -> table.Document | None:
        with self._lock:
            if self._failure:
                raise self._failure
            try:
                self._read += islice(self._left, max(0, place + 1 - len(self._read)))
            except Exception as failure:
                self._failure = failure
                raise
            return self._read[place] if place < len(self._read) else None


def _answers(
    user_id: int, view: View, branch: Iterator[int], wanted: Collection[int]
) -> Iterator[table.Document]:
    """To the turns of a branch, the newest first.

    No request for what is among the newest responses of the session; two for every 25 turns before those.
    """
    by_turn: dict[int, list[table.Document]] = {}
    for document in view.live:
        by_turn.setdefault(turn_of(document), []).append(document)
    session_id = view.session.session_id
    oldest = keys.number_in(view.live[-1].key.sk) if view.live else keys.end_of(session_id)
    for turn_id in branch:
        yield from by_turn.get(turn_id, ())
        if turn_id < oldest:
            break
    else:
        return
    if view.is_complete:
        return
    models = {each.session_model_id for each in view.models.models}
    older = islice(chain([turn_id], branch), HISTORY_TURNS)
    left = HISTORY_BYTES
    for node in load(user_id, older, wanted, at_once=25):
        for document in reversed(node.answers):
            if is_live(document, models) and keys.number_in(document.key.sk) < oldest:
                yield document
        left -= sum(len(document.content) for document in node.answers)
        if left < 0:
            return
