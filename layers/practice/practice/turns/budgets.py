"""What a turn may cost before it is run, and what a request to a model did cost."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from practice.runtime.config import config
from practice.schemas.catalogue import PracticeClass
from practice.schemas.generation import Chooser
from practice.schemas.spending import Reserved, Spending
from practice.store.usage import Budget, Claim
from practice.turns.configuration import ModelConfiguration, configuration, model_named
from practice.turns.knowledge import EXCERPT_CHARACTERS, TOP_K
from practice.turns.parameters import BYTES_PER_TOKEN, CAP, Chosen, refused, within_limits
from practice.turns.prompts import Prompt

CHARACTER_BYTES: Final = 4
"""Of a character in UTF-8, at most."""


def need_estimate(budgets: Iterable[Budget]) -> bool:
    return any(budget.limits.needs_estimate for budget in budgets)


def capped(configured: ModelConfiguration | None, choices: Chosen, budgets: Sequence[Budget]) -> Chosen:
    """Under a budget of tokens or dollars an answer is never without a cap."""
    if configured is None or CAP in choices.params or not need_estimate(budgets):
        return choices
    if refused(configured, {CAP: 1}):
        return choices
    return Chosen(choices.params | {CAP: _cap(configured)}, choices.chosen_by | {CAP: Chooser.BUDGET})


def _cap(configured: ModelConfiguration) -> int:
    return min(configured.max_output_tokens or config().budget_cap, config().budget_cap)


def estimate(model_name: str, params: dict[str, Any], prompt: Prompt, *, has_knowledge: bool) -> Spending:
    """What asking the model may take at most, by three bytes a token and the cap. Nothing where no provider serves it."""
    configured = model_named(model_name)
    if configured is None:
        return Spending()
    size = prompt.size()
    if has_knowledge and configuration().knowledge_base_id:
        size += TOP_K * EXCERPT_CHARACTERS * CHARACTER_BYTES
    cap = within_limits(configured, params, size).get(CAP) or _cap(configured)
    return _spending(configured, tokens_of(size), cap)


def tokens_of(size: int) -> int:
    return -(-size // BYTES_PER_TOKEN)


def _spending(configured: ModelConfiguration, prompt_tokens: int, completion_tokens: int) -> Spending:
    prices = configured.prices
    return Spending(
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        cost=prices.cost(prompt_tokens, completion_tokens) if prices else None,
    )


def reserving(
    name: str,
    day: str,
    practice_class: PracticeClass | None,
    budgets: Sequence[Budget],
    estimates: Iterable[Spending],
    *,
    turns: int = 1,
) -> Claim:
    """Without a budget nothing is reserved; what is used counts in any case."""
    class_id = practice_class.class_id if practice_class else None
    reserved = Reserved(name=name, day=day, class_id=class_id)
    if budgets:
        reserved.turns = turns
        for each in estimates:
            reserved.tokens += each.prompt_tokens + each.completion_tokens
            reserved.cost += each.cost or 0
    return Claim(reserved, budgets)


def spent(
    configured: ModelConfiguration,
    prompt: Prompt,
    cap: int | None,
    reported: tuple[int | None, int | None],
    received: int,
) -> Spending:
    """As the provider reports it; what it does not report, as it was reserved: by the bytes sent and received."""
    written = min(tokens_of(received), cap or tokens_of(received))
    prompt_tokens, completion_tokens = reported
    return _spending(
        configured,
        tokens_of(prompt.size()) if prompt_tokens is None else prompt_tokens,
        written if completion_tokens is None else completion_tokens,
    )


def of_prompt(model_name: str, prompt: Prompt) -> Spending:
    """Of a request without an answer."""
    configured = model_named(model_name)
    return spent(configured, prompt, None, (None, None), 0) if configured else Spending()
