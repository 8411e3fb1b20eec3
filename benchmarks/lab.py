"""The local stack in memory, with learners whose libraries have the size that a measurement needs."""

import json
import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from local.functions import InProcess
from local.stack import Stack, read_template
from local.template import Template
from practice.runtime.log import logger
from tests.support.deliveries import Deliveries
from tests.support.learners import Learner, in_process, learner, new_user_id

MODELS = ("claude-3-haiku-20240307", "gpt-4o-mini", "llama-3-70b-instruct")
_WORDS = re.findall(
    r"\w+",
    "the learner asks why a fraction of two thirds is larger than one half and the model answers with an example from "
    "the kitchen where three equal slices of bread make the whole loaf so that two of them are more than half of it",
)


class Recording(InProcess):
    """Records the last event for a function, and withholds the event for the function in `held`."""

    last: dict[str, Any]
    held: str | None = None

    def __init__(self, template: Template) -> None:
        super().__init__(template)
        self.kept: list[dict[str, Any]] = []

    def invoke(self, function_name: str, event: dict[str, Any], timeout: float | None = None) -> Any:
        self.last = event
        if function_name != self.held:
            return super().invoke(function_name, event, timeout)
        self.kept.append(event)
        return {"statusCode": 204}


@dataclass
class Lab:
    stack: Stack
    gateway: Recording

    @property
    def environment(self) -> dict[str, str]:
        """Environment of the measured functions."""
        return {**self.stack.environment, "LOG_LEVEL": "INFO"}

    @property
    def peer_environment(self) -> dict[str, str]:
        return {**self.environment, "TOKEN_SECRET": self.stack.token_secret}

    def new_learner(self) -> Learner:
        return learner(in_process(self.stack), self.stack.token_secret, new_user_id())

    @cached_property
    def deliveries(self) -> Deliveries:
        return Deliveries(self.stack)

    def announce(self, class_id: int, *models: str) -> None:
        self.tell(
            "ClassUpdated",
            class_id=class_id,
            status="active",
            primary_model=models[0],
            allowed_models=list(models),
        )

    def tell(self, kind: str, **detail: Any) -> None:
        """Sends a catalogue event to its function."""
        about = {"version": 1, "updated_at": datetime.now(UTC).isoformat(), **detail}
        event = {"source": "practice.catalogue", "detail-type": kind, "detail": about}
        handed = in_process(self.stack)(
            "POST", "/_local/events", {"host": "localhost"}, json.dumps(event).encode()
        )
        assert handed.status == 200, handed.body

    def hold(self, function: str, act: Callable[[], object]) -> dict[str, Any]:
        """The event that `act` causes for a function, withheld from the function."""
        self.gateway.held, self.gateway.kept = function, []
        try:
            act()
            if not self.gateway.kept:
                self.deliveries.run()
        finally:
            self.gateway.held = None
        if not self.gateway.kept:
            raise SystemExit(f"no event arrived for {function}")
        return self.gateway.kept[0]

    def event(self, who: Learner, method: str, path: str, body: object = ...) -> dict[str, Any]:
        """The event of a successful request."""
        answer = who.ask(method, path, body)
        assert answer.status < 300, (answer.status, answer.body[:300])
        return self.gateway.last


@contextmanager
def laboratory(*, streams: bool = True) -> Iterator[Lab]:
    """Without a stream the table fills about ten times as fast, because the engine scans all records for each write."""
    logger.setLevel("ERROR")  # only in this process; the measured functions log normally
    made: list[Recording] = []
    template = read_template()
    if not streams:
        del template.table["StreamSpecification"]

    def invoker(template: Template) -> Recording:
        made.append(Recording(template))
        return made[0]

    with Stack(template=template, invoker=invoker) as stack:
        if not {"capacity", "streams", "load"} <= stack.capabilities:
            raise SystemExit(
                f"{stack.engine.name} does not count units and has no stream: the benchmarks need dynoxide"
            )
        yield Lab(stack, made[0])


def prose(characters: int, seed: int) -> str:
    """Text that is about as compressible as that of people and models."""
    choose = random.Random(seed)
    words: list[str] = []
    while sum(map(len, words)) + len(words) <= characters:
        words.append(choose.choice(_WORDS) + (str(choose.randrange(100)) if choose.random() < 0.2 else ""))
    return " ".join(words)[:characters]


def token_usage(seed: int) -> dict[str, Any]:
    return {
        "provider": "bedrock",
        "model": MODELS[0],
        "prompt_tokens": 400 + seed,
        "completion_tokens": 300,
        "total_tokens": 700 + seed,
        "_gf": {
            "retrieval": {
                "used": True,
                "retrieved_count": 3,
                "top_k": 5,
                "threshold": 0.35,
                "knowledge_ids": [1, 2, 3],
            },
            "sources": [],
            "runtime_model": MODELS[0],
        },
    }


def fill_session(lab: Lab, who: Learner, times: int = 1, responses: int | None = None) -> dict[str, Any]:
    """The standard session: 5 links, 20 responses of 1.5 KB, 3 models; each multiplied by `times`."""
    count = 20 * times if responses is None else responses
    class_id = new_user_id()
    lab.announce(class_id, *(MODELS if times == 1 else [f"model-{n}" for n in range(3 * times)]))
    session = who.open_session(
        class_id=class_id, title="Fractions", notes=prose(300, 1), knowledge_ids=[1, 2, 3], project_id=7
    )
    examples = [
        who.add_example(
            title=f"Example {n}",
            input_text=prose(200, n),
            output_text=prose(400, n + 1000),
            meta={"level": n},
        )["example_id"]
        for n in range(5 * times)
    ]
    path = f"/sessions/{session['session_id']}"
    chosen = {
        "style_preset": "custom",
        "style_params": {"tone": "warm", "length": 3},
        "generation_params": {"temperature": 0.3, "response_length_preset": "normal"},
        "few_shot_example_ids": examples,
    }
    assert who.patch(path + "/settings", chosen).status == 200
    models = who.models_of(session)
    for n in range(count):
        model = models[n % len(models)]["session_model_id"]
        body = {
            "prompt_text": prose(300, n),
            "response_text": prose(1200, n + 5000),
            "token_usage": token_usage(n),
            "latency_ms": 900 + n,
        }
        assert who.post(f"/models/{model}/responses", body).status == 201
    whole: dict[str, Any] = who.get(path).json
    assert (len(whole["responses"]), len(whole["settings"]["few_shot_links"])) == (count, 5 * times)
    return whole
