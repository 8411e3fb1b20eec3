"""The generation parameters that count for one model in one turn."""

from collections.abc import Iterable
from typing import Any, Final

from pydantic import ValidationError

from practice.schemas.fields import compact_bytes
from practice.schemas.generation import DEFAULTS, GenerationParams, LengthPreset, non_null
from practice.schemas.session_model import StoredModel
from practice.schemas.settings import StoredSettings, StylePreset
from practice.turns.configuration import ModelConfiguration

PRESETS: Final[dict[str, dict[str, Any]]] = {
    StylePreset.ACCURATE: {"temperature": 0.2, "top_p": 0.8},
    StylePreset.BALANCED: {"temperature": 0.6, "top_p": 0.9},
    StylePreset.CREATIVE: {"temperature": 1.0, "top_p": 0.95},
}
CAPS: Final[dict[str, int]] = {LengthPreset.SHORT: 256, LengthPreset.NORMAL: 512, LengthPreset.LONG: 2048}

FREE_BYTES: Final = 2048
"""Of the parameters that we do not know, together."""
_CAP_NAMES: Final = ("max_completion_tokens", "max_tokens")


def effective(
    configured: ModelConfiguration | None, settings: StoredSettings, model: StoredModel
) -> dict[str, Any]:
    """Later wins: what nobody chose, model defaults, preset, agent, settings, session model.

    A choice is a value that was sent; null says nothing. A run's own parameters are its session's settings by now.
    """
    agent = settings.agent_snapshot.get("generation_params")
    choices = [
        _known_to_be_valid(agent if isinstance(agent, dict) else {}),
        _chosen(settings.generation_params, settings.chosen),
        _chosen(model.generation_params, model.chosen),
    ]
    defaults = non_null(configured.defaults) if configured else {}
    merged = dict(DEFAULTS)
    for layer in (defaults, PRESETS.get(settings.style_preset or "", {}), *choices):
        merged |= layer
    cap = _cap(choices) or CAPS.get(merged["response_length_preset"] or "") or _cap([defaults])
    cap = cap or DEFAULTS["max_completion_tokens"]
    if configured and configured.max_output_tokens:
        cap = min(cap, configured.max_output_tokens)
    if configured and configured.max_temperature is not None:
        merged["temperature"] = min(merged["temperature"], configured.max_temperature)
    return _bounded(merged) | dict.fromkeys(_CAP_NAMES, cap)


def _bounded(params: dict[str, Any]) -> dict[str, Any]:
    """Without the free keys that are too large for a parameter: each turn keeps these for each of its models."""
    kept = {}
    left = FREE_BYTES
    for name, value in params.items():
        size = 0 if name in DEFAULTS else compact_bytes({name: value})
        if size <= left:
            kept[name] = value
            left -= size
    return kept


def _chosen(params: dict[str, Any], chosen: Iterable[str]) -> dict[str, Any]:
    return non_null({name: params[name] for name in chosen if name in params})


def _cap(layers: Iterable[dict[str, Any]]) -> int | None:
    """The last one; `max_completion_tokens` where a layer has both."""
    caps = [layer[name] for layer in layers for name in reversed(_CAP_NAMES) if name in layer]
    return int(caps[-1]) if caps else None


def _known_to_be_valid(params: dict[str, Any]) -> dict[str, Any]:
    """An agent's parameters are announced unchecked: what does not fit is left out."""
    kept = dict(params)
    for name in GenerationParams.model_fields:
        if name in kept:
            try:
                kept[name] = getattr(GenerationParams.model_validate({name: kept[name]}), name)
            except ValidationError:
                del kept[name]
    return non_null(kept)
