"""Every line of a file to import is checked against the types of an export, and against the lines before it.

Nothing is read from the table and nothing is written. Ids are those of the file.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from pydantic import ValidationError

from practice import limits
from practice.errors import Invalid, Problem, TooManyComparedModels
from practice.schemas.example import Example
from practice.schemas.json_text import parse_json
from practice.schemas.session_model import StoredModel, StoredModels
from practice.schemas.transfer import Counts
from practice.schemas.transfer_line import (
    LINE,
    AskedLine,
    DeletedTurnLine,
    ExampleLine,
    Header,
    Line,
    ResponseLine,
    SessionLine,
    TurnLine,
    VoteLine,
)
from practice.schemas.turn import IN_PROGRESS
from practice.schemas.vote import JudgedAnswer, StoredVote
from practice.store import tallies
from practice.table import keys

Source = Callable[[], Iterable[str]]
"""Gives the lines of a file, from the first, as often as it is asked."""


def check(source: Source) -> Counts:
    """Reads every line, and writes nothing. Raises Invalid with the first line that does not fit."""
    counts = Counts()
    structure = _Structure()
    for number, line in numbered_lines(source()):
        structure.take(number, line)
        count_line(counts, line)
    structure.end()
    return counts


def count_line(counts: Counts, line: Line) -> None:
    if isinstance(line, ExampleLine):
        counts.examples += 1
    elif isinstance(line, SessionLine):
        counts.sessions += 1
    elif isinstance(line, TurnLine):
        counts.turns += 1
    elif isinstance(line, ResponseLine):
        counts.responses += 1


def numbered_lines(lines: Iterable[str]) -> Iterator[tuple[int, Line]]:
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


class Judged(NamedTuple):
    """What a vote needs of its turn; ids are those of the file."""

    class_id: int | None
    asked: dict[int, tuple[int, str]]
    """The id and name of each model, by the response that it gave."""

    @classmethod
    def of(cls, line: TurnLine) -> "Judged":
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


def stored_example(line: ExampleLine, example_id: int, user_id: int) -> Example:
    return Example(
        **line.model_dump(exclude={"type", "example_id", "meta", "is_active"}),
        example_id=example_id,
        user_id=user_id,
        meta=line.meta or {},
        is_active=line.is_active is not False,
    )


def stored_models(line: SessionLine, shift: int) -> StoredModels:
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
        self.judged: dict[int, Judged] = {}
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
            self.examples[line.example_id] = stored_example(line, line.example_id, user_id=0).shares()
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
        models = stored_models(line, 0)
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
        is_in_place = line.turn_id > self.last_turn and not self.last_response and not self.last_vote
        in_a_row = list(range(line.turn_id, line.turn_id + len(reserved)))
        if not is_in_place or reserved != in_a_row or not self._are_free(session, reserved):
            message = "Turns should follow their session, in the order of their ids, which are those of their answers"
            raise _wrong(number, "id", message, "turn_id")
        if line.created_at > session.last_answered_at:
            raise _wrong(number, "order", "No turn should be later than `last_answered_at`", "created_at")
        self.last_turn = reserved[-1]
        self.turns.add(line.turn_id)
        if isinstance(line, DeletedTurnLine):
            self.deleted.add(line.turn_id)
            return
        if line.status in IN_PROGRESS:
            raise _wrong(number, "status", "A turn should have ended", "status")
        asked = [each.session_model_id for each in line.asked]
        if len({*asked}) < len(asked) or not self._are_models(session, asked):
            raise _wrong(number, "id", "Models should be numbered from their session, each once", "asked")
        if not self._are_named(line.asked):
            message = "Models should have the names that they have in their session, each once"
            raise _wrong(number, "model", message, "asked")
        failed = [each.session_model_id for each in line.errors]
        if len({*failed}) < len(failed) or not {*failed} <= {*asked}:
            raise _wrong(number, "id", "Errors should be of models that were asked, each once", "errors")
        self.asked |= zip(reserved, asked, strict=True)
        if len(asked) > 1:
            self.judged[line.turn_id] = Judged.of(line)

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

    def _are_named(self, asked: list[AskedLine]) -> bool:
        """A deleted model may have had any name."""
        names = {each.model_name for each in asked}
        known = self.model_names
        return len(names) == len(asked) and all(
            known.get(each.session_model_id, each.model_name) == each.model_name for each in asked
        )

    def _session(self, number: int) -> SessionLine:
        if self.session is None:
            raise _wrong(number, "order", "A session should come before what is in it")
        return self.session
