"""An export put back into an empty account: exactly as it was, apart from ids and owner.

`check` reads every line and writes nothing. An import then claims the account, so that nothing else is created meanwhile,
and each of its transactions extends the claim. What is below a session is written before the session's own items, or with
them, so a session is seen whole or not at all.

Every item that an import writes is marked. A claim that is not extended lapses: the account is free again, and the next
import that claims it, the same one or another, first deletes the marked items. All of them are of imports that failed,
since the first of these imports found the account empty.
"""

import secrets
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from pydantic import TypeAdapter, ValidationError

from practice import limits, table
from practice.caller import Caller
from practice.errors import (
    AccountNotEmpty,
    ImportInProgress,
    Invalid,
    Problem,
    TooManyComparedModels,
    Unauthorized,
)
from practice.runtime.deadline import Deadline
from practice.schemas.base import DEFERRED
from practice.schemas.example import Example
from practice.schemas.json_text import parse_json
from practice.schemas.rating import Rating
from practice.schemas.response import Response
from practice.schemas.session import OwnSession
from practice.schemas.session_model import StoredModel, StoredModels
from practice.schemas.settings import Link, StoredSettings
from practice.schemas.transfer import (
    LINE,
    Counts,
    DeletedTurnLine,
    ExampleLine,
    Header,
    Line,
    ResponseLine,
    SessionLine,
    TurnLine,
    VoteLine,
)
from practice.schemas.turn import AskedModel, StoredTurn, TurnError, TurnSettings, TurnStatus
from practice.schemas.vote import JudgedAnswer, StoredVote
from practice.store import accounts, ratings, sweeps, tallies, votes
from practice.store.examples import insertion as example_insertion
from practice.store.responses import of_model
from practice.store.sessions import insertion
from practice.table import ids, keys
from practice.transfers.branches import Branches

Source = Callable[[], Iterable[str]]
"""Gives the lines of a file, from the first, as often as it is asked."""

CLAIM_SECONDS: Final = 60.0
"""How long an import that does not go on keeps the account."""
_CHUNK_BYTES: Final = 1_500_000
_CHUNK_WRITES: Final = 60
_DELETIONS: Final = 20
"""Items that one transaction deletes with their count."""
_MARK: Final = {"imported": table.number(1)}
_MARKED: Final = "attribute_exists(#imported)"
_ERRORS: Final = TypeAdapter(list[TurnError], config=DEFERRED)
_ENDED: Final = (TurnStatus.DONE, TurnStatus.FAILED, TurnStatus.CANCELLED)


def check(source: Source) -> Counts:
    """Reads every line, and writes nothing. Raises Invalid with the first line that does not fit."""
    counts = Counts()
    structure = _Structure()
    for number, line in _numbered(source()):
        structure.take(number, line)
        _count(counts, line)
    structure.end()
    return counts


def _count(counts: Counts, line: Line) -> None:
    if isinstance(line, ExampleLine):
        counts.examples += 1
    elif isinstance(line, SessionLine):
        counts.sessions += 1
    elif isinstance(line, TurnLine):
        counts.turns += 1
    elif isinstance(line, ResponseLine):
        counts.responses += 1


def _numbered(lines: Iterable[str]) -> Iterator[tuple[int, Line]]:
    for number, text in enumerate(lines, 1):
        if text.strip():
            yield number, _parsed(number, text)


def _parsed(number: int, text: str) -> Line:
    try:
        return LINE.validate_python(parse_json(text))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        # Of pydantic's messages only this one quotes what was sent.
        is_quoting = first["type"] == "union_tag_invalid"
        message = "The type of a line should be one that an export has" if is_quoting else first["msg"]
        raise _wrong(number, first["type"], message, *first["loc"][1:]) from None
    except Invalid as invalid:
        raise _wrong(number, "json_invalid", str(invalid.problems[0]["msg"])) from None


