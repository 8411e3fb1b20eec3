"""Every profile of the stand-in under every kind of choice, through the front door."""

import json
from collections.abc import Callable, Iterator
from typing import Any, Final

from tests.support.learners import Learner
from tests.support.stand_in import DEFAULT_ANSWER, PROFILES

MODELS_OF_A_TURN: Final = 20
SAME: Final = {"max_completion_tokens": "max_tokens"}
CHOICES: Final[dict[str, dict[str, Any]]] = {
    "nothing": {},
    "one": {"generation_params": {"temperature": 0.3}},
    "all": {
        "generation_params": {
            "temperature": 0.4,
            "top_p": 0.9,
            "max_tokens": 1000,
            "stop": ["END"],
            "seed": 7,
            "presence_penalty": 0.1,
            "frequency_penalty": 0.1,
            "reasoning_effort": "low",
        }
    },
    "accurate": {"style_preset": "accurate"},
    "balanced": {"style_preset": "balanced"},
    "creative": {"style_preset": "creative"},
    "short": {"generation_params": {"response_length_preset": "short"}},
    "system": {"style_params": {"system_prompt": "Be brief."}},
    "stop": {"generation_params": {"stop": ["END"]}},
    "history": {},
}
TURNS: Final = {"history": 3}
"""The last one is asked with two turns before it."""

Outcomes = dict[str, dict[str, dict[str, Any]]]
"""By model and choice: the result or the entry of `errors`."""


def configuration(url: str, *, streams: bool = True) -> str:
    """MODELS with an entry for every profile, and nothing in it but what an operator has to know."""
    return json.dumps(
        {
            name: {
                "provider": each.provider,
                **({"base_url": f"{url}/v1"} if each.provider == "openai" else {}),
                **each.entry,
                **({} if streams else {"streams": False}),
            }
            for name, each in PROFILES.items()
        }
    )


def run(ada: Learner, class_of: Callable[..., int], choices: dict[str, dict[str, Any]] = CHOICES) -> Outcomes:
    outcomes: Outcomes = {name: {} for name in PROFILES}
    names = list(PROFILES)
    for start in range(0, len(names), MODELS_OF_A_TURN):
        models = names[start : start + MODELS_OF_A_TURN]
        class_id = class_of(*models)
        for choice, fields in choices.items():
            for outcome in _last_turn(ada, class_id, fields, TURNS.get(choice, 1)):
                outcomes[outcome["model_name"]][choice] = outcome
    return outcomes


def _last_turn(ada: Learner, class_id: int, fields: dict[str, Any], turns: int) -> Iterator[dict[str, Any]]:
    asked = {"prompt_text": "What is the capital of France?"}
    answer = ada.post(f"/sessions/run?class_id={class_id}", asked | fields)
    for _ in range(turns - 1):
        answer = ada.post(f"/sessions/{answer.json['session_id']}/chat", asked)
    assert answer.status in (201, 502), answer.body
    yield from answer.json.get("results", [])
    yield from answer.json["errors"]


def page(outcomes: Outcomes) -> str:
    """As a table of Markdown. The last column is what was chosen in `all` and does not go out."""
    lines = [f"| model | {' | '.join(CHOICES)} | left out of `all` |", f"|---|{'---|' * len(CHOICES)}---|"]
    for name, of_model in outcomes.items():
        cells = [_cell(of_model[choice]) for choice in CHOICES]
        lines.append(f"| `{name}` | {' | '.join(cells)} | {_left_out(of_model['all'])} |")
    return "\n".join(lines) + "\n"


def _cell(outcome: dict[str, Any]) -> str:
    if "code" in outcome:
        return f"`{outcome['code']}`"
    assert outcome["response_text"] == DEFAULT_ANSWER
    return "yes"


def _left_out(outcome: dict[str, Any]) -> str:
    sent = {SAME.get(name, name) for name in outcome.get("generation_params", {})}
    return " ".join(f"`{name}`" for name in CHOICES["all"]["generation_params"] if name not in sent)
