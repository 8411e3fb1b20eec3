"""An export put back into an empty account: exactly as it was, apart from ids and owner.

The account is claimed first, so nothing else is created meanwhile. Then every line is written, children before the
session that shows them. An import that dies leaves its claim behind; the next one waits for it to lapse, takes away what
it had written, and begins anew. So there is no half import that stays.
"""

import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from practice import table
from practice.caller import Caller
from practice.errors import AccountNotEmpty, ImportInProgress, Invalid, Problem
from practice.schemas.example import Example
from practice.schemas.json_text import parse_json
from practice.schemas.response import Response
from practice.schemas.session import OwnSession
from practice.schemas.session_model import StoredModel, StoredModels
from practice.schemas.settings import Link, StoredSettings
from practice.schemas.transfer import (
    LINE,
    Counts,
    ExampleLine,
    Header,
    Line,
    ResponseLine,
    SessionLine,
    TurnLine,
)
from practice.schemas.turn import AskedModel, StoredTurn, TurnError, TurnSettings, TurnStatus
from practice.store import accounts
from practice.store.examples import insertion as example_insertion
from practice.store.idempotency import IdempotentAttempt
from practice.store.responses import of_model
from practice.store.sessions import insertion
from practice.table import Versioned, ids, keys

Source = Callable[[], Iterable[str]]
"""Gives the lines of a file, from the first, as often as it is asked."""

_CHUNK_BYTES: Final = 1_500_000
_CHUNK_WRITES: Final = 50
_ERRORS: Final = TypeAdapter(list[TurnError])
_ENDED: Final = (TurnStatus.DONE, TurnStatus.FAILED, TurnStatus.CANCELLED)


def check(source: Source) -> Counts:
    """Reads every line, and writes nothing. Raises Invalid with the first line that does not fit."""
    counts = Counts()
    structure = _Structure()
    for number, line in _numbered(source()):
        structure.take(number, line)
        if isinstance(line, ExampleLine):
            counts.examples += 1
        elif isinstance(line, SessionLine):
            counts.sessions += 1
        elif isinstance(line, TurnLine):
            counts.turns += 1
        elif isinstance(line, ResponseLine):
            counts.responses += 1
    structure.end()
    return counts


def restore(
    caller: Caller, source: Source, counts: Counts, attempt: IdempotentAttempt, seconds: float
) -> None:
    """Writes what `check` found good. Raises AccountNotEmpty, or ImportInProgress while another import lives.

    `seconds` is how long this process can work on it at most.
    """
    claim = _claim(caller.user_id, seconds)
    _Writer(caller, claim).write(source)
    ending = table.update(
        keys.account(caller.user_id),
        set_to={"importing": None, "import_until": None},
        condition="#importing = :claim",
        values={":claim": table.text(claim)},
    )
    try:
        attempt.commit([ending], Versioned(counts, 1))
    except table.ConditionFailed as failed:
        if not _ended(failed.item or {}, counts):
            raise ImportInProgress from None


def _ended(account: table.Item, counts: Counts) -> bool:
    """Whether this import had ended when its ending was sent again, after a lost acknowledgement."""
    none = {"N": "0"}
    held = [int(account.get(name, none)["N"]) for name in ("sessions", "examples")]
    return "importing" not in account and held == [counts.sessions, counts.examples]


def _numbered(lines: Iterable[str]) -> Iterator[tuple[int, Line]]:
    for number, text in enumerate(lines, 1):
        if text.strip():
            yield number, _parsed(number, text)


def _parsed(number: int, text: str) -> Line:
    try:
        return LINE.validate_python(parse_json(text))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        # Of all that pydantic says, only this quotes what was sent.
        is_quoting = first["type"] == "union_tag_invalid"
        message = "The type of a line should be one that an export has" if is_quoting else first["msg"]
        raise _wrong(number, first["type"], message, *first["loc"]) from None
    except Invalid as invalid:
        raise _wrong(number, "json_invalid", str(invalid.problems[0]["msg"])) from None


