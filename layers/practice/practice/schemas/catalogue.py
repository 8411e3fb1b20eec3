"""Classes and agents, as the catalogue announces them."""

from enum import StrEnum
from typing import Any, Self

from practice.schemas.base import BaseModel
from practice.schemas.fields import Id, Prompt, Title
from practice.schemas.generation import Generation
from practice.schemas.spending import DailyBudget, Dollars, atto


class ClassStatus(StrEnum):
    PLANNED = "planned"
    ACTIVE = "active"
    ENDED = "ended"


class PracticeClass(BaseModel):
    class_id: int
    status: ClassStatus
    primary_model: str | None
    allowed_models: list[str]
    daily_turns: int | None = None
    daily_tokens: int | None = None
    daily_usd: Dollars | None = None
    updated_at: str

    def budget(self) -> DailyBudget:
        """None is no limit, 0 is nothing."""
        cost = None if self.daily_usd is None else atto(self.daily_usd)
        return DailyBudget(turns=self.daily_turns, tokens=self.daily_tokens, cost=cost)

    def model_names(self) -> list[str]:
        """The primary first, then the others in their order."""
        first = [self.primary_model] if self.primary_model else []
        return list(dict.fromkeys(first + self.allowed_models))


class AgentFields(BaseModel):
    """What an announcement says of an agent and a snapshot keeps, bounded so that both fit a response."""

    agent_id: Id
    name: Title
    system_prompt: Prompt
    generation_params: Generation


class Agent(BaseModel):
    agent_id: int
    user_id: int
    is_active: bool
    shared_class_ids: list[int]
    name: str
    system_prompt: str
    generation_params: dict[str, Any]
    updated_at: str
    is_deleted: bool = False

    @classmethod
    def deleted(cls, agent_id: int, updated_at: str) -> Self:
        """What remains of an agent, so that an older announcement does not bring it back."""
        return cls(
            agent_id=agent_id,
            user_id=0,
            is_active=False,
            shared_class_ids=[],
            name="",
            system_prompt="",
            generation_params={},
            updated_at=updated_at,
            is_deleted=True,
        )

    def usable_by(self, user_id: int, class_id: int | None) -> bool:
        return self.is_active and (self.user_id == user_id or class_id in self.shared_class_ids)

    def snapshot(self) -> dict[str, Any]:
        return self.model_dump(
            include={"agent_id", "name", "system_prompt", "generation_params", "updated_at"}
        )
