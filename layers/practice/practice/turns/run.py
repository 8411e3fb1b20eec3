"""Carries a turn out: every model is asked at the same time, and every answer is kept when it arrives."""

import contextvars
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from practice.errors import PracticeError
from practice.runtime import log
from practice.runtime.deadline import Deadline
from practice.schemas.example import Example
from practice.schemas.response import Response
from practice.schemas.turn import AskedModel, ErrorCode, StoredTurn, TurnError
from practice.store import turns
from practice.store.turns import Answers, Sent, TurnState
from practice.turns.ask import ask, log_failure
from practice.turns.configuration import configuration, model_named
from practice.turns.knowledge import Retrieval, retrieve
from practice.turns.prompts import compose
from practice.turns.providers import TIMED_OUT, Completion, ProviderError

Outcome = tuple[Response, dict[str, Any]] | TurnError
"""An answer with the parameters that the provider was sent."""


@dataclass(frozen=True, slots=True)
class Background:
    """What the models of a turn are told beside the prompt."""

    examples: Sequence[Example]
    history: Callable[[int], Iterable[Response]]
    """Of a session model, newest first, read as it is taken."""


def run_turn(user_id: int, state: TurnState, background: Background, deadline: Deadline) -> TurnState:
    """Asks the models that have no answer yet, and settles the turn. What arrives after the deadline does not count."""
    turn = state.turn
    retrieval = retrieve(turn.prompt_text, turn.settings.knowledge_ids)

    def work(asked: AskedModel) -> Outcome:
        return _ask_and_keep(user_id, turn, asked, background, retrieval, deadline)

    answers: Answers = dict(state.answers)
    sent: Sent = dict(state.sent)
    errors: list[TurnError] = []
    missing = state.missing()
    for outcome in _at_the_same_time(work, missing, deadline):
        if isinstance(outcome, TurnError):
            errors.append(outcome)
        else:
            response, sent[outcome[0].response_id] = outcome
            answers[response.response_id] = response
    done = {answer.session_model_id for answer in answers.values()} | {
        each.session_model_id for each in errors
    }
    errors += [
        asked.error(ErrorCode.TIMEOUT, TIMED_OUT) for asked in missing if asked.session_model_id not in done
    ]
    _count(errors)
    return turns.settle(user_id, turn, answers, sent, errors)


def _count(errors: Sequence[TurnError]) -> None:
    log.count("turns")
    if errors:
        log.count("model_failures", len(errors))
        log.note("failed_models", ", ".join(f"{each.model_name} {each.code}" for each in errors))
    for each in errors:
        log_failure(each.model_name, each.code, each.reason)


def _at_the_same_time(
    work: Callable[[AskedModel], Outcome], models: Sequence[AskedModel], deadline: Deadline
) -> list[Outcome]:
    """What came in time. A thread that is late is left behind: its answer finds no place any more."""
    arrived: SimpleQueue[Outcome] = SimpleQueue()
    for asked in models:
        # Each with a copy of the context, which counts what the invocation asks of the table.
        context = contextvars.copy_context()
        threading.Thread(
            target=context.run,
            args=(lambda asked: arrived.put(work(asked)), asked),
            name=f"ask {asked.model_name}",
            daemon=True,
        ).start()
    outcomes: list[Outcome] = []
    while len(outcomes) < len(models):
        try:
            outcomes.append(arrived.get(timeout=deadline.remaining()))
        except Empty:
            break
    return outcomes


def _ask_and_keep(
    user_id: int,
    turn: StoredTurn,
    asked: AskedModel,
    background: Background,
    retrieval: Retrieval,
    deadline: Deadline,
) -> Outcome:
    prompt = compose(
        turn.settings,
        background.examples,
        background.history(asked.session_model_id),
        turn.prompt_text,
        history_tokens=configuration().history_tokens,
        excerpts=retrieval.excerpts,
    )
    started = time.monotonic()
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
        kept = turns.store_answer(user_id, response, answer.sent)
    except ProviderError as error:
        return asked.error(error.code, error.detail, error.reason)
    except PracticeError as error:
        _log(asked, error)
        return asked.error(ErrorCode.NOT_STORED, "the answer could not be stored")
    except Exception as error:  # noqa: BLE001  # a fault of ours costs one model its answer, not the turn
        _log(asked, error)
        return asked.error(ErrorCode.PROVIDER_ERROR, "the model could not be asked")
    if kept is None:
        return asked.error(ErrorCode.NOT_STORED, "the session was deleted meanwhile")
    return kept, answer.sent


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
