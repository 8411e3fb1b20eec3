"""Carries a turn out: every model is asked at the same time, and every answer is kept when it arrives."""

import contextvars
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple

from practice.errors import PracticeError
from practice.runtime import log
from practice.runtime.deadline import Deadline
from practice.schemas.example import Example
from practice.schemas.response import Response
from practice.schemas.spending import Spending
from practice.schemas.turn import AskedModel, ErrorCode, FinishReason, StoredTurn, TurnError
from practice.store import followers, turns
from practice.store.turn_state import TurnState
from practice.turns.ask import answer_of, log_failure, spent_in_vain, write
from practice.turns.configuration import configuration, model_named, thinks
from practice.turns.draft import Draft, DraftEnded
from practice.turns.knowledge import Retrieval, retrieve
from practice.turns.live import Live
from practice.turns.prompts import compose
from practice.turns.providers import TIMED_OUT, Completion, ProviderError

POLL_SECONDS: Final = 1.0
"""How often a running turn looks whether it was cancelled, and who follows it."""
KEEP_SECONDS: Final = 2.0
"""For how long a turn whose time is up waits for the answers that are being stored. A part of MARGIN_SECONDS."""


class Failed(NamedTuple):
    asked: AskedModel
    error: TurnError
    spent: Spending | None = None


class Answered(NamedTuple):
    asked: AskedModel
    response: Response
    sent: dict[str, Any]
    """The parameters that the provider was sent."""
    spent: Spending


ModelOutcome = Answered | Failed
_Arrivals = SimpleQueue[ModelOutcome | None]

_NOTHING_TO_READ: Final = (ErrorCode.ONLY_REASONING, ErrorCode.PROVIDER_ERROR)
"""Of an answer that was cut: then it is late or cancelled, and nothing else."""


@dataclass(frozen=True, slots=True)
class PromptContext:
    """What every model of a turn gets beside the prompt."""

    examples: Sequence[Example]
    history: Callable[[int], Iterable[Response]]
    """Of a session model, newest first, read as it is taken."""


def run_turn(
    user_id: int, state: TurnState, background: PromptContext, deadline: Deadline, live: Live
) -> TurnState:
    """Asks the models that have neither an answer nor an error yet, and settles the turn.

    Of an answer that is not whole at the deadline the part is kept that a reader could see. A turn that is cancelled
    stops the deadline.
    """
    turn = state.turn
    arrived: _Arrivals = SimpleQueue()
    pending = [] if state.is_cancelled else state.pending()

    def stop() -> None:
        deadline.stopped.set()
        arrived.put(None)

    with _watched(user_id, turn.turn_id, stop, live):
        retrieval = retrieve(turn.prompt_text, turn.settings.knowledge_ids)
        asking = [
            _Asking(user_id, turn, asked, background, retrieval, deadline, arrived, live) for asked in pending
        ]
        outcomes = _at_the_same_time(asking, arrived, deadline, live)
    failed = [each for each in outcomes.values() if isinstance(each, Failed)]
    answered = [each for each in outcomes.values() if isinstance(each, Answered)]
    spent = {each.asked.response_id: each.spent for each in outcomes.values() if each.spent}
    # A request that is given up is paid for: by its prompt at least.
    given_up = {
        each.asked.response_id: used
        for each in asking
        if each.asked.response_id not in outcomes and (used := each.draft.spent(is_given_up=True))
    }
    state = replace(
        state,
        answers={**state.answers, **{each.response.response_id: each.response for each in answered}},
        sent={**state.sent, **{each.response.response_id: each.sent for each in answered}},
        spent={**state.spent, **spent, **given_up},
        errors=[*state.errors, *(each.error for each in failed)],
        is_cancelled=state.is_cancelled or deadline.stopped.is_set(),
    )
    if not state.is_cancelled:
        late = [asked.error(ErrorCode.TIMEOUT, TIMED_OUT) for asked in state.pending()]
        state = replace(state, errors=[*state.errors, *late])
    _count(state.final_errors())
    return turns.settle_turn(user_id, state)