def _wrong(number: int, kind: str, message: str, *where: str | int) -> Invalid:
    return Invalid([Problem(kind, ("body", number, *where), message)])


class _Structure:
    """What a line means depends on those before it: each must refer to what the file holds, in the order of time."""

    def __init__(self) -> None:
        self.is_begun = False
        self.examples: set[int] = set()
        self.sessions: set[int] = set()
        self.session: SessionLine | None = None
        self.last_turn = self.last_response = 0
        self.last_moment = ""

    def take(self, number: int, line: Line) -> None:
        if isinstance(line, Header) is self.is_begun:
            raise _wrong(number, "header", "The first line, and no other, should be the header")
        self.is_begun = True
        if isinstance(line, ExampleLine):
            if line.example_id in self.examples or self.session:
                raise _wrong(number, "order", "Examples should come first, and each once", "example_id")
            self.examples.add(line.example_id)
        elif isinstance(line, SessionLine):
            self._take_session(number, line)
        elif isinstance(line, TurnLine):
            self._take_turn(number, line)
        elif isinstance(line, ResponseLine):
            self._take_response(number, line)

    def end(self) -> None:
        if not self.is_begun:
            raise _wrong(1, "header", "The first line should be the header")

    def _take_session(self, number: int, line: SessionLine) -> None:
        first, end = line.session_id, keys.end_of(line.session_id)
        model_ids = [model.session_model_id for model in line.models]
        if keys.session_of(first) != first or first in self.sessions:
            raise _wrong(number, "id", "A session should have an id of its own", "session_id")
        if not first + 1 < line.next_id <= end or any(
            not first + 1 < each < line.next_id for each in model_ids
        ):
            raise _wrong(number, "id", "Models should be numbered from their session", "models")
        if sorted(set(model_ids)) != model_ids or len({model.model_name for model in line.models}) < len(
            model_ids
        ):
            raise _wrong(
                number, "order", "Models should come in the order of their ids, each name once", "models"
            )
        if sum(model.is_primary for model in line.models) != bool(line.models):
            raise _wrong(number, "primary", "Exactly one model should be primary", "models")
        for link in line.settings.few_shot_links:
            if link.example_id not in self.examples:
                raise _wrong(
                    number,
                    "example",
                    "A selected example should be in the file",
                    "settings",
                    "few_shot_links",
                )
        self.sessions.add(first)
        self.session = line
        self.last_turn = self.last_response = 0
        self.last_moment = ""

    def _take_turn(self, number: int, line: TurnLine) -> None:
        session = self._session(number)
        reserved = [asked.response_id for asked in line.asked]
        in_place = all(session.session_id < each < session.next_id for each in [line.turn_id, *reserved])
        if (
            not in_place
            or line.turn_id <= self.last_turn
            or self.last_response
            or reserved[0] != line.turn_id
        ):
            raise _wrong(
                number, "id", "Turns should follow their session, in the order of their ids", "turn_id"
            )
        if line.status not in _ENDED:
            raise _wrong(number, "status", "A turn should have ended", "status")
        self.last_turn = line.turn_id

    def _take_response(self, number: int, line: ResponseLine) -> None:
        session = self._session(number)
        if (
            not session.session_id < line.response_id < session.next_id
            or line.response_id <= self.last_response
        ):
            raise _wrong(
                number,
                "id",
                "Responses should follow their session, in the order of their ids",
                "response_id",
            )
        if line.created_at < self.last_moment:
            raise _wrong(number, "order", "Responses should be in the order of time", "created_at")
        if line.session_model_id not in {model.session_model_id for model in session.models}:
            raise _wrong(number, "id", "The model should be one of the session's", "session_model_id")
        self.last_response, self.last_moment = line.response_id, line.created_at

    def _session(self, number: int) -> SessionLine:
        if self.session is None:
            raise _wrong(number, "order", "A session should come before what is in it")
        return self.session


