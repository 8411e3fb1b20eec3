"""Votes: the blind view of a turn, cast, read, withdraw.

A turn's vote is an item beside it. A vote that was withdrawn leaves the item without a document, so that it stays known that
the models of this turn were revealed. The transaction that writes a vote checks that every answer it names is there, and the
one that deletes an answer checks that no vote names it: a vote goes with the first of its answers.
"""

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from practice import table
from practice.caller import Caller
from practice.errors import (
    Invalid,
    Problem,
    SessionNotFound,
    TooFewAnswers,
    TooManyAnswers,
    TurnNotFinished,
    TurnNotFound,
    VoteNotFound,
)
from practice.runtime import clock
from practice.runtime.config import config
from practice.runtime.secrets import secret
from practice.schemas.ballot import BlindAnswer, BlindTurn, NewVote
from practice.schemas.session_model import StoredModels
from practice.schemas.turn import IN_PROGRESS, AskedModel, StoredTurn, TurnStatus
from practice.schemas.vote import LABELS, JudgedAnswer, StoredVote, Vote
from practice.store import accounts
from practice.store.paging import Pager
from practice.store.turn_state import build_state
from practice.store.views import live_responses
from practice.store.withdrawals import counting, stored, withdrawal
from practice.table import ExpectedVersions, Versioned, keys


@dataclass(frozen=True, slots=True)
class _Judged:
    """A turn that has ended, with what is needed to judge it."""

    turn: StoredTurn
    models: StoredModels
    labelled: list[tuple[str, AskedModel]]
    """The answers that it settled with, by label; some may be deleted."""
    vote: table.Document | None
    is_imported: bool
    is_shown_unanswered: bool
    """It failed, was cancelled, or has errors: it stays in sight without an answer."""

    def too_few(self, answers: int) -> TooFewAnswers | TurnNotFound:
        return TooFewAnswers() if answers or self.is_shown_unanswered else TurnNotFound()


def blind_view(
    caller: Caller, session_id: int, turn_id: int, pager: Pager, cursor: str | None = None
) -> BlindTurn:
    """Two requests."""
    after = "" if cursor is None else pager.position(cursor, "blind", turn_id)
    judged = _read(caller.user_id, session_id, turn_id)
    found = table.fetch(keys.response(caller.user_id, asked.response_id) for _, asked in judged.labelled)
    texts = {
        response.response_id: response.response_text
        for response in live_responses(found.values(), judged.models)
    }
    answers = [
        BlindAnswer(label=label, response_text=texts[asked.response_id])
        for label, asked in judged.labelled
        if asked.response_id in texts
    ]
    if len(answers) < 2:
        raise judged.too_few(len(answers))
    view = BlindTurn(turn_id=turn_id, prompt_text=judged.turn.prompt_text, answers=[], next_cursor=None)
    budget = pager.budget()
    budget.spend(view.model_dump_json())
    for answer in answers:
        if answer.label <= after:
            continue
        if not budget.take(answer.model_dump_json()) and view.answers:
            view.next_cursor = pager.cursor(view.answers[-1].label, "blind", turn_id)
            break
        view.answers.append(answer)
    return view


def _read(user_id: int, session_id: int, turn_id: int) -> _Judged:
    """One request. Raises NotFound, or Conflict for a turn that cannot be judged."""
    turn_key, models_key = keys.turn(user_id, turn_id), keys.models(user_id, session_id)
    response_key, vote_key = keys.response(user_id, turn_id), keys.vote(user_id, turn_id)
    found = table.fetch([turn_key, models_key, response_key, vote_key])
    if models_key not in found:
        raise SessionNotFound
    models = StoredModels.model_validate_json(found[models_key].text)
    if keys.session_of(turn_id) != session_id:
        raise TurnNotFound
    if turn_key not in found:
        first = [found[response_key]] if response_key in found else []
        if live_responses(first, models) and "turn" not in first[0].item:
            raise TooFewAnswers  # a response that was added by itself is a turn of one answer
        raise TurnNotFound
    document = found[turn_key]
    turn = StoredTurn.model_validate_json(document.text)
    if turn.is_deleted:
        raise TurnNotFound
    state = build_state(document, turn, {}, {})
    if state.status in IN_PROGRESS:
        raise TurnNotFinished
    failed = {error.session_model_id for error in state.errors}
    settled = [asked for asked in turn.asked if asked.session_model_id not in failed]
    if len(settled) > len(LABELS):
        raise TooManyAnswers
    labelled = _labelled(turn_id, settled, found.get(vote_key))
    status, errors = state.shown()
    is_shown_unanswered = status != TurnStatus.DONE or bool(errors)
    return _Judged(
        turn, models, labelled, found.get(vote_key), "imported" in document.item, is_shown_unanswered
    )


def _labelled(
    turn_id: int, settled: Sequence[AskedModel], vote: table.Document | None
) -> list[tuple[str, AskedModel]]:
    """By label. A vote keeps the labels of its turn; an imported one has those of the answers that it compares."""
    given = vote.item["labels"]["M"] if vote and "labels" in vote.item else {}
    ids = {asked.response_id for asked in settled}
    labels = {int(each["N"]): label for label, each in given.items() if int(each["N"]) in ids}
    free = iter(sorted({*LABELS} - {*labels.values()}))
    labelled = [(labels.get(asked.response_id) or next(free), asked) for asked in _shuffled(turn_id, settled)]
    return sorted(labelled, key=lambda each: each[0])


def _shuffled(turn_id: int, settled: Sequence[AskedModel]) -> list[AskedModel]:
    """In an order that says nothing without the key, and is always the same."""
    key = secret(config().cursor_secret_arn).encode()

    def place(asked: AskedModel) -> bytes:
        return hmac.digest(key, f"label {turn_id} {asked.response_id}".encode(), hashlib.sha256)

    return sorted(settled, key=place)