@contextmanager
def _watched(user_id: int, turn_id: int, stop: Callable[[], None], live: Live) -> Iterator[None]:
    """Calls `stop` when the turn is cancelled, settled elsewhere or deleted, and learns who follows it.

    One request a second.
    """
    done = threading.Event()

    def watch() -> None:
        while not done.wait(POLL_SECONDS):
            try:
                sighting = followers.look(user_id, turn_id, live.followers)
                live.sight(sighting.followers, sighting.refused)
                if sighting.is_over:
                    stop()
                    return
            except PracticeError as error:
                log.logger.warning("a turn could not be watched", extra={"cause": type(error).__name__})

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(watch,), name=f"watch {turn_id}", daemon=True).start()
    try:
        yield
    finally:
        done.set()


def _show(user_id: int, turn_id: int, failed: Failed) -> None:
    """The failure of a model, at once. The settlement of the turn writes it in any case."""
    try:
        turns.store_error(user_id, turn_id, failed.error, failed.spent)
    except PracticeError as refused:
        log.logger.warning("an error of a turn is not shown yet", extra={"cause": type(refused).__name__})


def _count(errors: Sequence[TurnError]) -> None:
    log.count("turns")
    failures = [each for each in errors if each.code != ErrorCode.CANCELLED]
    if failures:
        log.count("model_failures", len(failures))
        log.append("failed_models", ", ".join(f"{each.model_name} {each.code}" for each in failures))
    for each in failures:
        log_failure(each.model_name, each.code, each.reason)


def _at_the_same_time(
    asking: "Sequence[_Asking]", arrived: _Arrivals, deadline: Deadline, followers: Live
) -> dict[int, ModelOutcome]:
    """By response id. Of a model that is late what it has written counts; its thread is left behind."""
    for each in asking:
        each.start()
    outcomes: dict[int, ModelOutcome] = {}

    def take(outcome: ModelOutcome) -> None:
        outcomes[outcome.asked.response_id] = outcome
        if isinstance(outcome, Failed):
            followers.failed(outcome.asked, outcome.error)
        else:
            followers.answered(outcome.asked, outcome.response, outcome.sent)

    while len(outcomes) < len(asking):
        try:
            arrival = arrived.get(timeout=deadline.remaining())
        except Empty:
            break
        if arrival is None:
            break
        take(arrival)
    if len(outcomes) < len(asking):
        patience = Deadline.after(KEEP_SECONDS)
        for thread in [each.stop() for each in asking]:
            thread.join(patience.remaining())
        while not arrived.empty():
            if arrival := arrived.get_nowait():
                take(arrival)
    return outcomes