def _claim(user_id: int, seconds: float) -> str:
    """Only an account without sessions and examples can be claimed. One request; more to clear a dead import away."""
    claim = secrets.token_hex(8)
    now = int(time.time() * 1000)
    values = {":now": table.number(now), ":none": table.number(0)}
    until = table.number(now + int(seconds * 1000) + 2000)
    is_empty = " AND ".join(
        f"(attribute_not_exists(#{name}) OR #{name} = :none)" for name in ("sessions", "examples")
    )
    is_free = "attribute_not_exists(#erasing) AND attribute_not_exists(#importing)"
    is_dead = "attribute_not_exists(#erasing) AND #import_until < :now"
    set_to: dict[str, table.Value | None] = {
        "importing": table.text(claim),
        "import_until": until,
        "ttl": None,
    }
    key = keys.account(user_id)
    try:
        condition = f"({is_free} AND {is_empty}) OR ({is_dead})"
        before = table.write_returning_old(
            table.update(key, set_to=set_to, condition=condition, values=values)
        )
    except table.ConditionFailed as failed:
        before = failed.item or {}
        # Sent again after a lost acknowledgement, the request meets the claim it wrote itself.
        if before.get("importing") != table.text(claim):
            raise (ImportInProgress if "importing" in before else AccountNotEmpty) from None
    if "importing" in before:
        _clear(user_id, claim)
    return claim


def _clear(user_id: int, claim: str) -> None:
    """Takes away what a dead import wrote."""
    for span in keys.imported_of(user_id):
        while found := table.read_keys(span):
            for start in range(0, len(found), table.DELETIONS):
                table.delete_together(found[start : start + table.DELETIONS])
    none: dict[str, table.Value | None] = {"sessions": table.number(0), "examples": table.number(0)}
    mine = {":claim": table.text(claim)}
    try:
        table.write(
            table.update(keys.account(user_id), set_to=none, condition="#importing = :claim", values=mine)
        )
    except table.ConditionFailed:
        raise ImportInProgress from None