def _wrong(number: int, kind: str, message: str, *where: str | int) -> Invalid:
    return Invalid([Problem(kind, ("body", number, *where), message)])


class _Judged(NamedTuple):
    """What a vote needs of its turn; ids are those of the file."""

    class_id: int | None
    asked: dict[int, tuple[int, str]]
    """The id and name of each model, by the response that it gave."""

    @classmethod
    def of(cls, line: TurnLine) -> "_Judged":
        asked = {each.response_id: (each.session_model_id, each.model_name) for each in line.asked}
        return cls(line.class_id, asked)

    def vote(self, line: VoteLine, shift: int) -> StoredVote:
        """Its ids are written `shift` higher."""
        answers = []
        for each in line.answers:
            session_model_id, model_name = self.asked[each.response_id]
            answers.append(
                JudgedAnswer(
                    label=each.label,
                    response_id=each.response_id + shift,
                    model_name=model_name,
                    session_model_id=session_model_id + shift,
                )
            )
        return StoredVote(
            **line.model_dump(include={"blind", "tie", "created_at", "updated_at"}),
            turn_id=line.turn_id + shift,
            class_id=self.class_id,
            winner=line.winner + shift if line.winner else None,
            answers=answers,
            imported=True,
        )


class _Structure:
    """What a line means depends on those before it: each must refer to what the file holds, in the order of time.

    What the lines of a session make together stays within the bounds that the API sets for it.
    """

    def __init__(self) -> None:
        self.is_begun = False
        self.examples: dict[int, int] = {}
        """The bytes that each takes in an answer."""
        self.sessions: set[int] = set()
        self.session: SessionLine | None = None
        self.model_names: dict[int, str] = {}
        self.asked: dict[int, int] = {}
        """The models that turns asked, by the ids of the responses they were to give."""
        self.turns: set[int] = set()
        self.deleted: set[int] = set()
        self.answers: set[int] = set()
        """The responses that are those of turns."""
        self.judged: dict[int, _Judged] = {}
        """The turns that asked several models."""
        self.compared: dict[int, tallies.ComparedModels] = {}
        """By class."""
        self.last_turn = self.last_response = self.last_vote = 0
        self.last_moment = ""

    def take(self, number: int, line: Line) -> None:
        if isinstance(line, Header) is self.is_begun:
            raise _wrong(number, "header", "The first line, and no other, should be the header")
        self.is_begun = True
        if isinstance(line, ExampleLine):
            if line.example_id in self.examples or self.session:
                raise _wrong(number, "order", "Examples should come first, and each once", "example_id")
            self.examples[line.example_id] = _example(line, line.example_id, user_id=0).shares()
        elif isinstance(line, SessionLine):
            self._take_session(number, line)
        elif isinstance(line, TurnLine | DeletedTurnLine):
            self._take_turn(number, line)
        elif isinstance(line, ResponseLine):
            self._take_response(number, line)
        elif isinstance(line, VoteLine):
            self._take_vote(number, line)

    def end(self) -> None:
        if not self.is_begun:
            raise _wrong(1, "header", "The first line should be the header")

    def _take_session(self, number: int, line: SessionLine) -> None:
        first, end = line.session_id, keys.end_of(line.session_id)
        if keys.session_of(first) != first or first in self.sessions or end > limits.MAX_ID:
            raise _wrong(number, "id", "A session should have an id of its own", "session_id")
        if not first + 1 < line.next_id <= end:
            raise _wrong(number, "id", "The next id should be one of the session's", "next_id")
        self._take_models(number, line)
        self._take_selection(number, line)
        self.sessions.add(first)
        self.session = line
        self.model_names = {model.session_model_id: model.model_name for model in line.models}
        self.asked = {}
        self.turns, self.deleted, self.answers, self.judged = set(), set(), set(), {}
        self.last_turn = self.last_response = self.last_vote = 0
        self.last_moment = ""

    def _take_models(self, number: int, line: SessionLine) -> None:
        model_ids = [model.session_model_id for model in line.models]
        if any(not line.session_id + 1 < each < line.next_id for each in model_ids):
            raise _wrong(number, "id", "Models should be numbered from their session", "models")
        names = [model.model_name for model in line.models]
        if sorted(set(model_ids)) != model_ids or len({*names}) < len(names):
            message = "Models should come in the order of their ids, each name once"
            raise _wrong(number, "order", message, "models")
        if not {*names}.isdisjoint(line.deleted_model_names):
            raise _wrong(
                number, "order", "A deleted model should be none of the models", "deleted_model_names"
            )
        if sum(model.is_primary for model in line.models) != bool(line.models):
            raise _wrong(number, "primary", "Exactly one model should be primary", "models")
        models = _models(line, 0)
        if len(models.model_dump_json().encode()) > limits.MODELS_BYTES:
            message = f"All models together should have at most {limits.MODELS_BYTES} bytes as JSON"
            raise _wrong(number, "too_long", message, "models")

    def _take_selection(self, number: int, line: SessionLine) -> None:
        links = line.settings.few_shot_links
        place = ("settings", "few_shot_links")
        selected = [link.example_id for link in links]
        if any(each not in self.examples for each in selected):
            raise _wrong(number, "example", "A selected example should be in the file", *place)
        if len({*selected}) < len(selected):
            raise _wrong(number, "example", "An example should be selected once", *place)
        orders = [link.sort_order for link in links]
        if sorted({*orders}) != orders:
            raise _wrong(number, "order", "Selected examples should come in their order", *place)
        if sum(self.examples[each] for each in selected) > limits.SELECTED_EXAMPLES:
            message = (
                f"The selected examples should have at most {limits.SELECTION_BYTES} bytes as JSON together"
            )
            raise _wrong(number, "too_long", message, *place)

    def _take_turn(self, number: int, line: TurnLine | DeletedTurnLine) -> None:
        session = self._session(number)
        reserved = [line.turn_id]
        if isinstance(line, TurnLine):
            reserved = [asked.response_id for asked in line.asked]
        self._check_after(number, line, session)
        is_in_place = (
            line.turn_id == reserved[0] > self.last_turn and not self.last_response and not self.last_vote
        )
        if not is_in_place or reserved != sorted({*reserved}) or not self._are_free(session, reserved):
            message = "Turns should follow their session, in the order of their ids"
            raise _wrong(number, "id", message, "turn_id")
        if line.created_at > session.last_answered_at:
            raise _wrong(number, "order", "No turn should be later than `last_answered_at`", "created_at")
        self.last_turn = reserved[-1]
        self.turns.add(line.turn_id)
        if isinstance(line, DeletedTurnLine):
            self.deleted.add(line.turn_id)
            return
        if line.status not in _ENDED:
            raise _wrong(number, "status", "A turn should have ended", "status")
        asked = [each.session_model_id for each in line.asked]
        if len({*asked}) < len(asked) or not self._are_models(session, asked):
            raise _wrong(number, "id", "Models should be numbered from their session, each once", "asked")
        failed = [each.session_model_id for each in line.errors]
        if len({*failed}) < len(failed) or not {*failed} <= {*asked}:
            raise _wrong(number, "id", "Errors should be of models that were asked, each once", "errors")
        self.asked |= zip(reserved, asked, strict=True)
        if len(asked) > 1:
            self.judged[line.turn_id] = _Judged.of(line)

    def _check_after(self, number: int, line: TurnLine | DeletedTurnLine, session: SessionLine) -> None:
        """An id that nothing in the file has is that of a response which was deleted."""
        after = line.after_turn_id
        if after is None:
            return
        is_answer = after in self.asked and after not in self.turns
        if after >= line.turn_id or is_answer or not self._are_free(session, [after]):
            message = "A turn should follow an earlier one of its session"
            raise _wrong(number, "id", message, "after_turn_id")

    def _take_response(self, number: int, line: ResponseLine) -> None:
        session = self._session(number)
        is_free = self._are_free(session, [line.response_id]) and line.response_id not in self.deleted
        if line.response_id <= self.last_response or self.last_vote or not is_free:
            message = "Responses should follow their session, in the order of their ids"
            raise _wrong(number, "id", message, "response_id")
        if not self.last_moment <= line.created_at <= session.last_answered_at:
            message = "Responses should be in the order of time, up to `last_answered_at`"
            raise _wrong(number, "order", message, "created_at")
        asked = self.asked.get(line.response_id, line.session_model_id)
        if line.session_model_id not in self.model_names or asked != line.session_model_id:
            raise _wrong(number, "id", "The model should be one of the session's", "session_model_id")
        if line.model_name != self.model_names[line.session_model_id]:
            raise _wrong(number, "model", "The name should be that of the session's model", "model_name")
        self.last_response, self.last_moment = line.response_id, line.created_at
        if line.response_id in self.asked:
            self.answers.add(line.response_id)

    def _take_vote(self, number: int, line: VoteLine) -> None:
        self._session(number)
        turn = self.judged.get(line.turn_id)
        if turn is None or line.turn_id <= self.last_vote:
            message = (
                "Votes should follow their session's responses, in the order of their turns of several models"
            )
            raise _wrong(number, "id", message, "turn_id")
        self.last_vote = line.turn_id
        labels = [each.label for each in line.answers]
        if sorted({*labels}) != labels:
            raise _wrong(
                number, "order", "Answers should come in the order of their labels, each once", "answers"
            )
        named = {each.response_id for each in line.answers}
        names = {turn.asked[each][1] for each in named & turn.asked.keys()}
        if len(names) < len(line.answers) or not named <= self.answers:
            message = "Answers should be responses of the turn, each model once"
            raise _wrong(number, "id", message, "answers")
        if (line.winner is None) is (line.tie is None):
            raise _wrong(number, "one_choice", "A vote should have either a winner or a tie", "winner")
        if line.winner is not None and line.winner not in named:
            raise _wrong(number, "id", "The winner should be one of the answers", "winner")
        if turn.class_id is not None:
            try:
                self.compared.setdefault(turn.class_id, tallies.ComparedModels()).add(turn.vote(line, 0))
            except TooManyComparedModels:
                message = "The votes of a class should not compare more models than the API allows"
                raise _wrong(number, "too_long", message, "answers") from None

    def _are_free(self, session: SessionLine, numbers: list[int]) -> bool:
        """Ids of the session's that none of its models has."""
        first, end = session.session_id + 1, session.next_id
        return all(first < each < end and each not in self.model_names for each in numbers)

    @staticmethod
    def _are_models(session: SessionLine, numbers: list[int]) -> bool:
        """Models of the session, deleted ones too."""
        return all(session.session_id + 1 < each < session.next_id for each in numbers)

    def _session(self, number: int) -> SessionLine:
        if self.session is None:
            raise _wrong(number, "order", "A session should come before what is in it")
        return self.session


