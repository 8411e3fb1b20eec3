"""A learner's account with something of everything, and the requests that name each thing in it."""

import time
from dataclasses import dataclass, field
from typing import Any

from practice.caller import Caller
from practice.http.endpoint import Endpoint
from practice.schemas.ballot import NewVote
from practice.schemas.transfer import TransferStatus
from practice.transfers import jobs
from tests.support.learners import BASE_URL, Learner, made, new_user_id
from tests.support.planted import filled
from tools.openapi import endpoints

ENDPOINTS = [each for each in endpoints() if each.takes_a(Caller)]


@dataclass
class Account:
    """`ids` by the names of path parameters and of fields; `text` is in everything that holds one."""

    owner: Learner
    text: str = "text"
    ids: dict[str, int] = field(default_factory=dict)
    model_name: str = ""

    def __post_init__(self) -> None:
        who, text = self.owner, self.text
        example = who.add_example(title=text, input_text=text, output_text=text, meta={text: [text]})
        session = who.open_session(title=text, notes=text, knowledge_ids=[1, 2])
        path = f"/sessions/{session['session_id']}"
        selected = {
            "style_params": {text: text},
            "generation_params": {text: text},
            "few_shot_example_ids": [example["example_id"]],
        }
        made(who.patch(f"{path}/settings", selected), 200)
        response = who.add_response(session, prompt_text=text, response_text=text, token_usage={text: text})
        waiting = who.post(f"{path}/chat", {"prompt_text": text}, headers={"prefer": "respond-async"})
        self.model_name = response["model_name"]
        self.ids |= {
            "agent_id": new_user_id(),
            "example_id": example["example_id"],
            "session_id": session["session_id"],
            "setting_id": session["settings"]["setting_id"],
            "session_model_id": response["session_model_id"],
            "response_id": response["response_id"],
            "turn_id": made(waiting, 202)["turn_id"],
            "import_id": made(who.post("/import"), 202)["import_id"],
        }
        self.ids["export_id"] = self._export()
        if BASE_URL:
            wait_for_turn(who, waiting.headers["location"])

    def _export(self) -> int:
        """Only a large account has one through the front: there it is another id of the account's own."""
        if BASE_URL:
            return self.ids["import_id"]
        caller = Caller(self.owner.user_id, 2**40)
        return jobs.start(caller, "export", TransferStatus.QUEUED).transfer_id

    def path_of(self, endpoint: Endpoint, **replaced: object) -> str:
        """Without a query; a path parameter that nothing here has fails, so that a new one is thought of."""
        path = endpoint.path
        for name in endpoint.path_parameters:
            path = path.replace("{" + name + "}", str(replaced.get(name, self.ids[name])))
        return path

    def target(self, endpoint: Endpoint, query: str = "", **replaced: object) -> str:
        return self.path_of(endpoint, **replaced) + query_string(endpoint, query)

    def body_of(self, endpoint: Endpoint) -> dict[str, Any]:
        """One that fits, with every field and ids of the account's own; empty where none is taken."""
        known = {**self.ids, "class_id": 1, "model_name": self.model_name, "prompt_text": self.text}
        known["after_turn_id"] = self.ids["response_id"]  # a turn of its own, which has ended

        def plant(name: str, _: dict[str, Any]) -> Any:
            return known.get(name.removeprefix("few_shot_").removesuffix("s"), ...)

        body = filled(endpoint.body_model, plant) if endpoint.body_model else {}
        return one_choice(endpoint, body)


def one_choice(endpoint: Endpoint, body: dict[str, Any]) -> dict[str, Any]:
    """Of fields of which one alone may be sent."""
    return {"response_id": body["response_id"]} if endpoint.body_model is NewVote else body


def wait_for_turn(who: Learner, location: str, seconds: float = 60) -> None:
    """A worker elsewhere takes it from the queue: what it writes is not what a test is about."""
    deadline = time.monotonic() + seconds
    while made(who.get(location), 200)["status"] in ("queued", "running"):
        assert time.monotonic() < deadline, location
        time.sleep(0.2)


def query_string(endpoint: Endpoint, query: str = "") -> str:
    """The required parameters, all of them ids, before `query`: of two the last counts."""
    fields = endpoint.query_model.model_fields if endpoint.query_model else {}
    output = "&".join(
        [*(f"{name}=1" for name, each in fields.items() if each.is_required()), *([query] if query else [])]
    )
    return f"?{output}" if output else ""
