"""Whole histories of a learner, thousands of steps at random, against a plain model of what should be read.

Every answer is compared whole. What the service alone decides (ids, moments) is taken from the first answer that has it,
and must never change afterwards.
"""

import copy
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from local.stack import Stack
from practice.schemas.response import Response
from practice.store import turns
from practice.turns.worker import WORKER_LEASE
from tests.support.learners import BASE_URL, Answer, Learner, walk
from tests.support.torture import SEED, SIZES, count

pytestmark = pytest.mark.trust

# Mapped: Hypothesis shows a strategy by its arguments and refuses to show more than 30 KB, whatever fields there are.
long_texts = st.just("long ").map(lambda text: text * 2000)
texts = st.one_of(st.none(), st.sampled_from(["", "a", "Ü 𝄞", '"\\']), long_texts)
ids = st.one_of(st.none(), st.integers(1, 3))
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.sampled_from([0.1, 1.0, -0.0, 1e22]),
    st.just("x"),
)
objects = st.dictionaries(
    st.sampled_from(["a", "b", "ü"]), st.one_of(scalars, st.lists(scalars, max_size=2)), max_size=3
)
session_fields = st.fixed_dictionaries(
    {},
    optional={
        "class_id": st.integers(1, 2),
        "title": texts,
        "notes": texts,
        "project_id": ids,
        "agent_id": ids,
        "knowledge_ids": st.one_of(st.none(), st.lists(st.integers(-1, 4), max_size=4)),
    },
)
generation = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.sampled_from([0, 0.5, 2, None]),
        "max_tokens": st.sampled_from([1, 99, None]),
        "stop": scalars,
    },
)
OF_A_RESPONSE = tuple(Response.model_fields)
OF_A_RESULT = ("response_id", "session_model_id", "model_name", "prompt_text", "response_text", "token_usage")
DEFAULTS = {
    "temperature": 0.7,
    "top_p": 0.9,
    "response_length_preset": None,
    "max_completion_tokens": 10240,
    "max_tokens": 10240,
}


def merged(params: dict[str, Any], sent: dict[str, Any]) -> dict[str, Any]:
    sent = dict(sent)
    if "max_tokens" in sent:
        cap = sent.pop("max_tokens")
        if cap is not None:
            sent |= {"max_tokens": cap, "max_completion_tokens": cap}
    if isinstance(sent.get("temperature"), int):
        sent["temperature"] = float(sent["temperature"])
    return params | sent


def same(one: Any, other: Any) -> bool:
    """1, 1.0 and true are three values."""
    return repr(canonical(one)) == repr(canonical(other))


def canonical(value: Any) -> Any:
    if isinstance(value, dict):
        return sorted((name, canonical(inner)) for name, inner in value.items())
    return [canonical(inner) for inner in value] if isinstance(value, list) else value


def without_identity(value: Any) -> Any:
    """Without ids and moments: two histories that come to the same."""
    if isinstance(value, dict):
        return {
            name: without_identity(inner)
            for name, inner in value.items()
            if not name.endswith(("id", "_ids", "_at", "latency_ms"))
        }
    return [without_identity(inner) for inner in value] if isinstance(value, list) else value