# The claim


class Claim(NamedTuple):
    """The account is this import's for as long as it goes on."""

    user_id: int
    token: str

    def extended(self, **counted: int) -> table.Write:
        """The first write of each of its transactions; fails once the claim has lapsed, or is another's."""
        return table.update(
            keys.account(self.user_id),
            set_to={"import_until": table.ms_from_now(CLAIM_SECONDS)},
            add=counted,
            condition=_HELD,
            values=self._values(),
        )

    def released(self) -> table.Write:
        """The same; it ends the claim."""
        return table.update(
            keys.account(self.user_id),
            set_to={"importing": None, "import_until": None},
            condition=_HELD,
            values=self._values(),
        )

    def _values(self) -> dict[str, table.Value]:
        return {":claim": table.text(self.token), ":now": table.ms_from_now()}

    def commit(self, *writes: table.Write, **counted: int) -> None:
        """Raises ImportInProgress when the claim is lost."""
        try:
            table.write(self.extended(**counted), *writes)
        except table.ConditionFailed as failed:
            if failed.index == 0:
                raise ImportInProgress from None
            raise

    def release(self) -> None:
        try:
            table.write(self.released())
        except table.ConditionFailed:
            return

    def lapse(self) -> None:
        """Frees the account and leaves what is written to the next claim, which deletes it."""
        lapsed: dict[str, table.Value | None] = {"import_until": table.number(0)}
        mine = {":claim": table.text(self.token)}
        key = keys.account(self.user_id)
        try:
            table.write(table.update(key, set_to=lapsed, condition="#importing = :claim", values=mine))
        except table.ConditionFailed:
            return


