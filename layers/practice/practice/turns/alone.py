"""Asks a model for what is no learner's turn, such as a title, within the budgets of the day."""

import secrets
from typing import Any, Final

from practice.runtime import clock
from practice.runtime.deadline import Deadline
from practice.schemas.spending import Spending
from practice.store import catalogue, reservations, usage
from practice.turns.ask import ask
from practice.turns.budgets import estimate, reserving
from practice.turns.configuration import model_named
from practice.turns.parameters import CAP, sendable
from practice.turns.prompts import Prompt
from practice.turns.providers import ProviderError

MARGIN_SECONDS: Final = 10.0
"""After the deadline, until the reservation of a function that died lapses."""


class AskedAlone:
    """One model, for one session of a user."""

    def __init__(self, user_id: int, session_id: int, class_id: int | None) -> None:
        """One request."""
        self._user_id, self._session_id = user_id, session_id
        self._class = catalogue.look_up(class_id, None).practice_class
        self._budgets = usage.budgets_for(self._class)

    def ask(self, model_name: str, system: str, text: str, *, max_tokens: int, deadline: Deadline) -> str:
        """Two requests. Raises ProviderError, DailyBudgetSpent, SessionNotFound."""
        prompt = Prompt(system, [], [], text)
        params = _params(model_name, max_tokens)
        name = f"{self._session_id}#{secrets.token_hex(4)}"
        needed = [estimate(model_name, params, prompt, has_knowledge=False)]
        claim = reserving(name, clock.now()[:10], self._class, self._budgets, needed, turns=0)
        seconds = deadline.remaining() + MARGIN_SECONDS

        def reserve() -> None:
            usage.reserve_title(self._user_id, self._session_id, claim, seconds)

        reservations.within_budget(self._user_id, reserve)
        spent: Spending | None = None
        try:
            answer = ask(model_name, prompt, params, deadline, unchosen=[CAP])
            spent = answer.spent
        except ProviderError as error:
            spent = error.spent
            raise
        finally:
            used = {model_name: spent} if spent is not None else {}
            usage.settle_alone(self._user_id, claim.reserved, used, turns=0)
        return answer.completion.text


def _params(model_name: str, max_tokens: int) -> dict[str, Any]:
    """A model that thinks gets room for it."""
    configured = model_named(model_name)
    if configured is None:
        return {CAP: max_tokens}
    return {**sendable(configured.defaults), CAP: max_tokens + configured.thinking_tokens}
