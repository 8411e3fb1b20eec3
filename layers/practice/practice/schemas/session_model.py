"""The models of a session: which ones run and how, and what a client sends to change them."""

from typing import Annotated, Any, Self

from pydantic import Field

from practice.schemas.base import BaseModel
from practice.schemas.fields import ModelName, same_json
from practice.schemas.generation import Chooser, Generation


class SessionModel(BaseModel):
    session_model_id: int
    session_id: int
    model_name: str
    is_primary: bool
    generation_params: dict[str, Any]


class StoredModel(BaseModel):
    session_model_id: int
    model_name: str
    generation_params: dict[str, Any]
    chosen: list[str] = []
    runs: bool = True
    """False when its class no longer lists it: readable, but not asked."""
    version: int = 1

    def next_version(self) -> Self:
        return self.model_copy(update={"version": self.version + 1})

    def merged(self, sent: dict[str, Any]) -> Self:
        """Itself, when that changes nothing."""
        params = self.generation_params | sent
        chosen = sorted({*self.chosen, *sent})
        is_shown = not same_json(params, self.generation_params)
        if not is_shown and chosen == self.chosen:
            return self
        changed = self.model_copy(update={"generation_params": params, "chosen": chosen})
        return changed.next_version() if is_shown else changed


class StoredModels(BaseModel):
    """All models of a session in one document, so that there is one primary whatever happens at the same time.

    Models are in the order of their ids. The methods make the next state, and leave this one as it is.
    """

    primary_id: int | None = None
    models: list[StoredModel] = []
    deleted_names: list[str] = []
    """What the user removed: a change of the class does not bring it back."""

    def by_id(self, session_model_id: int) -> StoredModel | None:
        return next((model for model in self.models if model.session_model_id == session_model_id), None)

    def by_name(self, model_name: str) -> StoredModel | None:
        return next((model for model in self.models if model.model_name == model_name), None)

    def wire(self, session_id: int) -> list[SessionModel]:
        """Primary first, then by id."""
        ordered = sorted(self.models, key=lambda model: model.session_model_id != self.primary_id)
        return [self.wire_model(session_id, model) for model in ordered]

    def wire_model(self, session_id: int, model: StoredModel) -> SessionModel:
        return SessionModel(
            session_model_id=model.session_model_id,
            session_id=session_id,
            model_name=model.model_name,
            is_primary=model.session_model_id == self.primary_id,
            generation_params=model.generation_params,
        )

    def with_primary(self, session_model_id: int | None) -> Self:
        if session_model_id == self.primary_id:
            return self
        flipped = (session_model_id, self.primary_id)
        return self.model_copy(
            update={
                "primary_id": session_model_id,
                "models": [
                    model.next_version() if model.session_model_id in flipped else model
                    for model in self.models
                ],
            }
        )

    def with_an_elected_primary(self) -> Self:
        """The lowest id becomes primary when the primary was deleted or may no longer run."""
        primary = self.by_id(self.primary_id) if self.primary_id else None
        if primary and primary.runs:
            return self
        heirs = [model for model in self.models if model.runs] or self.models
        return self.with_primary(heirs[0].session_model_id if heirs else None)

    def with_params(self, sent: dict[str, Any], session_model_id: int | None = None) -> Self:
        """Generation parameters merged into one model, or into all of them."""
        models = [
            model.merged(sent) if session_model_id in (None, model.session_model_id) else model
            for model in self.models
        ]
        return self.model_copy(update={"models": models})

    def without(self, session_model_id: int) -> Self:
        gone = [model.model_name for model in self.models if model.session_model_id == session_model_id]
        left = [model for model in self.models if model.session_model_id != session_model_id]
        names = list(dict.fromkeys(self.deleted_names + gone))
        return self.model_copy(update={"models": left, "deleted_names": names}).with_an_elected_primary()

    def with_new(self, model: StoredModel) -> Self:
        names = [name for name in self.deleted_names if name != model.model_name]
        grown = self.model_copy(update={"models": [*self.models, model], "deleted_names": names})
        return grown.with_an_elected_primary()

    def synced_with(self, names: list[str], *, keep_unlisted: bool, template: StoredModel) -> Self:
        """In line with the class: models it lists run, the others are removed or stay readable.

        Missing models are added after `template`, which has the first free id and the settings' parameters.
        """
        kept = [
            model.model_copy(update={"runs": model.model_name in names})
            for model in self.models
            if keep_unlisted or model.model_name in names
        ]
        present = {model.model_name for model in kept} | set(self.deleted_names)
        missing = [name for name in names if name not in present]
        added = [
            template.model_copy(
                update={"session_model_id": template.session_model_id + n, "model_name": name}
            )
            for n, name in enumerate(missing)
        ]
        return self.model_copy(update={"models": kept + added}).with_an_elected_primary()


class EffectiveModel(BaseModel):
    session_model_id: int
    model_name: str
    generation_params: dict[str, Any]
    """What a turn would send now."""
    chosen_by: dict[str, Chooser]
    """For each of them."""


class EffectiveParameters(BaseModel):
    models: list[EffectiveModel]
    """Those that a turn would ask, the primary first."""


class NewSessionModel(BaseModel):
    model_name: Annotated[ModelName, Field(examples=["gpt-4o-mini"])]
    is_primary: bool | None = None
    generation_params: Generation | None = None


class SessionModelChanges(BaseModel):
    is_primary: bool | None = None
    generation_params: Generation | None = None