_HELD: Final = "#importing = :claim AND #import_until >= :now"


def accept(account: table.Document | None) -> None:
    """Raises AccountNotEmpty, or ImportInProgress while another import is at work. What a dead import left may be there."""
    item = account.item if account else {}
    if accounts.importing(item):
        raise ImportInProgress
    if "importing" not in item and not is_empty(account):
        raise AccountNotEmpty


def accept_cleared(account: table.Document | None) -> None:
    """Raises AccountNotEmpty for what was created after a dead import's claim had lapsed."""
    if not is_empty(account):
        raise AccountNotEmpty


def claim(user_id: int, transfer_id: int) -> Claim:
    """Two requests. Raises as `accept` does, and Unauthorized once the user was erased. What is claimed is to be cleared."""
    mine = Claim(user_id, f"{transfer_id}.{secrets.token_hex(8)}")
    for _ in table.attempts():
        account = accounts.read(user_id)
        item = account.item if account else {}
        if item.get("importing") == table.text(mine.token):
            return mine  # written by a request whose acknowledgement was lost
        accept(account)
        condition, values = f"attribute_not_exists(#importing) AND {_EMPTY}", {":none": table.number(0)}
        if "importing" in item:
            condition = "#importing = :dead AND #import_until < :now"
            values = {":dead": item["importing"], ":now": table.ms_from_now()}
        taken = table.update(
            keys.account(user_id),
            set_to={
                "importing": table.text(mine.token),
                "import_until": table.ms_from_now(CLAIM_SECONDS),
                "ttl": None,
            },
            condition=f"attribute_not_exists(#erasing) AND {condition}",
            values=values,
        )
        # The job was begun with a token that an erasure had not refused, and an erasure deletes it.
        is_begun = table.check(keys.transfer(user_id, transfer_id), "attribute_exists(#pk)")
        try:
            table.write(taken, is_begun)
        except table.ConditionFailed as failed:
            if failed.index == 1 or "erasing" in (failed.item or {}):
                raise Unauthorized("the user was erased since the import was begun") from None
            continue
        return mine
    raise AssertionError("attempts() ends by raising")