class _Writer:
    """Lines to transactions. Each one checks that the account is still claimed for this import."""

    def __init__(self, caller: Caller, claim: str) -> None:
        self.caller = caller
        self.claim = claim
        self.example_ids: dict[int, int] = {}
        self.turn_of: dict[int, int] = {}
        """By the id of a response, as the file has it."""
        self.pending: list[table.Write] = []
        self.pending_bytes = 0
        self.head: list[table.Write] = []

    def write(self, source: Source) -> None:
        shift = 0
        session: SessionLine | None = None
        for _, line in _numbered(source()):
            if isinstance(line, ExampleLine):
                self._example(line)
            elif isinstance(line, SessionLine):
                self._close_session()
                session, shift = line, ids.new_session_id() - line.session_id
                self._open_session(line, shift)
            elif isinstance(line, TurnLine) and session:
                self._turn(line, session, shift)
            elif isinstance(line, ResponseLine) and session:
                self._response(line, session, shift)
        self._close_session()

    def _example(self, line: ExampleLine) -> None:
        (example_id,) = ids.new_ids(1)
        self.example_ids[line.example_id] = example_id
        example = Example(
            **line.model_dump(exclude={"type", "example_id", "meta", "is_active"}),
            example_id=example_id,
            user_id=self.caller.user_id,
            meta=line.meta or {},
            is_active=line.is_active is not False,
        )
        _, *puts = example_insertion(self.caller, example)
        self._flush()
        self._commit([accounts.counted_by_import(self.caller.user_id, "examples", self.claim), *puts])

    def _open_session(self, line: SessionLine, shift: int) -> None:
        """Its own items wait until all that is below it stands: until then nobody sees any of it."""
        self.turn_of = {}
        session_id = line.session_id + shift
        session = OwnSession(
            **line.model_dump(include=set(OwnSession.model_fields) - {"session_id", "knowledge_ids"}),
            session_id=session_id,
            user_id=self.caller.user_id,
            knowledge_ids=line.knowledge_ids or [],
        )
        link_ids = iter(ids.new_ids(len(line.settings.few_shot_links)))
        settings = StoredSettings(
            **line.settings.model_dump(exclude={"few_shot_links"}),
            setting_id=session_id + 1,
            session_id=session_id,
            links=[
                Link(
                    id=next(link_ids),
                    example_id=self.example_ids[link.example_id],
                    sort_order=link.sort_order,
                    created_at=link.created_at,
                )
                for link in line.settings.few_shot_links
            ],
        )
        models = StoredModels(
            primary_id=next((each.session_model_id + shift for each in line.models if each.is_primary), None),
            models=[
                StoredModel(
                    **model.model_dump(exclude={"session_model_id", "is_primary"}),
                    session_model_id=model.session_model_id + shift,
                )
                for model in line.models
            ],
            deleted_names=line.deleted_model_names,
        )
        _, *puts = insertion(
            self.caller,
            session,
            settings,
            models,
            next_id=line.next_id + shift,
            active_at=line.active_at,
            answered=line.next_id - line.session_id,
            last_answered_at=line.last_answered_at,
        )
        self.head = [accounts.counted_by_import(self.caller.user_id, "sessions", self.claim), *puts]

    def _close_session(self) -> None:
        self._flush()
        if self.head:
            self._commit(self.head)
            self.head = []

    def _turn(self, line: TurnLine, session: SessionLine, shift: int) -> None:
        turn = StoredTurn(
            turn_id=line.turn_id + shift,
            session_id=session.session_id + shift,
            prompt_text=line.prompt_text,
            created_at=line.created_at,
            asked=[
                AskedModel(
                    **asked.model_dump(exclude={"session_model_id", "response_id"}),
                    session_model_id=asked.session_model_id + shift,
                    response_id=asked.response_id + shift,
                )
                for asked in line.asked
            ],
            settings=TurnSettings(
                **line.settings.model_dump(exclude={"few_shot_example_ids"}),
                few_shot_example_ids=[
                    self.example_ids[each]
                    for each in line.settings.few_shot_example_ids
                    if each in self.example_ids
                ],
            ),
        )
        self.turn_of |= {asked.response_id: turn.turn_id for asked in line.asked}
        errors = [
            error.model_copy(update={"session_model_id": error.session_model_id + shift})
            for error in line.errors
        ]
        attributes: dict[str, table.Value | None] = {
            "status": table.text(line.status),
            "errors": table.text(_ERRORS.dump_json(errors).decode()),
        }
        self._later(table.put(keys.turn(self.caller.user_id, turn.turn_id), turn, attributes=attributes))

    def _response(self, line: ResponseLine, session: SessionLine, shift: int) -> None:
        response = Response(
            **line.model_dump(exclude={"type", "response_id", "session_model_id"}),
            response_id=line.response_id + shift,
            session_model_id=line.session_model_id + shift,
            session_id=session.session_id + shift,
        )
        turn_id = self.turn_of.get(line.response_id)
        # Marked, since it is no new turn: nobody is told of it, and no title follows from it.
        attributes = of_model(response) | {
            "imported": table.number(1),
            "turn": table.number(turn_id) if turn_id else None,
        }
        key = keys.response(self.caller.user_id, response.response_id)
        self._later(table.put(key, response, attributes=attributes))

    def _later(self, writes: list[table.Write]) -> None:
        size = table.size_of(writes)
        if self.pending and (
            self.pending_bytes + size > _CHUNK_BYTES or len(self.pending) + len(writes) > _CHUNK_WRITES
        ):
            self._flush()
        self.pending += writes
        self.pending_bytes += size

    def _flush(self) -> None:
        if self.pending:
            claimed: dict[str, Any] = {":claim": table.text(self.claim)}
            self._commit(
                [
                    table.check(keys.account(self.caller.user_id), "#importing = :claim", claimed),
                    *self.pending,
                ]
            )
            self.pending, self.pending_bytes = [], 0

    def _commit(self, writes: list[table.Write]) -> None:
        try:
            table.write(*writes)
        except table.ConditionFailed as failed:
            if failed.index == 0:
                raise ImportInProgress from None
            raise
