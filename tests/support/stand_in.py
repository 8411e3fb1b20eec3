"""A model service as strict as the public ones: it refuses what they refuse, in their words.

`provider_profiles.json` has a profile for each model, every line of it with the public source of the fact. One server
speaks both interfaces: OpenAI's chat completions under `/v1`, and Bedrock's Converse.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from tests.support.providers import FakeProvider, Played

FILE: Final = Path(__file__).with_name("provider_profiles.json")
TABLE: Final[dict[str, Any]] = json.loads(FILE.read_text())
DEFAULT_ANSWER: Final = "Paris."
THOUGHT: Final = "The capital of France, surely."
CAPS: Final = ("max_tokens", "max_completion_tokens", "maxTokens")
BEDROCK_NAMES: Final = {"top_p": "topP", "stop": "stopSequences"}
FIELDS_OF_OPENAI: Final = (
    *("model", "messages", "temperature", "top_p", "stop", "seed", "presence_penalty", "frequency_penalty"),
    *("reasoning_effort", "max_tokens", "max_completion_tokens", "stream", "stream_options"),
)


@dataclass(frozen=True, slots=True)
class Generated:
    """An answer before it takes the shape of an interface: what comes whole is made of it, and what streams can be."""

    thinking: str
    text: str
    finish: str
    prompt_tokens: int
    completion_tokens: int
    thinking_tokens: int


class Refused(Exception):
    def __init__(self, kind: str, **values: object) -> None:
        super().__init__(kind)
        self.kind = kind
        self.values = values


@dataclass(frozen=True, slots=True)
class Profile:
    model: str
    dialect: str
    entry: dict[str, Any]
    """What an operator adds to the model's entry, because only the operator knows it: the length of a server's window."""
    facts: list[dict[str, Any]]

    @property
    def provider(self) -> str:
        return "bedrock" if self.dialect == "bedrock" else "openai"

    def all(self, name: str) -> Iterator[tuple[dict[str, Any], Any]]:
        return ((fact, fact[name]) for fact in self.facts if name in fact)

    def one(self, name: str) -> Any:
        return next((value for _, value in self.all(name)), None)

    def answer(self, params: dict[str, Any], messages: list[tuple[str, str]]) -> Generated:
        """`messages` with the system text first, as the role `system`."""
        self._accept(params)
        self._accept_roles(messages)
        prompt = sum(math.ceil(len(text.encode()) / 4) + 4 for _, text in messages)
        cap = next((params[name] for name in CAPS if name in params), None)
        self._accept_length(prompt, cap)
        thinks = self.one("thinks") or 0
        if params.get("reasoning_effort") == "none":
            thinks = 0
        wanted = thinks + math.ceil(len(DEFAULT_ANSWER) / 4)
        window = self.one("context_window")
        limit = min(cap or math.inf, window - prompt if window else math.inf)
        used = int(min(wanted, limit))
        text = DEFAULT_ANSWER[: max(0, used - thinks) * 4]
        finish = "stop" if used == wanted else "length"
        return Generated(THOUGHT if thinks else "", text, finish, prompt, used, min(thinks, used))

    def _accept(self, params: dict[str, Any]) -> None:
        effort = params.get("reasoning_effort")
        if self.dialect == "openai":
            for name in params.keys() - set(FIELDS_OF_OPENAI):
                raise Refused("unknown", name=name)
        for name in self._named("unknown", params):
            raise Refused("unknown", name=name)
        for fact, names in self.all("refuses"):
            for name in names:
                if name in params and (effort is None or effort != fact.get("unless_effort")):
                    raise Refused("unsupported", name=name)
        for fact, defaults in self.all("only_default"):
            for name, default in defaults.items():
                if params.get(name, default) != default and effort != fact.get("unless_effort", "no effort"):
                    raise Refused("only_default", name=name, value=params[name], default=default)
        for _, renamed in self.all("refuses_for"):
            for name, other in renamed.items():
                if name in params:
                    raise Refused("renamed", name=name, other=other)
        for name in self._named("deprecated", params):
            raise Refused("deprecated", name=name)
        for _, names in self.all("one_of"):
            if all(name in params for name in names):
                raise Refused("one_of")
        for _, limits in self.all("at_most"):
            for name, limit in limits.items():
                if params.get(name, limit) > limit:
                    raise Refused(
                        "at_most", name=BEDROCK_NAMES.get(name, name), value=params[name], limit=limit
                    )

    def _named(self, fact: str, params: dict[str, Any]) -> Iterator[str]:
        return (name for _, names in self.all(fact) for name in names if name in params)

    def _accept_roles(self, messages: list[tuple[str, str]]) -> None:
        talk = [role for role, _ in messages if role != "system"]
        if self.one("no_system") and len(talk) < len(messages):
            raise Refused("no_system")
        if self.one("alternates") and talk != ["user", "assistant"] * (len(talk) // 2) + ["user"]:
            raise Refused("alternation")
        if self.one("refuses_blank"):
            for index, (_, text) in enumerate(messages):
                if not text.strip():
                    raise Refused("blank", value=index)

    def _accept_length(self, prompt: int, cap: int | None) -> None:
        largest, window = self.one("max_output_tokens"), self.one("context_window")
        if cap and largest and cap > largest:
            raise Refused("too_many_tokens", value=cap, limit=largest)
        if window and prompt + (cap or 1) > window:
            raise Refused("too_long", value=cap or 1, prompt=prompt, total=prompt + (cap or 1), limit=window)

    def refusal(self, refused: Refused) -> Played:
        errors = TABLE["errors"]
        reported = errors[self.dialect].get(refused.kind) or errors["openai"][refused.kind]
        body = json.loads(_filled(json.dumps(reported["body"]), refused.values))
        headers = {"x-amzn-errortype": reported["code"]} if "code" in reported else {}
        return Played(body, reported["status"], headers)


def _filled(template: str, values: dict[str, object]) -> str:
    for name, value in values.items():
        template = template.replace("{" + name + "}", str(value))
    return template


PROFILES: Final[dict[str, Profile]] = {
    each["model"]: Profile(each["model"], each["dialect"], each["entry"], each["facts"])
    for each in TABLE["profiles"]
}


class StandIn(FakeProvider):
    """A FakeProvider whose models are those of the profiles; what a test plays for a model goes first."""

    def play(self, model: str, body: dict[str, Any]) -> Played:
        if model in self.plays:
            return self.plays[model](body)
        is_bedrock = "messages" in body and "model" not in body
        name = unquote(model)
        profile = PROFILES.get(name)
        if profile is None or (profile.dialect == "bedrock") != is_bedrock:
            absent = Profile(name, "bedrock" if is_bedrock else "openai", {}, [])
            regional = [each for each in PROFILES.values() if each.model.endswith("." + name)]
            is_regional = any(each.one("needs_profile") for each in regional)
            return absent.refusal(Refused("needs_profile" if is_regional else "no_model", name=name))
        read, written = (_from_converse, _converse) if is_bedrock else (_from_chat, _chat)
        try:
            return Played(written(profile, profile.answer(*read(body))))
        except Refused as refused:
            return profile.refusal(refused)


def _from_chat(body: dict[str, Any]) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    params = {name: value for name, value in body.items() if name not in {"model", "messages"}}
    return params, [(each["role"], each["content"]) for each in body["messages"]]


def _from_converse(body: dict[str, Any]) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    sent = body.get("inferenceConfig", {})
    ours = {theirs: name for name, theirs in BEDROCK_NAMES.items()}
    params = {ours.get(name, name): value for name, value in sent.items()}
    system = [("system", each["text"]) for each in body.get("system", [])]
    talk = [(each["role"], "".join(part["text"] for part in each["content"])) for each in body["messages"]]
    return params, [*system, *talk]


def _chat(profile: Profile, made: Generated) -> dict[str, Any]:
    shown = profile.one("shown")
    message: dict[str, Any] = {"role": "assistant", "content": made.text}
    if made.thinking and shown == "reasoning_content":
        message["reasoning_content"] = made.thinking
    if made.thinking and shown == "think_tags":
        end = f"\n</think>\n\n{made.text}" if made.text else ""
        message["content"] = f"<think>\n{made.thinking}{end}"
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": profile.model,
        "choices": [{"index": 0, "message": message, "finish_reason": made.finish}],
        "usage": {
            "prompt_tokens": made.prompt_tokens,
            "completion_tokens": made.completion_tokens,
            "total_tokens": made.prompt_tokens + made.completion_tokens,
            "completion_tokens_details": {"reasoning_tokens": made.thinking_tokens},
        },
    }


def _converse(profile: Profile, made: Generated) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"text": made.text}] if made.text else []
    if made.thinking and profile.one("shown") == "reasoning_block":
        content.insert(
            0, {"reasoningContent": {"reasoningText": {"text": made.thinking, "signature": "c2ln"}}}
        )
    return {
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": {"stop": "end_turn", "length": "max_tokens"}[made.finish],
        "usage": {
            "inputTokens": made.prompt_tokens,
            "outputTokens": made.completion_tokens,
            "totalTokens": made.prompt_tokens + made.completion_tokens,
        },
        "metrics": {"latencyMs": 5},
    }