_EMPTY: Final = " AND ".join(
    f"(attribute_not_exists(#{name}) OR #{name} = :none)" for name in ("sessions", "examples")
)


def is_empty(account: table.Document | None) -> bool:
    return not any(accounts.total(account, name) for name in ("sessions", "examples"))


def clear(claim: Claim, deadline: Deadline, most: int | None = None) -> bool:
    """Deletes what dead imports wrote; False when there is more than `most` pieces, or no time is left.

    May die anywhere and be begun again.
    """
    for pieces, _ in enumerate(_cleared(claim), 1):
        if not deadline.remaining() or (most is not None and pieces >= most):
            return False
    return True


def _cleared(claim: Claim) -> Iterator[None]:
    examples: list[keys.Key] = []
    for document in table.read_filtered(keys.examples_of(claim.user_id), _MARKED, {}):
        examples.append(document.key)
        if len(examples) == _DELETIONS:
            _delete_counted(claim, "examples", examples)
            examples = []
            yield
    if examples:
        _delete_counted(claim, "examples", examples)
        yield
    last = 0
    for document in table.read_filtered(keys.sessions_of(claim.user_id), _MARKED, {}):
        session_id = keys.session_id_in(document.key.sk)
        if session_id == last:
            continue
        last = session_id
        _delete_counted(claim, "sessions", [keys.session(claim.user_id, session_id)])
        for _ in sweeps.session(claim.user_id, session_id):
            claim.commit()
            yield