class History(RuleBasedStateMachine):
    another_learner: Callable[[], Learner]
    work: Callable[[Learner, int], None] | None
    """Brings a queued turn to its worker; None where a worker is at work by itself."""
    states: set[int]

    sessions = Bundle("sessions")
    examples = Bundle("examples")
    responses = Bundle("responses")

    def __init__(self) -> None:
        super().__init__()
        self.learner = self.another_learner()
        self.other_learner = self.another_learner()
        self.session: dict[int, dict[str, Any]] = {}
        self.models: dict[int, list[dict[str, Any]]] = {}
        self.example: dict[int, dict[str, Any]] = {}
        self.turns: dict[int, list[dict[str, Any]]] = {}
        """Of each session: those with an item of their own, in order."""
        self.after: dict[int, int | None] = {}
        """Of each turn with an item of its own: the turn that it follows."""
        self.active_at: dict[int, str] = {}
        self.used: dict[tuple[str, str], Counter[str]] = {}
        """What each model took on each day, whatever was deleted since."""
        self.turns_run = 0
        self.rated: dict[int, dict[str, Any]] = {}
        """By response; those of deleted responses too, which nothing brings back."""
        self.votes: dict[int, dict[str, Any]] = {}
        """By turn, with the answers that each compares."""
        self.revealed: set[int] = set()
        """Turns whose models a vote has shown."""
        self.steps = 0
        self.keys = 0
        self.names: list[str] = []

    def post(self, path: str, body: Any, *, twice: bool, **headers: str) -> Answer:
        """With an Idempotency-Key the second time changes nothing."""
        if not twice:
            return self.learner.post(path, body, headers=headers)
        self.keys += 1
        keyed = {**headers, "idempotency-key": f"key {self.keys}"}
        first, second = (self.learner.post(path, body, headers=keyed) for _ in range(2))
        assert second.status == first.status
        if first.status < 300:
            assert second.body == first.body
        return first

    # Sessions

    @initialize(target=sessions)
    def begin(self) -> Any:
        return multiple(*(self.open_session({}, twice=False) for _ in range(3)))

    @initialize(target=examples)
    def begin_a_library(self) -> Any:
        return multiple(*(self.add_example({}, None, twice=False) for _ in range(2)))

    @rule(target=sessions, fields=session_fields, twice=st.booleans())
    def open_session(self, fields: dict[str, Any], twice: bool) -> int:
        fields = self._titled({"title": None, **fields})
        made = expect(self.post("/sessions", {"class_id": 1, **fields}, twice=twice), 201)
        self._opened(made, fields)
        assert same(made, self.session[made["session_id"]])
        return int(made["session_id"])

    @rule(
        target=sessions,
        fields=st.fixed_dictionaries({}, optional={"project_id": ids, "style_preset": st.just("creative")}),
        twice=st.booleans(),
    )
    def run_session(self, fields: dict[str, Any], twice: bool) -> Any:
        if self.work is None:
            return multiple()  # it would get a title in the background
        body = {"prompt_text": "First?", **fields}
        made = expect(self.post("/sessions/run?class_id=2", body, twice=twice), 201)
        shown = expect(self.learner.get(f"/sessions/{made['session_id']}"), 200)
        self._opened(shown, {"class_id": 2, "project_id": fields.get("project_id")})
        if "style_preset" in fields:
            self.session[made["session_id"]]["settings"]["style_preset"] = "creative"
        self._turned(made["session_id"], "First?", made["results"])
        self.after[made["results"][0]["response_id"]] = None
        self._read(made["session_id"], self.learner.get(f"/sessions/{made['session_id']}"))
        return int(made["session_id"])

    def _opened(self, made: dict[str, Any], fields: dict[str, Any]) -> None:
        session_id: int = made["session_id"]
        now, setting_id = made["created_at"], made["settings"]["setting_id"]
        self.turns[session_id] = []
        self.active_at[session_id] = now
        self.session[session_id] = {
            "session_id": session_id,
            "user_id": self.learner.user_id,
            "created_at": now,
            "updated_at": now,
            "class_id": 1,
            "project_id": None,
            "knowledge_ids": [],
            "agent_id": None,
            "title": None,
            "notes": None,
            "settings": {
                "setting_id": setting_id,
                "session_id": session_id,
                "created_at": now,
                "updated_at": now,
                "style_preset": None,
                "style_params": {},
                "generation_params": DEFAULTS,
                "agent_snapshot": {},
                "few_shot_links": [],
            },
            "responses": [],
            "responses_next_cursor": None,
            **self._stored(fields),
        }
        self.models[session_id] = self.learner.models_of(made)
        self.names = [each["model_name"] for each in self.models[session_id]]
        assert [model["generation_params"] for model in self.models[session_id]] == [DEFAULTS] * 2

    def _titled(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Where workers are at work by themselves, a session without a title would get one at any time."""
        has_title = "title" not in fields or fields["title"]
        return fields if self.work or has_title else fields | {"title": "Lesson"}

    @staticmethod
    def _stored(fields: dict[str, Any]) -> dict[str, Any]:
        kept = dict(fields)
        if "knowledge_ids" in kept:
            kept["knowledge_ids"] = list(
                dict.fromkeys(each for each in kept["knowledge_ids"] or [] if each > 0)
            )
        return kept

    @rule(session_id=sessions, fields=session_fields)
    def change_session(self, session_id: int, fields: dict[str, Any]) -> None:
        fields = self._titled(fields)
        answer = self.learner.patch(f"/sessions/{session_id}", fields)
        before = self.session.get(session_id)
        if before is None:
            return missing(answer)
        after = before | self._stored(fields)
        if not same(after, before):
            assert answer.json["updated_at"] > before["updated_at"]
            after["updated_at"] = answer.json["updated_at"]
            self.active_at[session_id] = answer.json["updated_at"]
        self.session[session_id] = after
        return self._read(session_id, answer)

    @rule(session_id=sessions)
    def read_session(self, session_id: int) -> None:
        answer = self.learner.get(f"/sessions/{session_id}")
        missing(self.other_learner.get(f"/sessions/{session_id}"))
        if session_id not in self.session:
            return missing(answer)
        return self._read(session_id, answer)

    def _read(self, session_id: int, answer: Answer) -> None:
        assert same(expect(answer, 200), self._shown(session_id)), (answer.json, self._shown(session_id))

    def _shown(self, session_id: int) -> dict[str, Any]:
        shown = copy.deepcopy(self.session[session_id])
        links = shown["settings"]["few_shot_links"]
        shown["settings"]["few_shot_links"] = [
            link | {"example": self.example[link["example_id"]]}
            for link in links
            if link["example_id"] in self.example
        ]
        live = {model["session_model_id"] for model in self.models[session_id]}
        shown["responses"] = [each for each in shown["responses"] if each["session_model_id"] in live]
        return shown

    @rule(session_id=consumes(sessions))
    def delete_session(self, session_id: int) -> None:
        answer = self.learner.delete(f"/sessions/{session_id}")
        assert answer.status == (204 if self.session.pop(session_id, None) else 404)
        missing(self.learner.get(f"/sessions/{session_id}"))
        missing(self.learner.get(f"/sessions/{session_id}/settings"))
        missing(self.learner.get(f"/sessions/{session_id}/models"))
        missing(self.learner.get(f"/sessions/{session_id}/turns"))
        missing(self.post(f"/sessions/{session_id}/chat", {"prompt_text": "Why?"}, twice=True))

    # Settings

    @rule(session_id=sessions)
    def read_settings(self, session_id: int) -> None:
        answer = self.learner.get(f"/sessions/{session_id}/settings")
        if session_id not in self.session:
            return missing(answer)
        assert same(expect(answer, 200), self._shown(session_id)["settings"])
        return None

    @rule(
        session_id=sessions,
        preset=st.sampled_from([..., None, "creative", "custom"]),
        style=st.one_of(st.just(...), st.none(), objects),
        params=st.one_of(st.just(...), generation),
        chosen=st.one_of(st.just(...), st.none(), st.lists(examples, max_size=3)),
    )
    def change_settings(self, session_id: int, preset: Any, style: Any, params: Any, chosen: Any) -> None:
        sent = {
            "style_preset": preset,
            "style_params": style,
            "generation_params": params,
            "few_shot_example_ids": chosen,
        }
        sent = {name: value for name, value in sent.items() if value is not ...}
        answer = self.learner.patch(f"/sessions/{session_id}/settings", sent)
        if session_id not in self.session:
            return missing(answer)
        before = self.session[session_id]["settings"]
        after = copy.deepcopy(before)
        if preset is not ...:
            after["style_preset"] = preset
        after["style_params"] |= style if isinstance(style, dict) else {}
        after["generation_params"] = merged(
            before["generation_params"], params if isinstance(params, dict) else {}
        )
        wanted = list(dict.fromkeys(chosen or [])) if chosen is not ... else None
        if wanted is not None:
            known = {link["example_id"]: link for link in before["few_shot_links"]}
            fits = [
                each in self.example and (self.example[each]["is_active"] or each in known) for each in wanted
            ]
            if not all(fits):
                assert (answer.status, answer.detail) == (403, "invalid_few_shot_example_ids")
                return None
            everything = {link["example_id"]: link for link in expect(answer, 200)["few_shot_links"]}
            after["few_shot_links"] = [
                {
                    **(known.get(each) or {k: v for k, v in everything[each].items() if k != "example"}),
                    "sort_order": order,
                }
                for order, each in enumerate(wanted)
            ]
        shown = expect(answer, 200)
        visible = [link for link in before["few_shot_links"] if link["example_id"] in self.example]
        unchanged = before | {"few_shot_links": visible}
        if not same(after | {"few_shot_links": after["few_shot_links"]}, unchanged) and not same(
            after, before
        ):
            assert shown["updated_at"] >= before["updated_at"]
        after["updated_at"] = shown["updated_at"]
        if same(after, before | {"updated_at": after["updated_at"]}):
            assert shown["updated_at"] == before["updated_at"]
        self.session[session_id] = self.session[session_id] | {"settings": after}
        assert same(shown, self._shown(session_id)["settings"])
        sent_params = {k: v for k, v in (params if isinstance(params, dict) else {}).items() if v is not None}
        for model in self.models[session_id]:
            model["generation_params"] = merged(model["generation_params"], sent_params)
        return self.read_models(session_id)

    # Models

    @rule(session_id=sessions)
    def read_models(self, session_id: int) -> None:
        answer = self.learner.get(f"/sessions/{session_id}/models")
        if session_id not in self.session:
            return missing(answer)
        models = sorted(
            self.models[session_id], key=lambda model: (not model["is_primary"], model["session_model_id"])
        )
        assert same(expect(answer, 200), models), (answer.json, models)
        return None

    @rule(
        session_id=sessions,
        which=st.integers(0, 1),
        primary=st.sampled_from([True, False, None]),
        params=generation,
    )
    def change_model(self, session_id: int, which: int, primary: bool | None, params: dict[str, Any]) -> None:
        models = self.models[session_id]
        if which >= len(models):
            return
        model = models[which]
        body = {"is_primary": primary, "generation_params": params}
        answer = self.learner.patch(f"/models/{model['session_model_id']}", body)
        missing(self.other_learner.patch(f"/models/{model['session_model_id']}", body))
        if session_id not in self.session:
            missing(answer)
            return
        model["generation_params"] = merged(model["generation_params"], params)
        if primary:
            for each in models:
                each["is_primary"] = each is model
        assert same(expect(answer, 200), model)

    @rule(
        session_id=sessions,
        second=st.booleans(),
        primary=st.sampled_from([True, None]),
        params=generation,
        twice=st.booleans(),
    )
    def add_model(
        self, session_id: int, second: bool, primary: bool | None, params: dict[str, Any], twice: bool
    ) -> None:
        """Merges into the one of that name, or brings back the one that was deleted."""
        name = self.names[second]
        body = {"model_name": name, "is_primary": primary, "generation_params": params}
        answer = self.post(f"/sessions/{session_id}/models", body, twice=twice)
        if session_id not in self.session:
            return missing(answer)
        models = self.models[session_id]
        shown = expect(answer, 201)
        model = next((each for each in models if each["model_name"] == name), None)
        if model is None:
            model = {
                "session_model_id": shown["session_model_id"],
                "session_id": session_id,
                "model_name": name,
                "is_primary": not models,
                "generation_params": self.session[session_id]["settings"]["generation_params"],
            }
            models.append(model)
        model["generation_params"] = merged(model["generation_params"], params)
        if primary:
            for each in models:
                each["is_primary"] = each is model
        assert same(shown, model), (shown, model)
        return self.read_models(session_id)

    @rule(session_id=sessions)
    def delete_a_model(self, session_id: int) -> None:
        models = self.models[session_id]
        if len(models) < 2 or session_id not in self.session:
            return
        gone = models.pop()
        assert self.learner.delete(f"/models/{gone['session_model_id']}").status == 204
        missing(self.learner.delete(f"/models/{gone['session_model_id']}"))
        if gone["is_primary"]:
            models[0]["is_primary"] = True
        self.read_models(session_id)

    # Responses

    @rule(
        target=responses,
        session_id=sessions,
        which=st.integers(0, 1),
        text=st.sampled_from(["", "x"]) | st.just("ü").map(lambda text: text * 9000),
        usage=st.one_of(st.none(), objects),
        twice=st.booleans(),
    )
    def add_response(self, session_id: int, which: int, text: str, usage: Any, twice: bool) -> Any:
        models = self.models[session_id]
        if which >= len(models):
            return multiple()
        model = models[which]
        body = {"prompt_text": "p", "response_text": text, "token_usage": usage}
        answer = self.post(f"/models/{model['session_model_id']}/responses", body, twice=twice)
        if session_id not in self.session:
            missing(answer)
            return multiple()
        made = expect(answer, 201)
        assert same(
            made,
            {
                "response_id": made["response_id"],
                "session_model_id": model["session_model_id"],
                "session_id": session_id,
                "model_name": model["model_name"],
                "created_at": made["created_at"],
                "latency_ms": None,
                **body,
            },
        )
        self.session[session_id]["responses"].append(made)
        self.active_at[session_id] = made["created_at"]
        return (session_id, made["response_id"])

    @rule(
        place=responses,
        latency=st.one_of(st.none(), st.integers(0, 9)),
        text=st.sampled_from([..., "changed"]),
    )
    def change_response(self, place: tuple[int, int], latency: int | None, text: Any) -> None:
        session_id, response_id = place
        body = {"latency_ms": latency} | ({} if text is ... else {"response_text": text})
        answer = self.learner.patch(f"/responses/{response_id}", body)
        response = self._response(session_id, response_id)
        if response is None:
            return missing(answer)
        response |= body
        assert same(expect(answer, 200), response)
        return None

    @rule(place=responses)
    def read_response(self, place: tuple[int, int]) -> None:
        answer = self.learner.get(f"/responses/{place[1]}")
        response = self._response(*place)
        missing(self.other_learner.get(f"/responses/{place[1]}"))
        if response is None:
            return missing(answer)
        assert same(expect(answer, 200), response)
        return None

    @rule(place=consumes(responses))
    def delete_response(self, place: tuple[int, int]) -> None:
        session_id, response_id = place
        response = self._response(session_id, response_id)
        answer = self.learner.delete(f"/responses/{response_id}")
        assert answer.status == (404 if response is None else 204)
        if response is not None:
            self.session[session_id]["responses"].remove(response)

    @rule(session_id=sessions, size=st.integers(1, 3))
    def walk_the_responses(self, session_id: int, size: int) -> None:
        path = f"/sessions/{session_id}/responses?size={size}"
        if session_id not in self.session:
            return missing(self.learner.get(path))
        pages = walk(self.learner, path)
        shown = [each for page in reversed(pages) for each in page["items"]]
        assert same(shown, self._shown(session_id)["responses"])
        for model in self.models[session_id]:
            expected = [each for each in shown if each["session_model_id"] == model["session_model_id"]]
            path = f"/models/{model['session_model_id']}/responses?size={size}"
            found: list[Any] = []
            cursor: str | None = ""
            while cursor is not None:
                answer = self.learner.get(path + (f"&cursor={cursor}" if cursor else ""))
                found += list(expect(answer, 200))
                cursor = answer.headers.get("x-next-cursor")
            assert same(found, expected)
        return None

    # Turns

    @rule(
        target=responses,
        session_id=sessions,
        only=st.sampled_from([None, 0, 1]),
        follow=st.one_of(st.just(...), st.none(), st.integers(0, 99)),
        twice=st.booleans(),
    )
    def chat(self, session_id: int, only: int | None, follow: Any, twice: bool) -> Any:
        names = None if only is None else [self.names[only], "unknown"]
        body: dict[str, Any] = {"prompt_text": "Why?", "model_names": names}
        after, has_ended = self._followed(session_id, follow)
        if follow is not ...:
            body["after_turn_id"] = after
        answer = self.post(f"/sessions/{session_id}/chat", body, twice=twice)
        if session_id not in self.session:
            missing(answer)
            return multiple()
        if not has_ended:
            assert (answer.status, answer.detail) == (409, "turn_not_finished")
            return multiple()
        if names and not any(each["model_name"] == names[0] for each in self.models[session_id]):
            assert (answer.status, answer.detail) == (400, "requested model_names not found in this session")
            return multiple()
        made = expect(answer, 201)
        assert made["session_title"] == self.session[session_id]["title"]
        assert (made["prompt_text"], made["errors"]) == ("Why?", [])
        self._turned(session_id, "Why?", made["results"], only=names[0] if names else None)
        self.after[made["results"][0]["response_id"]] = after
        return multiple(*((session_id, each["response_id"]) for each in made["results"]))

    def _followed(self, session_id: int, follow: Any) -> tuple[int | None, bool]:
        """What a turn follows that is sent with this choice, and whether it may."""
        if session_id not in self.session or follow is None:
            return None, True
        shown = self._shown_turns(session_id)
        if follow is ...:
            ended = [turn["turn_id"] for turn in shown if turn["status"] != "queued"]
            return (ended[-1] if ended else None), True
        if not shown:
            return None, True
        turn = shown[follow % len(shown)]
        return turn["turn_id"], turn["status"] != "queued"

    def _shown_turns(self, session_id: int) -> list[dict[str, Any]]:
        """With their answers, in order."""
        live = {each["response_id"]: each for each in self._shown(session_id)["responses"]}
        found = []
        own = dict.fromkeys(live)
        for turn in self.turns[session_id]:
            answers = [live[each] for each in turn["answers"] if each in live]
            for each in answers:
                del own[each["response_id"]]
            if answers or turn["status"] != "done":
                found.append({**turn, "answers": answers})
        for each in own:
            prompt = live[each]["prompt_text"]
            found.append({"turn_id": each, "status": "done", "prompt_text": prompt, "answers": [live[each]]})
        return sorted(found, key=lambda turn: int(turn["turn_id"]))

    def _tree(self, session_id: int, shown: list[dict[str, Any]]) -> dict[int, int | None]:
        """What each turn follows, also those whose answers were all deleted."""
        stored = [turn["turn_id"] for turn in self.turns[session_id]]
        nodes = sorted({*stored, *(turn["turn_id"] for turn in shown)})
        before = dict(zip(nodes, [None, *nodes], strict=False))
        return {each: self.after[each] if each in self.after else before[each] for each in nodes}

    @staticmethod
    def _branch(tree: dict[int, int | None], leaf: int) -> list[int]:
        """Of what a deleted response had been, the turn before it by time is left."""
        found: list[int] = []
        each: int | None = leaf
        while each is not None:
            found.append(each)
            each = tree[each] if each in tree else max((one for one in tree if one < each), default=None)
        return found

    def _used(self, moment: str, model_name: str, **took: int) -> None:
        self.used.setdefault((moment[:10], model_name), Counter()).update(turns=1, **took)

    def _turned(
        self, session_id: int, prompt: str, results: list[dict[str, Any]], only: str | None = None
    ) -> None:
        models = sorted(
            self.models[session_id], key=lambda model: (not model["is_primary"], model["session_model_id"])
        )
        asked = [model for model in models if only is None or model["model_name"] == only]
        assert [(each["session_model_id"], each["is_primary"]) for each in results] == [
            (model["session_model_id"], model["is_primary"]) for model in asked
        ]
        ids = [each["response_id"] for each in results]
        assert ids == sorted(ids)
        assert len({each["created_at"] for each in results}) == 1
        for each in results:
            assert (each["prompt_text"], each["model_name"]) == (
                prompt,
                next(m["model_name"] for m in asked if m["session_model_id"] == each["session_model_id"]),
            )
            self.session[session_id]["responses"].append(
                {"session_id": session_id}
                | {name: each[name] for name in OF_A_RESPONSE if name != "session_id"}
            )
        self.turns_run += 1
        for each in results:
            reported = each["token_usage"]
            took = {name: reported[name] for name in ("prompt_tokens", "completion_tokens")}
            self._used(each["created_at"], each["model_name"], answers=1, **took)
        self.active_at[session_id] = results[0]["created_at"]
        self.turns[session_id].append(
            {"turn_id": ids[0], "status": "done", "prompt_text": prompt, "answers": ids}
        )

    @rule(
        session_id=sessions,
        then=st.sampled_from(["work", "cancel", "leave", "cancel running", "cancel lapsed"]),
        twice=st.booleans(),
    )
    def chat_later(self, session_id: int, then: str, twice: bool) -> None:
        if self.work is None:
            return None
        after, _ = self._followed(session_id, ...)
        answer = self.post(
            f"/sessions/{session_id}/chat", {"prompt_text": "Later?"}, twice=twice, prefer="respond-async"
        )
        if session_id not in self.session:
            return missing(answer)
        made = expect(answer, 202)
        path, turn_id = answer.headers["location"], made["turn_id"]
        self.after[turn_id] = after
        missing(self.other_learner.delete(path))
        missing(self.other_learner.get(path))
        turn = expect(self.learner.get(path), 200)
        assert (turn["status"], turn["results"], turn["errors"]) == ("queued", [], [])
        self.active_at[session_id] = turn["created_at"]
        if then == "work":
            for _ in range(2):
                self.work(self.learner, turn_id)
            refused = self.learner.delete(path)
            assert (refused.status, refused.detail) == (409, "turn_finished")
            self._turned(session_id, "Later?", expect(self.learner.get(path), 200)["results"])
            return self.read_turns(session_id)
        if then != "leave":
            self._cancel(then, path, turn_id)
        status = "queued" if then == "leave" else "cancelled"
        self.turns[session_id].append(
            {"turn_id": turn_id, "status": status, "prompt_text": "Later?", "answers": []}
        )
        return self.read_turns(session_id)

    def _cancel(self, what: str, path: str, turn_id: int) -> None:
        """Queued, or claimed by a worker that dies before or after it is cancelled: it counts as no turn."""
        assert self.work is not None
        user_id = self.learner.user_id
        lapsed = turns.Lease(-1, 60)
        claimed = None
        if what != "cancel":
            claimed = turns.claim(user_id, turn_id, lapsed if what == "cancel lapsed" else WORKER_LEASE)
            assert expect(self.learner.get(path), 200)["status"] == "running"
        assert [self.learner.delete(path).status for _ in range(2)] == [204, 204]
        if claimed and what == "cancel running":
            assert expect(self.learner.get(path), 200)["status"] == "running"
            turns.extend_lease(user_id, turn_id, claimed.worker, lapsed)
        before = expect(self.learner.get(path), 200)
        self.work(self.learner, turn_id)
        turn = expect(self.learner.get(path), 200)
        errors = ["cancelled"] * len(turn["asked"]) if claimed else []
        assert same(before, turn)
        assert (turn["status"], turn["results"]) == ("cancelled", [])
        assert [each["code"] for each in turn["errors"]] == errors

    @rule(session_id=sessions)
    def read_turns(self, session_id: int) -> None:
        path = f"/sessions/{session_id}/turns"
        if session_id not in self.session:
            return missing(self.learner.get(path))
        pages = walk(self.learner, f"{path}?size=2")
        shown = [each for page in reversed(pages) for each in page["items"]]
        expected = self._shown_turns(session_id)
        tree = self._tree(session_id, expected)
        everything = [
            {name: turn[name] for name in ("turn_id", "status", "prompt_text")}
            | {"answers": [{name: each[name] for name in OF_A_RESULT} for each in turn["results"]]}
            for turn in shown
        ]
        expected = [
            turn | {"answers": [{name: each[name] for name in OF_A_RESULT} for each in turn["answers"]]}
            for turn in expected
        ]
        assert same(everything, expected), (everything, expected)
        for turn in shown:
            asked = [each["response_id"] for each in turn["asked"]]
            assert asked == sorted(asked)
            assert {each["response_id"] for each in turn["results"]} <= set(asked)
        in_order = [turn["turn_id"] for turn in shown]
        assert [turn["after_turn_id"] for turn in shown] == [tree[each] for each in in_order]
        for turn in [*shown[:2], *shown[-2:]]:
            alone = expect(self.learner.get(f"{path}/{turn['turn_id']}"), 200)
            siblings = [each for each in in_order if tree[each] == tree[turn["turn_id"]]]
            assert (alone["siblings"], alone["siblings_total"]) == (siblings[:100], len(siblings))
            assert same({name: alone[name] for name in turn}, turn)
        if shown:
            leaf = in_order[-1]
            pages = walk(self.learner, f"{path}?size=2&leaf={leaf}")
            branch = [each["turn_id"] for page in reversed(pages) for each in page["items"]]
            assert branch == [each for each in reversed(self._branch(tree, leaf)) if each in in_order]
        return None

    def _response(self, session_id: int, response_id: int) -> dict[str, Any] | None:
        if session_id not in self.session:
            return None
        live = {model["session_model_id"] for model in self.models[session_id]}
        found = (each for each in self.session[session_id]["responses"] if each["response_id"] == response_id)
        response = next(found, None)
        return response if response and response["session_model_id"] in live else None

    # Judging

    @rule(place=responses, score=st.one_of(st.none(), st.integers(1, 5)), comment=texts)
    def rate(self, place: tuple[int, int], score: int | None, comment: str | None) -> None:
        """None withdraws the rating."""
        session_id, response_id = place
        path = f"/responses/{response_id}/rating"
        there = self._response(session_id, response_id) is not None
        if score is None:
            answer = self.learner.delete(path)
            assert answer.status == (204 if there and response_id in self.rated else 404)
            self.rated.pop(response_id, None)
        else:
            body = {"score": score, "tags": ["clear"], "comment": comment}
            missing(self.other_learner.put(path, body))
            answer = self.learner.put(path, body)
            if not there:
                return missing(answer)
            self.rated[response_id] = body
            shown = expect(answer, 200)
            assert same({name: shown[name] for name in body}, body)
        return self._read_rating(session_id, response_id)

    def _read_rating(self, session_id: int, response_id: int) -> None:
        answer = self.learner.get(f"/responses/{response_id}/rating")
        rating = self.rated.get(response_id)
        if rating is None or self._response(session_id, response_id) is None:
            return missing(answer)
        shown = expect(answer, 200)
        assert same({name: shown[name] for name in rating}, rating)
        return None

    @rule(
        session_id=sessions,
        which=st.integers(0, 9),
        choice=st.sampled_from(["A", "B", 0, 1, "good", "bad"]),
        is_blind=st.booleans(),
    )
    def vote(self, session_id: int, which: int, choice: str | int, is_blind: bool) -> None:
        """By label, by the place of the answer, or a tie."""
        if session_id not in self.session or not (shown := self._shown_turns(session_id)):
            return None
        turn = shown[which % len(shown)]
        turn_id, answers = turn["turn_id"], [each["response_id"] for each in turn["answers"]]
        path = f"/sessions/{session_id}/turns/{turn_id}"
        body = {"label": choice} if choice in ("A", "B") else {"tie": choice, "blind": is_blind}
        if isinstance(choice, int):
            body = {"response_id": answers[choice] if choice < len(answers) else 5}
        missing(self.other_learner.put(f"{path}/vote", body))
        answer = self.learner.put(f"{path}/vote", body)
        if turn["status"] == "queued":
            assert (answer.status, answer.detail) == (409, "turn_not_finished")
            return None
        if len(answers) < 2:
            assert (answer.status, answer.detail) == (409, "too_few_answers")
            return self._read_vote(session_id, turn_id)
        labels = {each["label"]: each["response_id"] for each in expect(answer, 200)["revealed"]}
        assert sorted(labels.values()) == sorted(answers)
        blind = self.learner.get(f"{path}/blind")
        assert [each["label"] for each in expect(blind, 200)["answers"]] == sorted(labels)
        vote = {
            "winner": labels[str(choice)] if "label" in body else body.get("response_id"),
            "tie": body.get("tie"),
            "blind": turn_id not in self.revealed and ("label" in body or body.get("blind") is True),
        }
        before = self.votes.get(turn_id)
        if before and same(
            {name: before[name] for name in ("winner", "tie")}, {n: vote[n] for n in ("winner", "tie")}
        ):
            vote["blind"] = answer.json[
                "blind"
            ]  # the same choice once more changes nothing, unless it opens a blind one
        self.votes[turn_id] = {**vote, "answers": answers}
        self.revealed.add(turn_id)
        return self._read_vote(session_id, turn_id)

    @rule(session_id=sessions, which=st.integers(0, 9))
    def withdraw_a_vote(self, session_id: int, which: int) -> None:
        if session_id not in self.session or not (shown := self._shown_turns(session_id)):
            return
        turn_id = shown[which % len(shown)]["turn_id"]
        there = self._vote(session_id, turn_id) is not None
        answer = self.learner.delete(f"/sessions/{session_id}/turns/{turn_id}/vote")
        assert answer.status == (204 if there else 404)
        self.votes.pop(turn_id, None)
        self._read_vote(session_id, turn_id)

    def _vote(self, session_id: int, turn_id: int) -> dict[str, Any] | None:
        """It goes with the first of the answers that it compares."""
        vote = self.votes.get(turn_id)
        if vote is None or any(self._response(session_id, each) is None for each in vote["answers"]):
            return None
        return vote

    def _read_vote(self, session_id: int, turn_id: int) -> None:
        answer = self.learner.get(f"/sessions/{session_id}/turns/{turn_id}/vote")
        vote = self._vote(session_id, turn_id)
        if vote is None:
            return missing(answer)
        shown = expect(answer, 200)
        assert {name: shown[name] for name in ("winner", "tie", "blind")} == {
            name: vote[name] for name in ("winner", "tie", "blind")
        }
        return None

    # Examples

    @rule(target=examples, meta=objects, active=st.sampled_from([None, True, False]), twice=st.booleans())
    def add_example(self, meta: dict[str, Any], active: bool | None, twice: bool) -> int:
        body = {"input_text": "2+2", "output_text": "4", "meta": meta, "is_active": active}
        made = expect(self.post("/few-shot-examples", body, twice=twice), 201)
        example_id: int = made["example_id"]
        self.example[example_id] = made
        assert made["is_active"] == (active is not False)
        assert same(made["meta"], meta)
        return example_id

    @rule(
        example_id=examples,
        changes=st.fixed_dictionaries(
            {}, optional={"title": texts, "is_active": st.booleans(), "meta": st.one_of(st.none(), objects)}
        ),
    )
    def change_example(self, example_id: int, changes: dict[str, Any]) -> None:
        answer = self.learner.patch(f"/few-shot-examples/{example_id}", changes)
        before = self.example.get(example_id)
        if before is None:
            return missing(answer)
        after = before | changes | ({"meta": changes["meta"] or {}} if "meta" in changes else {})
        shown = expect(answer, 200)
        if same(after, before):
            assert shown["updated_at"] == before["updated_at"]
        after["updated_at"] = shown["updated_at"]
        assert same(shown, after)
        self.example[example_id] = after
        return None

    @rule(example_id=examples)
    def read_example(self, example_id: int) -> None:
        answer = self.learner.get(f"/few-shot-examples/{example_id}")
        missing(self.other_learner.get(f"/few-shot-examples/{example_id}"))
        if example_id not in self.example:
            return missing(answer)
        assert same(expect(answer, 200), self.example[example_id])
        return None

    @rule(example_id=consumes(examples))
    def delete_example(self, example_id: int) -> None:
        answer = self.learner.delete(f"/few-shot-examples/{example_id}")
        assert answer.status == (204 if self.example.pop(example_id, None) else 404)

    # Lists

    @rule(size=st.integers(1, 3))
    def walk_the_lists(self, size: int) -> None:
        sessions = [self._shown(each) for each in self.session]
        for each in sessions:
            for name in ("settings", "responses", "responses_next_cursor"):
                del each[name]
        for path, unsorted, name in (
            ("/sessions", sessions, "session_id"),
            ("/few-shot-examples", list(self.example.values()), "example_id"),
        ):
            expected = sorted(unsorted, key=lambda each: (each["created_at"], each[name]), reverse=True)
            walked: list[Any] = []
            cursor = ""
            while True:
                page = expect(self.learner.get(f"{path}?size={size}{cursor}"), 200)
                assert page["total"] == len(expected)
                walked += page["items"]
                if page["next_cursor"] is None:
                    break
                cursor = f"&cursor={page['next_cursor']}"
            assert same(walked, expected), (path, walked, expected)

    @rule(
        class_id=st.sampled_from([None, 1, 2]),
        project_id=st.sampled_from([None, 1, 2]),
        by_activity=st.booleans(),
        expand=st.booleans(),
        page=st.integers(1, 3),
    )
    def list_sessions(
        self, class_id: int | None, project_id: int | None, by_activity: bool, expand: bool, page: int
    ) -> None:
        wanted = {"class_id": class_id, "project_id": project_id}
        query = "".join(f"&{name}={value}" for name, value in wanted.items() if value is not None)
        query += "&sort=activity" * by_activity + "&expand=settings,responses" * expand
        moments = (
            self.active_at if by_activity else {n: each["created_at"] for n, each in self.session.items()}
        )
        expected = [
            self._shown(n)
            for n in sorted(self.session, key=lambda n: (moments[n], n), reverse=True)
            if all(value in (None, self.session[n][name]) for name, value in wanted.items())
        ]
        if not expand:
            for each in expected:
                for name in ("settings", "responses", "responses_next_cursor"):
                    del each[name]
        shown = expect(self.learner.get(f"/sessions?page={page}&size=2{query}"), 200)
        assert same(shown["items"], expected[2 * page - 2 : 2 * page]), (shown["items"], expected)
        assert (shown["total"], shown["page"], shown["size"]) == (len(expected), page, 2)

    @rule(active=st.booleans(), page=st.integers(1, 2))
    def list_examples(self, active: bool, page: int) -> None:
        expected = [each for each in self.example.values() if each["is_active"] == active]
        expected.sort(key=lambda each: (each["created_at"], each["example_id"]), reverse=True)
        query = f"is_active={str(active).lower()}&page={page}&size=2"
        shown = expect(self.learner.get(f"/few-shot-examples?{query}"), 200)
        assert same(shown["items"], expected[2 * page - 2 : 2 * page])
        assert shown["total"] == len(expected)

    # If-Match

    @rule(session_id=sessions, of=st.sampled_from(["", "/settings"]))
    def change_what_another_client_changed(self, session_id: int, of: str) -> None:
        path = f"/sessions/{session_id}{of}"
        seen = self.learner.get(path)
        stale = {"if-match": '"999999"'}
        changes = {"style_preset": "accurate"} if of else {"title": "mine"}
        answers = [self.learner.patch(path, changes, headers=stale)]
        if not of:
            answers.append(self.learner.delete(path, headers=stale))
        for answer in answers:
            if session_id not in self.session:
                missing(answer)
            else:
                assert (answer.status, answer.detail, answer.etag) == (412, "precondition_failed", seen.etag)
        if session_id in self.session:
            answer = self.learner.patch(path, {}, headers={"if-match": f'"0", {seen.etag}'})
            assert (answer.status, answer.etag) == (200, seen.etag)
            assert same(answer.json, seen.json)

    @rule(example_id=examples)
    def change_an_example_that_another_client_changed(self, example_id: int) -> None:
        path, stale = f"/few-shot-examples/{example_id}", {"if-match": '"999999"'}
        answers = [
            self.learner.patch(path, {"title": "mine"}, headers=stale),
            self.learner.delete(path, headers=stale),
        ]
        for answer in answers:
            assert answer.status == (412 if example_id in self.example else 404)

    # Out, and back in

    @precondition(lambda self: self.steps % 12 == 11)
    @rule()
    def move(self) -> None:
        """Everything to a newcomer, by export and import."""
        exported = self.learner.get("/export")
        assert exported.status == 200
        newcomer = self.another_learner()
        plain = {"content-type": "application/x-ndjson"}
        counts = expect(newcomer.post("/import", raw=exported.body, headers=plain), 201)
        lines = [json.loads(line)["type"] for line in exported.body.splitlines()]
        shown = [self._shown(each) for each in sorted(self.session)]
        assert lines.count("session") == counts["sessions"] == len(shown)
        assert lines.count("example") == counts["examples"] == len(self.example)
        answers = [each for session in shown for each in session["responses"]]
        assert lines.count("response") == counts["responses"] == len(answers)
        assert expect(newcomer.get("/usage"), 200)["days"] == []
        if not shown or len(shown) > 20:
            return
        copied = expect(newcomer.get("/sessions?expand=settings,responses"), 200)["items"]
        by_age = sorted(shown, key=lambda each: (each["created_at"], each["session_id"]), reverse=True)
        for one, other in zip(copied, by_age, strict=True):
            assert same(without_identity(one), without_identity(other)), (one, other)

    @invariant()
    def is_counted(self) -> None:
        self.steps += 1
        count("steps")
        everything: list[dict[int, Any]] = [self.session, self.models, self.example, self.turns]
        self.states.add(hash(repr(canonical([without_identity(list(each.values())) for each in everything]))))

    @invariant()
    def totals_are_exact(self) -> None:
        assert expect(self.learner.get("/sessions?size=1"), 200)["total"] == len(self.session)

    @invariant()
    def usage_is_the_sum_over_all_turns(self) -> None:
        shown = expect(self.learner.get("/usage"), 200)
        assert shown["total"]["turns"] == self.turns_run
        figures = ("turns", "answers", "prompt_tokens", "completion_tokens")
        assert {
            (day["date"], model["model_name"]): [model[name] for name in figures]
            for day in shown["days"]
            for model in day["models"]
        } == {key: [took[name] for name in figures] for key, took in self.used.items()}


def expect(answer: Answer, status: int) -> dict[str, Any]:
    assert answer.status == status, (answer.status, answer.body[:500])
    value: dict[str, Any] = answer.json
    return value


def missing(answer: Answer) -> None:
    assert answer.status == 404, (answer.status, answer.body[:500])


Explore = Callable[..., None]


@pytest.fixture
def explore(request: pytest.FixtureRequest, lasting_learner: Callable[[], Learner]) -> Explore:
    stack: Stack | None = None if BASE_URL else request.getfixturevalue("stack")

    def work(who: Learner, turn_id: int) -> None:
        assert stack is not None
        body = json.dumps({"user_id": who.user_id, "turn_id": turn_id})
        record = {"messageId": "1", "body": body, "eventSource": "aws:sqs", "attributes": {}}
        assert stack.invoker.invoke("work_turn", {"Records": [record]}) == {"batchItemFailures": []}

    def run(histories: int, steps: int, number: int = 0) -> None:
        states: set[int] = set()
        members = {
            "another_learner": staticmethod(lasting_learner),
            "work": staticmethod(work) if stack else None,
            "states": states,
        }
        machine = seed(SEED + number)(type("HistoryOfALearner", (History,), members))
        try:
            run_state_machine_as_test(
                machine,
                settings=settings(
                    max_examples=histories,
                    stateful_step_count=steps,
                    deadline=None,
                    database=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            count("states", len(states))

    return run


def test_fields_with_texts_stay_short_when_hypothesis_shows_them() -> None:
    assert len(repr(session_fields)) + len(repr(texts)) < 3_000


def test_every_answer_of_a_history_is_the_one_expected(explore: Explore) -> None:
    explore(histories=12, steps=30)


CHAPTERS = 8


@pytest.mark.torture
@pytest.mark.parametrize("chapter", range(1, CHAPTERS + 1))
def test_thousands_of_steps(explore: Explore, chapter: int) -> None:
    explore(histories=SIZES["HISTORIES"] // CHAPTERS, steps=SIZES["STEPS"], number=chapter)
