"""The generation parameters that count for one model in one turn, and who chose each.

Only choices are sent: values of a request, of the agent, of the preset, and of the deployment's `defaults`. The values that
a session starts with are shown and not sent.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from practice.schemas.fields import compact_bytes
from practice.schemas.generation import Chooser, GenerationParams, LengthPreset, non_null
from practice.schemas.session_model import StoredModel
from practice.schemas.settings import StoredSettings, StylePreset
from practice.turns.configuration import SYSTEM, ModelConfiguration

PRESETS: Final[dict[str, dict[str, Any]]] = {
    StylePreset.ACCURATE: {"temperature": 0.2, "top_p": 0.8},
    StylePreset.BALANCED: {"temperature": 0.6, "top_p": 0.9},
    StylePreset.CREATIVE: {"temperature": 1.0, "top_p": 0.95},
}
CAPS: Final[dict[str, int]] = {LengthPreset.SHORT: 256, LengthPreset.NORMAL: 512, LengthPreset.LONG: 2048}

CAP: Final = "max_tokens"
"""The token cap, by whichever name it was chosen and by whichever it is sent."""
CAP_NAMES: Final = ("max_completion_tokens", "max_tokens")
FREE_BYTES: Final = 2048
"""Of all stop sequences together: each turn keeps them for each of its models."""
BYTES_PER_TOKEN: Final = 3
"""For bounds: a prompt has hardly ever more tokens than this makes of it."""
BEDROCK_MAX_TEMPERATURE: Final = 1.0
"""Of Converse itself, whatever the model can."""


class Chosen(NamedTuple):
    params: dict[str, Any]
    """By our names, the cap as `max_tokens`."""
    chosen_by: dict[str, Chooser]


def chosen(configured: ModelConfiguration | None, settings: StoredSettings, model: StoredModel) -> Chosen:
    """What was chosen and can be sent to this model. A run's own parameters are its session's settings by now."""
    agent = settings.agent_snapshot.get("generation_params")
    in_settings = _chosen(settings.generation_params, settings.chosen)
    in_model = _chosen(model.generation_params, model.chosen)
    layers = {
        Chooser.DEPLOYMENT: non_null(configured.defaults) if configured else {},
        Chooser.PRESET: PRESETS.get(settings.style_preset or "", {}),
        Chooser.AGENT: _valid(agent if isinstance(agent, dict) else {}),
        Chooser.SETTINGS: in_settings,
        # The settings' parameters are merged into the session's models: what is equal there was chosen here.
        Chooser.SESSION_MODEL: {
            name: value for name, value in in_model.items() if in_settings.get(name) != value
        },
    }
    params: dict[str, Any] = {}
    chosen_by: dict[str, Chooser] = {}
    for chooser, layer in layers.items():
        for name, value in sendable(layer).items():
            params[name], chosen_by[name] = value, chooser
    thinks = configured is not None and params.get("reasoning_effort") != "none"
    _set_cap(layers, params, chosen_by, configured.thinking_tokens if configured and thinks else 0)
    if configured:
        for name in refused(configured, params, chosen_by):
            del params[name], chosen_by[name]
    return Chosen(params, chosen_by)


def sendable(params: dict[str, Any]) -> dict[str, Any]:
    """Of these what a provider can be sent as it is, without the cap."""
    return {name: value for name, value in params.items() if name in _SENDABLE and _SENDABLE[name](value)}


def _set_cap(
    layers: dict[Chooser, dict[str, Any]],
    params: dict[str, Any],
    chosen_by: dict[str, Chooser],
    thinking_tokens: int,
) -> None:
    """The last cap that a person or an agent chose, else that of the length preset, else the deployment's."""
    by_whom = [
        chooser
        for chooser in (Chooser.DEPLOYMENT, Chooser.AGENT, Chooser.SETTINGS, Chooser.SESSION_MODEL)
        if _cap_of(layers[chooser]) is not None
    ]
    lengths = [
        chooser for chooser, layer in layers.items() if layer.get("response_length_preset") is not None
    ]
    length = CAPS.get(layers[lengths[-1]]["response_length_preset"]) if lengths else None
    if by_whom and (by_whom[-1] != Chooser.DEPLOYMENT or length is None):
        params[CAP], chosen_by[CAP] = _cap_of(layers[by_whom[-1]]), by_whom[-1]
    elif length is not None:
        params[CAP], chosen_by[CAP] = length + thinking_tokens, lengths[-1]