def _delete_counted(claim: Claim, name: str, found: list[keys.Key]) -> None:
    """Those of them that are there; a user may delete what a dead import left."""
    try:
        claim.commit(*(table.delete(key, "attribute_exists(#pk)") for key in found), **{name: -len(found)})
    except table.ConditionFailed:
        if len(found) > 1:
            for key in found:
                _delete_counted(claim, name, [key])


# Writing


def write(claim: Claim, source: Source, progress: Callable[[Counts], None]) -> None:
    """Writes a file that `check` accepted into an account that is claimed and empty; reports after each transaction."""
    _Writer(claim, progress).write(source)


def _example(line: ExampleLine, example_id: int, user_id: int) -> Example:
    return Example(
        **line.model_dump(exclude={"type", "example_id", "meta", "is_active"}),
        example_id=example_id,
        user_id=user_id,
        meta=line.meta or {},
        is_active=line.is_active is not False,
    )


class _Writer:
    """Lines to transactions."""

    def __init__(self, claim: Claim, progress: Callable[[Counts], None]) -> None:
        self.caller = Caller(claim.user_id)
        self.claim = claim
        self.progress = progress
        self.counts = Counts()
        self.example_ids: dict[int, int] = {}
        self.turn_of: dict[int, int] = {}
        """By the id of a response, both as the file has them."""
        self.branches = Branches(StoredModels(), 0, 0)
        self.judged: dict[int, _Judged] = {}
        self.votes: list[StoredVote] = []
        """Those among what is pending: all of one class."""
        self.pending: list[table.Write] = []
        self.pending_bytes = 0
        self.added = {"examples": 0, "sessions": 0}
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
            elif isinstance(line, DeletedTurnLine) and session:
                self._deleted_turn(line, session, shift)
            elif isinstance(line, ResponseLine) and session:
                self._response(line, session, shift)
            elif isinstance(line, VoteLine):
                self._vote(self.judged[line.turn_id].vote(line, shift))
            _count(self.counts, line)
        self._close_session()
        self._flush()

    def _example(self, line: ExampleLine) -> None:
        (example_id,) = ids.new_ids(1)
        self.example_ids[line.example_id] = example_id
        example = _example(line, example_id, user_id=self.caller.user_id)
        _, *puts = example_insertion(self.caller, example)
        self._later(puts, "examples")

    def _open_session(self, line: SessionLine, shift: int) -> None:
        """Its own items wait for all that is below it: until then no reader sees any of it."""
        self.turn_of, self.judged = {}, {}
        self.branches = Branches(_models(line, shift), line.session_id, shift)
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
        _, *self.head = insertion(
            self.caller,
            session,
            settings,
            _models(line, shift),
            next_id=line.next_id + shift,
            active_at=line.active_at,
            answered=line.next_id - line.session_id,
            last_answered_at=line.last_answered_at,
        )

    def _close_session(self) -> None:
        if self.head:
            for row in self.branches.rows(self.caller.user_id):
                self._later([row])
            self._later(self.head, "sessions")
            self.head = []

    def _turn(self, line: TurnLine, session: SessionLine, shift: int) -> None:
        turn = StoredTurn(
            turn_id=line.turn_id + shift,
            session_id=session.session_id + shift,
            class_id=line.class_id,
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
            after_turn_id=line.after_turn_id + shift if line.after_turn_id else None,
            ancestry=self.branches.add(line),
        )
        self.turn_of |= {asked.response_id: line.turn_id for asked in line.asked}
        if len(line.asked) > 1:
            self.judged[line.turn_id] = _Judged.of(line)
        errors = [
            TurnError(
                **error.model_dump(exclude={"session_model_id"}),
                session_model_id=error.session_model_id + shift,
            )
            for error in line.errors
        ]
        attributes: dict[str, table.Value | None] = {
            "status": table.text(line.status),
            "errors": table.text(_ERRORS.dump_json(errors).decode()),
        }
        self._later(table.put(keys.turn(self.caller.user_id, turn.turn_id), turn, attributes=attributes))

    def _deleted_turn(self, line: DeletedTurnLine, session: SessionLine, shift: int) -> None:
        turn = StoredTurn(
            turn_id=line.turn_id + shift,
            session_id=session.session_id + shift,
            prompt_text="",
            created_at=line.created_at,
            asked=[],
            settings=TurnSettings.nothing(),
            after_turn_id=line.after_turn_id + shift if line.after_turn_id else None,
            ancestry=self.branches.add(line),
            is_deleted=True,
        )
        attributes = {"status": table.text(TurnStatus.DONE), "errors": table.text("[]")}
        self._later(table.put(keys.turn(self.caller.user_id, turn.turn_id), turn, attributes=attributes))

    def _response(self, line: ResponseLine, session: SessionLine, shift: int) -> None:
        response = Response(
            **line.model_dump(exclude={"type", "response_id", "session_model_id", "rating"}),
            response_id=line.response_id + shift,
            session_model_id=line.session_model_id + shift,
            session_id=session.session_id + shift,
        )
        turn_id = self.turn_of.get(line.response_id)
        attributes = of_model(response)
        if turn_id:
            attributes["turn"] = table.number(turn_id + shift)
            self.branches.count_answer(turn_id, response.session_model_id)
            attributes |= self.branches.attributes(turn_id)
        puts: list[table.Write] = []
        if line.rating:
            attributes |= ratings.MARK
            rating = Rating(
                **line.rating.model_dump(exclude={"tags"}),
                response_id=response.response_id,
                tags=line.rating.tags or [],
            )
            puts = ratings.item(self.caller.user_id, response, rating)
        key = keys.response(self.caller.user_id, response.response_id)
        self._later([*table.put(key, response, attributes=attributes), *puts])

    def _vote(self, vote: StoredVote) -> None:
        if self.votes and self.votes[0].class_id != vote.class_id:
            self._flush()
        self._later(votes.of_imported(self.caller.user_id, vote))
        self.votes.append(vote)

    def _later(self, writes: list[table.Write], counted: str | None = None) -> None:
        """In one transaction with what is pending, or in the next. Marked: an import that dies is deleted by its marks, and
        a response that came this way is no new turn."""
        for one in writes:
            if "v" in one.params["Item"]:  # which a part has not
                one.params["Item"].update(_MARK)
        size = table.size_of(writes)
        if self.pending and (
            self.pending_bytes + size > _CHUNK_BYTES or len(self.pending) + len(writes) > _CHUNK_WRITES
        ):
            self._flush()
        self.pending += writes
        self.pending_bytes += size
        if counted:
            self.added[counted] += 1

    def _flush(self) -> None:
        if self.pending:
            self._commit()
            self.pending, self.pending_bytes, self.votes = [], 0, []
            self.added = dict.fromkeys(self.added, 0)
            self.progress(self.counts)

    def _commit(self) -> None:
        """With what the votes add to the counts, which a sweep of other votes may change meanwhile."""
        added = {name: n for name, n in self.added.items() if n}
        class_id = self.votes[0].class_id if self.votes else None
        if class_id is None:
            self.claim.commit(*self.pending, **added)
            return
        for _ in table.attempts():
            counting = tallies.of_imported(self.caller.user_id, class_id, self.votes)
            try:
                self.claim.commit(*self.pending, *counting, **added)
            except table.ConditionFailed:
                continue
            return
        raise AssertionError("attempts() ends by raising")


def _models(line: SessionLine, shift: int) -> StoredModels:
    return StoredModels(
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
