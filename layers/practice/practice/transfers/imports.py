"""An export put back into an empty account: exactly as it was, apart from ids and owner.

`checking` has read every line, and `claims` holds the account. What is below a session is written before the session's own
items, or with them, so a session is seen whole or not at all.
"""

from collections.abc import Callable
from typing import Final

from practice import table
from practice.caller import Caller
from practice.schemas.rating import Rating
from practice.schemas.response import Response
from practice.schemas.session import OwnSession
from practice.schemas.session_model import StoredModels
from practice.schemas.settings import Link, StoredSettings
from practice.schemas.transfer import Counts
from practice.schemas.transfer_line import (
    DeletedTurnLine,
    ExampleLine,
    ResponseLine,
    SessionLine,
    TurnLine,
    VoteLine,
)
from practice.schemas.turn import AskedModel, StoredTurn, TurnError, TurnSettings, TurnStatus
from practice.schemas.vote import StoredVote
from practice.store import ratings, tallies, votes
from practice.store.examples import insertion as example_insertion
from practice.store.responses import of_model
from practice.store.sessions import insertion
from practice.store.turn_state import ERRORS
from practice.table import ids, keys
from practice.transfers.branches import Branches
from practice.transfers.checking import (
    Judged,
    Source,
    count_line,
    numbered_lines,
    stored_example,
    stored_models,
)
from practice.transfers.claims import MARK, Claim

_CHUNK_BYTES: Final = 1_500_000
_CHUNK_WRITES: Final = 60


def write(claim: Claim, source: Source, progress: Callable[[Counts], None]) -> None:
    """Writes a checked file into an account that is claimed and empty; reports after each transaction."""
    _Writer(claim, progress).write(source)


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
        self.judged: dict[int, Judged] = {}
        self.votes: list[StoredVote] = []
        """Those among what is pending: all of one class."""
        self.pending: list[table.Write] = []
        self.pending_bytes = 0
        self.added = {"examples": 0, "sessions": 0}
        self.head: list[table.Write] = []

    def write(self, source: Source) -> None:
        shift = 0
        session: SessionLine | None = None
        for _, line in numbered_lines(source()):
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
            count_line(self.counts, line)
        self._close_session()
        self._flush()

    def _example(self, line: ExampleLine) -> None:
        (example_id,) = ids.new_ids(1)
        self.example_ids[line.example_id] = example_id
        example = stored_example(line, example_id, user_id=self.caller.user_id)
        _, *puts = example_insertion(self.caller, example)
        self._later(puts, "examples")

    def _open_session(self, line: SessionLine, shift: int) -> None:
        """Its own items wait for all that is below it: until then no reader sees any of it."""
        self.turn_of, self.judged = {}, {}
        self.branches = Branches(stored_models(line, shift), line.session_id, shift)
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
            stored_models(line, shift),
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
            self.judged[line.turn_id] = Judged.of(line)
        errors = [
            TurnError(
                **error.model_dump(exclude={"session_model_id"}),
                session_model_id=error.session_model_id + shift,
            )
            for error in line.errors
        ]
        attributes: dict[str, table.Value | None] = {
            "status": table.text(line.status),
            "errors": table.text(ERRORS.dump_json(errors).decode()),
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
                one.params["Item"].update(MARK)
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
        added = {name: n for name, n in self.added.items() if n}
        if self.votes and (class_id := self.votes[0].class_id) is not None:
            self._commit_votes(class_id, added)
        else:
            self.claim.commit(*self.pending, **added)

    @table.optimistic
    def _commit_votes(self, class_id: int, added: dict[str, int]) -> None:
        """With what the votes add to the counts, which a sweep of other votes may change meanwhile."""
        counting = tallies.of_imported(self.caller.user_id, class_id, self.votes)
        self.claim.commit(*self.pending, *counting, **added)