def _cap_of(layer: dict[str, Any]) -> int | None:
    return next((int(layer[name]) for name in CAP_NAMES if layer.get(name) is not None), None)


def refused(
    model: ModelConfiguration, params: dict[str, Any], chosen_by: dict[str, Chooser] | None = None
) -> set[str]:
    """Which of these a model does not take. Of parameters that exclude each other the one chosen last stays."""
    gone = params.keys() & _omitted(model, params)
    rivals = [name for name in dict.fromkeys(map(_own_name, model.one_of)) if name in params.keys() - gone]
    if len(rivals) > 1 and len(model.one_of) > 1:
        ranks = list(Chooser)
        winner = max(rivals, key=lambda name: ranks.index(chosen_by[name])) if chosen_by else rivals[0]
        gone |= set(rivals) - {winner}
    return gone


def takes_system(model: ModelConfiguration, params: dict[str, Any]) -> bool:
    """Whether a system text goes out in a role of its own. Of what excludes the role the parameter goes: it was chosen."""
    rivals = {_own_name(name) for name in model.one_of} if SYSTEM in model.one_of else set()
    return SYSTEM not in _omitted(model, params) and not rivals & params.keys()


def _omitted(model: ModelConfiguration, params: dict[str, Any]) -> set[str]:
    is_thinking = params.get("reasoning_effort") != "none"
    return {_own_name(name) for name in [*model.omits, *(model.thinking_omits if is_thinking else [])]}


def _own_name(name: str) -> str:
    return CAP if name in CAP_NAMES else name


def within_limits(model: ModelConfiguration, params: dict[str, Any], prompt_bytes: int) -> dict[str, Any]:
    """As they can be sent: temperature and cap within what the model can, the cap that its interface demands added."""
    gone = refused(model, params)
    sent = {name: value for name, value in params.items() if name not in gone}
    highest = model.max_temperature
    if model.provider == "bedrock":
        highest = min(highest or BEDROCK_MAX_TEMPERATURE, BEDROCK_MAX_TEMPERATURE)
    if highest is not None and "temperature" in sent:
        sent["temperature"] = min(sent["temperature"], highest)
    left = model.context_window - prompt_bytes // BYTES_PER_TOKEN - 1 if model.context_window else None
    largest = [limit for limit in (model.max_output_tokens, left) if limit is not None]
    if model.cap_required and CAP not in sent and largest and CAP not in {_own_name(n) for n in model.omits}:
        sent[CAP] = max(1, min(largest))
    elif CAP in sent and largest:
        if min(largest) >= 1:
            sent[CAP] = min(sent[CAP], *largest)
        else:
            del sent[CAP]  # the estimate leaves no room: the service knows how much there is
    return sent


def _chosen(params: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return non_null({name: params[name] for name in names if name in params})


def _valid(params: dict[str, Any]) -> dict[str, Any]:
    """An agent's parameters are announced unchecked: what does not fit is left out."""
    kept = dict(params)
    for name in GenerationParams.model_fields:
        if name in kept:
            try:
                kept[name] = getattr(GenerationParams.model_validate({name: kept[name]}), name)
            except ValidationError:
                del kept[name]
    return non_null(kept)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_stop(value: Any) -> bool:
    texts = value if isinstance(value, list) else [value]
    are_texts = all(isinstance(each, str) and each for each in texts)
    return bool(texts) and are_texts and compact_bytes({"stop": value}) <= FREE_BYTES


_SENDABLE: Final[dict[str, Callable[[Any], bool]]] = {
    "temperature": _is_number,
    "top_p": _is_number,
    "presence_penalty": lambda value: _is_number(value) and -2 <= value <= 2,
    "frequency_penalty": lambda value: _is_number(value) and -2 <= value <= 2,
    "seed": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "stop": _is_stop,
    "reasoning_effort": lambda value: isinstance(value, str) and 0 < len(value) <= 32,
}
"""What is sent beside the cap; values of another kind are kept with the settings and never sent."""
