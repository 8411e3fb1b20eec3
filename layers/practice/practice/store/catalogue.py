"""Classes and agents: what a session may run, and what its agent was."""

from typing import Any, Final, NamedTuple

from pydantic import BaseModel

from practice import table
from practice.caller import Caller
from practice.errors import AgentNotFound, ClassHasNoModels, ClassNotActive, ClassNotFound
from practice.runtime.config import config
from practice.schemas.catalogue import Agent, ClassStatus, PracticeClass
from practice.table import keys


class Catalogue(NamedTuple):
    """What is announced of one class and one agent; None where nothing is."""

    practice_class: PracticeClass | None
    agent: Agent | None
    beside: table.Document | None = None
    """What was read with them."""

    def model_names(self) -> list[str]:
        """What the class lists; the deployment's default models for one that was never announced."""
        if self.practice_class:
            return self.practice_class.model_names()
        return [] if config().unknown_class_is_refused else list(config().default_models)

    def active_names(self) -> list[str]:
        """The models of a class that runs now; raises BadRequest with the reason otherwise."""
        if self.practice_class is None and config().unknown_class_is_refused:
            raise ClassNotFound
        if self.practice_class and self.practice_class.status != ClassStatus.ACTIVE:
            raise ClassNotActive
        return self.model_names()

    def runnable_names(self) -> list[str]:
        """Those of an active class that has any."""
        names = self.active_names()
        if not names:
            raise ClassHasNoModels
        return names

    def snapshot(self, caller: Caller, class_id: int | None) -> dict[str, Any]:
        """The agent as it is now, `{}` when it is unknown or none; raises NotFound when the caller may not use it."""
        if self.agent is None or self.agent.is_deleted:
            return {}
        if not self.agent.usable_by(caller.user_id, class_id):
            raise AgentNotFound
        return self.agent.snapshot()


NOTHING_ANNOUNCED: Final = Catalogue(None, None)


def look_up(class_id: int | None, agent_id: int | None, beside: keys.Key | None = None) -> Catalogue:
    """One request, none when nothing is named."""
    class_key = keys.practice_class(class_id) if class_id else None
    agent_key = keys.agent(agent_id) if agent_id else None
    found = table.fetch(key for key in (class_key, agent_key, beside) if key)
    practice_class = found.get(class_key) if class_key else None
    agent = found.get(agent_key) if agent_key else None
    return Catalogue(
        PracticeClass.model_validate_json(practice_class.text) if practice_class else None,
        Agent.model_validate_json(agent.text) if agent else None,
        found.get(beside) if beside else None,
    )


@table.optimistic
def announce(key: keys.Key, announced: BaseModel, updated_at: str) -> bool:
    """Keeps the newest announcement, of equal ones the last delivered; False when a newer one is stored. Two requests."""
    stamp = {"updated_at": table.text(updated_at)}
    stored = table.get(key)
    if stored is None:
        writes = table.put(key, announced, attributes=stamp)
    elif stored.string("updated_at") > updated_at:
        return False
    else:
        writes = table.revise(stored, announced, attributes=stamp)
    table.write(*writes)
    return True