class _Asking:
    """One model of a turn, in a thread of its own. That thread or the turn ends the draft, and has its outcome."""

    def __init__(
        self,
        user_id: int,
        turn: StoredTurn,
        asked: AskedModel,
        background: PromptContext,
        retrieval: Retrieval,
        deadline: Deadline,
        arrived: _Arrivals,
        followers: Live,
    ) -> None:
        self.asked = asked
        self.draft = Draft(partial(followers.wrote, asked), partial(followers.restarted, asked))
        self._user_id, self._turn = user_id, turn
        self._background, self._retrieval = background, retrieval
        self._deadline, self._arrived = deadline, arrived
        self._thread = self._in_a_thread(self._ask)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> threading.Thread:
        """The thread that brings what there is to keep."""
        if not self.draft.end():
            return self._thread
        cutting = self._in_a_thread(self._cut)
        cutting.start()
        return cutting

    def _in_a_thread(self, work: Callable[[], None]) -> threading.Thread:
        # With a copy of the context, which counts what the invocation asks of the table.
        context = contextvars.copy_context()
        name = f"ask {self.asked.model_name}"
        return threading.Thread(target=context.run, args=(work,), name=name, daemon=True)

    def _ask(self) -> None:
        error = None
        try:
            self._write()
        except DraftEnded:
            return
        except ProviderError as failed:
            if failed.code == ErrorCode.TIMEOUT and not self._deadline.remaining():
                return  # the turn ends the draft, and keeps what was written
            error = self.asked.error(failed.code, failed.detail, failed.reason)
        except Exception as failed:  # noqa: BLE001  # a fault of ours costs one model its answer, not the turn
            error = self._fault(failed, ErrorCode.PROVIDER_ERROR, "the model could not be asked")
        if not self.draft.end():
            return
        outcome = self._failed(error) if error else self._keep(FinishReason.STOP)
        if isinstance(outcome, Failed) and self._deadline.remaining():
            _show(self._user_id, self._turn.turn_id, outcome)
        self._arrived.put(outcome)

    def _cut(self) -> None:
        was_cancelled = self._deadline.stopped.is_set()
        outcome = self._keep(FinishReason.CANCELLED if was_cancelled else FinishReason.TIMEOUT)
        if isinstance(outcome, Failed) and outcome.error.code in _NOTHING_TO_READ and not self.draft.is_whole:
            return
        self._arrived.put(outcome)

    def _write(self) -> None:
        turn, background = self._turn, self._background
        prompt = compose(
            turn.settings,
            background.examples,
            background.history(self.asked.session_model_id),
            turn.prompt_text,
            history_tokens=configuration().history_tokens,
            excerpts=self._retrieval.excerpts,
            thinks=thinks(self.asked.model_name),
        )
        write(self.draft, self.asked.model_name, prompt, self.asked.generation_params, self._deadline)

    def _keep(self, cut: FinishReason) -> ModelOutcome:
        asked, turn = self.asked, self._turn
        spent: Spending | None = None
        try:
            answer = answer_of(self.draft, cut)
            response = Response(
                response_id=asked.response_id,
                session_model_id=asked.session_model_id,
                session_id=turn.session_id,
                model_name=asked.model_name,
                prompt_text=turn.prompt_text,
                response_text=answer.completion.text,
                token_usage=_usage(asked, answer.completion, self._retrieval),
                latency_ms=self.draft.since(),
                created_at=turn.created_at,
            )
            spent = answer.spent
            kept = turns.store_answer(self._user_id, response, answer.sent, spent)
        except ProviderError as error:
            return Failed(asked, asked.error(error.code, error.detail, error.reason), error.spent)
        except Exception as error:  # noqa: BLE001  # as above
            fault = self._fault(error, ErrorCode.NOT_STORED, "the answer could not be stored")
            return Failed(asked, fault, spent)
        if kept is None:
            deleted = asked.error(ErrorCode.NOT_STORED, "the session was deleted meanwhile")
            return Failed(asked, deleted, spent)
        return Answered(asked, kept, answer.sent, spent)

    def _failed(self, error: TurnError) -> Failed:
        return Failed(self.asked, error, spent_in_vain(self.draft, error.code))

    def _fault(self, error: Exception, code: ErrorCode, detail: str) -> TurnError:
        """Logs its type and place; an exception's text may quote what the user wrote."""
        trace = "".join(traceback.format_tb(error.__traceback__))
        cause = f"{type(error).__name__}\n{trace}"
        log.logger.error("a model of a turn failed", extra={"model": self.asked.model_name, "cause": cause})
        return self.asked.error(code, detail)


def _usage(asked: AskedModel, completion: Completion, retrieval: Retrieval) -> dict[str, object]:
    configured = model_named(asked.model_name)
    assert configured is not None
    total = completion.total_tokens
    if total is None and completion.prompt_tokens is not None and completion.completion_tokens is not None:
        total = completion.prompt_tokens + completion.completion_tokens
    measured = {
        "reasoning_tokens": completion.reasoning_tokens,
        "first_token_ms": completion.first_token_ms,
    }
    return {
        "provider": configured.provider,
        "model": asked.model_name,
        "prompt_tokens": completion.prompt_tokens,
        "completion_tokens": completion.completion_tokens,
        "total_tokens": total,
        "_gf": {
            "retrieval": retrieval.usage_entry(),
            "sources": retrieval.sources,
            "runtime_model": completion.runtime_model or configured.id,
            "finish_reason": completion.finish_reason,
            **{name: value for name, value in measured.items() if value is not None},
        },
    }