@table.optimistic
def cast(
    caller: Caller, session_id: int, turn_id: int, new: NewVote, expected: ExpectedVersions
) -> Versioned[Vote]:
    """Four requests; three in a session without a class, more for the first vote of a day in a class.

    The same choice once more changes nothing.
    """
    user_id = caller.user_id
    judged = _read(user_id, session_id, turn_id)
    answers = _answers(user_id, judged)
    winner = _winner(new, answers)
    document = judged.vote
    expected.check(document.version if document and document.text else 0)
    before = stored(document)
    now = clock.now() if before is None else clock.just_after(before.updated_at)
    after = StoredVote(
        turn_id=turn_id,
        class_id=judged.turn.class_id,
        blind=new.is_blind and _never_revealed(document),
        winner=winner,
        tie=new.tie,
        answers=answers,
        imported=judged.is_imported,
        created_at=before.created_at if before else now,
        updated_at=now,
    )
    if before and before.same_choice(after):
        assert document is not None
        return Versioned(before.wire(), document.version)
    are_live = " AND ".join(f"contains(#live, :model{n})" for n in range(len(answers)))
    models = {f":model{n}": table.number(each.session_model_id) for n, each in enumerate(answers)}
    kept = {"revealed": table.flag(True), "labels": _labels(judged.labelled)}
    key = keys.vote(user_id, turn_id)
    writes = [
        accounts.admitted(caller),
        table.check(keys.models(user_id, session_id), are_live, models),
        *(
            table.check(keys.response(user_id, each.response_id), "attribute_exists(#of_model)")
            for each in answers
        ),
        *(
            table.revise(document, after, attributes=kept)
            if document
            else table.put(key, after, attributes=kept)
        ),
        *counting(user_id, before, after),
    ]
    try:
        table.write(*writes)
    except table.ConditionFailed as failed:
        if failed.index == 0:
            raise accounts.count_refusal(failed) from None
        raise
    return Versioned(after.wire(), document.version + 1 if document else 1)


def of_imported(user_id: int, vote: StoredVote) -> list[table.Write]:
    """A vote that comes with an import; `tallies.of_imported` counts those of a class."""
    labels = _labels((each.label, each) for each in vote.answers)
    attributes = {"revealed": table.flag(True), "labels": labels}
    return table.put(keys.vote(user_id, vote.turn_id), vote, attributes=attributes)


def _labels(labelled: Iterable[tuple[str, AskedModel | JudgedAnswer]]) -> table.Value:
    """By label, the id of its response: no other secret changes it."""
    return {"M": {label: table.number(each.response_id) for label, each in labelled}}


def _never_revealed(document: table.Document | None) -> bool:
    return document is None or "revealed" not in document.item


def _answers(user_id: int, judged: _Judged) -> list[JudgedAnswer]:
    """Those that are still there, by label. One request; raises TooFewAnswers or TurnNotFound."""
    there = table.peek_all([keys.response(user_id, asked.response_id) for _, asked in judged.labelled])
    live = {model.session_model_id for model in judged.models.models}
    answers = [
        JudgedAnswer(
            label=label,
            response_id=asked.response_id,
            model_name=asked.model_name,
            session_model_id=asked.session_model_id,
        )
        for label, asked in judged.labelled
        if asked.session_model_id in live and keys.response(user_id, asked.response_id) in there
    ]
    if len(answers) < 2:
        raise judged.too_few(len(answers))
    return answers


def _winner(new: NewVote, answers: Sequence[JudgedAnswer]) -> int | None:
    """The response id of the best answer; raises Invalid when it is none of these."""
    for answer in answers:
        if new.label == answer.label or new.response_id == answer.response_id:
            return answer.response_id
    if new.label is not None:
        raise Invalid([Problem("label_unknown", ("body", "label"), "Label should be one of the blind view")])
    if new.response_id is not None:
        message = "Response should be an answer of this turn"
        raise Invalid([Problem("response_unknown", ("body", "response_id"), message)])
    return None


def get(caller: Caller, session_id: int, turn_id: int) -> Versioned[Vote]:
    """One request."""
    document, vote = _read_vote(caller.user_id, session_id, turn_id)
    return Versioned(vote.wire(), document.version)


def _read_vote(user_id: int, session_id: int, turn_id: int) -> tuple[table.Document, StoredVote]:
    """A vote on the answers of a deleted model is out of sight before it is swept."""
    models_key, key = keys.models(user_id, session_id), keys.vote(user_id, turn_id)
    found = table.fetch([models_key, key])
    if models_key not in found:
        raise SessionNotFound
    vote = stored(found.get(key)) if keys.session_of(turn_id) == session_id else None
    live = {
        model.session_model_id for model in StoredModels.model_validate_json(found[models_key].text).models
    }
    if vote is None or not live.issuperset(each.session_model_id for each in vote.answers):
        raise VoteNotFound
    return found[key], vote


def withdraw(caller: Caller, session_id: int, turn_id: int, expected: ExpectedVersions) -> None:
    """Three requests; two in a session without a class.

    A vote that is missing on a retry was withdrawn by the first attempt, whose acknowledgement was lost.
    """
    for attempt in table.attempts():
        try:
            document, vote = _read_vote(caller.user_id, session_id, turn_id)
        except VoteNotFound:
            if attempt:
                return
            raise
        expected.check(document.version)
        try:
            table.write(*withdrawal(caller.user_id, document, vote))
        except table.ConditionFailed:
            continue
        return
