"""Carries a turn out: every model is asked at the same time, and every answer is kept when it arrives."""

import contextvars
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple

from practice.errors import PracticeError
from practice.runtime import log
from practice.runtime.deadline import Deadline
from practice.schemas.example import Example
from practice.schemas.response import Response
from practice.schemas.spending import Spending
from practice.schemas.turn import AskedModel, ErrorCode, StoredTurn, TurnError
from practice.store import turns
from practice.store.turns import TurnState
from practice.turns import budgets
from practice.turns.ask import ask, log_failure
from practice.turns.configuration import configuration, model_named
from practice.turns.knowledge import Retrieval, retrieve
from practice.turns.live import Live
from practice.turns.prompts import compose
from practice.turns.providers import TIMED_OUT, Completion, ProviderError

POLL_SECONDS: Final = 1.0
"""How often a running turn looks whether it was cancelled, and who follows it."""


class Failed(NamedTuple):
    error: TurnError
    spent: Spending | None = None


class Answered(NamedTuple):
    response: Response
    sent: dict[str, Any]
    """The parameters that the provider was sent."""
    spent: Spending


ModelOutcome = Answered | Failed


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

    What arrives after the deadline does not count. A turn that is cancelled stops the deadline.
    """
    turn = state.turn
    asking: dict[int, Spending] = {}
    arrived: SimpleQueue[ModelOutcome | None] = SimpleQueue()
    pending = [] if state.is_cancelled else state.pending()

    def stop() -> None:
        deadline.stopped.set()
        arrived.put(None)

    with _watched(user_id, turn.turn_id, stop, live):
        retrieval = retrieve(turn.prompt_text, turn.settings.knowledge_ids)

        def work(asked: AskedModel) -> None:
            outcome = _ask_and_keep(user_id, turn, asked, background, retrieval, deadline, asking)
            if isinstance(outcome, Answered):
                live.answered(asked, outcome.response, outcome.sent)
            elif deadline.remaining():
                live.failed(asked, outcome.error)
                _show(user_id, turn.turn_id, outcome)
            arrived.put(outcome)

        outcomes = _at_the_same_time(work, pending, arrived, deadline)
    failed = [each for each in outcomes if isinstance(each, Failed)]
    answered = [each for each in outcomes if isinstance(each, Answered)]
    response_ids = {asked.session_model_id: asked.response_id for asked in pending}
    wasted = {response_ids[each.error.session_model_id]: each.spent for each in failed if each.spent}
    state = replace(
        state,
        answers={**state.answers, **{each.response.response_id: each.response for each in answered}},
        sent={**state.sent, **{each.response.response_id: each.sent for each in answered}},
        spent={
            **state.spent,
            **{each.response.response_id: each.spent for each in answered},
            **wasted,
        },
        errors=[*state.errors, *(each.error for each in failed)],
        is_cancelled=state.is_cancelled or deadline.stopped.is_set(),
    )
    # A request that is given up is paid for: by its prompt at least.
    given_up = {
        each.response_id: asking[each.response_id] for each in state.pending() if each.response_id in asking
    }
    state = replace(state, spent={**state.spent, **given_up})
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
                sighting = turns.look(user_id, turn_id, live.followers)
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
    work: Callable[[AskedModel], None],
    models: Sequence[AskedModel],
    arrived: SimpleQueue[ModelOutcome | None],
    deadline: Deadline,
) -> list[ModelOutcome]:
    """What came in time. A thread that is late is left behind: its answer finds no place any more."""
    for asked in models:
        # Each with a copy of the context, which counts what the invocation asks of the table.
        context = contextvars.copy_context()
        threading.Thread(
            target=context.run, args=(work, asked), name=f"ask {asked.model_name}", daemon=True
        ).start()
    outcomes: list[ModelOutcome] = []
    while len(outcomes) < len(models):
        try:
            outcome = arrived.get(timeout=deadline.remaining())
        except Empty:
            break
        if outcome is None:
            break
        outcomes.append(outcome)
    return outcomes


def _ask_and_keep(
    user_id: int,
    turn: StoredTurn,
    asked: AskedModel,
    background: PromptContext,
    retrieval: Retrieval,
    deadline: Deadline,
    asking: dict[int, Spending],
) -> ModelOutcome:
    prompt = compose(
        turn.settings,
        background.examples,
        background.history(asked.session_model_id),
        turn.prompt_text,
        history_tokens=configuration().history_tokens,
        excerpts=retrieval.excerpts,
    )
    asking[asked.response_id] = budgets.of_prompt(asked.model_name, prompt)
    started = time.monotonic()
    spent: Spending | None = None
    try:
        answer = ask(asked.model_name, prompt, asked.generation_params, deadline)
        response = Response(
            response_id=asked.response_id,
            session_model_id=asked.session_model_id,
            session_id=turn.session_id,
            model_name=asked.model_name,
            prompt_text=turn.prompt_text,
            response_text=answer.completion.text,
            token_usage=_usage(asked, answer.completion, retrieval),
            latency_ms=int((time.monotonic() - started) * 1000),
            created_at=turn.created_at,
        )
        spent = answer.spent
        kept = turns.store_answer(user_id, response, answer.sent, spent)
    except ProviderError as error:
        return Failed(asked.error(error.code, error.detail, error.reason), error.spent)
    except PracticeError as error:
        _log(asked, error)
        return Failed(asked.error(ErrorCode.NOT_STORED, "the answer could not be stored"), spent)
    except Exception as error:  # noqa: BLE001  # a fault of ours costs one model its answer, not the turn
        _log(asked, error)
        return Failed(asked.error(ErrorCode.PROVIDER_ERROR, "the model could not be asked"), spent)
    if kept is None:
        return Failed(asked.error(ErrorCode.NOT_STORED, "the session was deleted meanwhile"), spent)
    return Answered(kept, answer.sent, spent)


def _log(asked: AskedModel, error: Exception) -> None:
    """Its type and place; an exception's text may quote what the user wrote."""
    trace = "".join(traceback.format_tb(error.__traceback__))
    log.logger.error(
        "a model of a turn failed",
        extra={"model": asked.model_name, "cause": f"{type(error).__name__}\n{trace}"},
    )


def _usage(asked: AskedModel, completion: Completion, retrieval: Retrieval) -> dict[str, object]:
    configured = model_named(asked.model_name)
    assert configured is not None
    total = completion.total_tokens
    if total is None and completion.prompt_tokens is not None and completion.completion_tokens is not None:
        total = completion.prompt_tokens + completion.completion_tokens
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
            **(
                {}
                if completion.reasoning_tokens is None
                else {"reasoning_tokens": completion.reasoning_tokens}
            ),
        },
    }
