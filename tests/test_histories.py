"""Whole histories of a learner, thousands of steps at random, against a plain model of what should be read.

Every answer is compared whole. What the service alone decides (ids, moments) is taken from the answer that first tells it,
and must never change afterwards.
"""

import copy
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from tests.learners import Answer, Learner

texts = st.one_of(st.none(), st.sampled_from(["", "a", "Ü 𝄞", '"\\', "long " * 2000]))
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


class History(RuleBasedStateMachine):
    somebody: Callable[[], Learner]

    sessions = Bundle("sessions")
    examples = Bundle("examples")
    responses = Bundle("responses")

    def __init__(self) -> None:
        super().__init__()
        self.learner = self.somebody()
        self.stranger = self.somebody()
        self.session: dict[int, dict[str, Any]] = {}
        self.models: dict[int, list[dict[str, Any]]] = {}
        self.example: dict[int, dict[str, Any]] = {}

    # Sessions

    @rule(target=sessions, fields=session_fields)
    def open_session(self, fields: dict[str, Any]) -> int:
        made = expect(self.learner.post("/sessions", {"class_id": 1, **fields}), 201)
        session_id: int = made["session_id"]
        now, setting_id = made["created_at"], made["settings"]["setting_id"]
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
        assert [model["generation_params"] for model in self.models[session_id]] == [DEFAULTS] * 2
        assert same(made, self.session[session_id])
        return session_id

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
        answer = self.learner.patch(f"/sessions/{session_id}", fields)
        before = self.session.get(session_id)
        if before is None:
            return missing(answer)
        after = before | self._stored(fields)
        if not same(after, before):
            assert answer.json["updated_at"] > before["updated_at"]
            after["updated_at"] = answer.json["updated_at"]
        self.session[session_id] = after
        return self._read(session_id, answer)

    @rule(session_id=sessions)
    def read_session(self, session_id: int) -> None:
        answer = self.learner.get(f"/sessions/{session_id}")
        missing(self.stranger.get(f"/sessions/{session_id}"))
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

    # Settings

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
            told = {link["example_id"]: link for link in expect(answer, 200)["few_shot_links"]}
            after["few_shot_links"] = [
                {
                    **(known.get(each) or {k: v for k, v in told[each].items() if k != "example"}),
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
        missing(self.stranger.patch(f"/models/{model['session_model_id']}", body))
        if session_id not in self.session:
            missing(answer)
            return
        model["generation_params"] = merged(model["generation_params"], params)
        if primary:
            for each in models:
                each["is_primary"] = each is model
        assert same(expect(answer, 200), model)

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
        text=st.sampled_from(["", "x", "ü" * 9000]),
        usage=st.one_of(st.none(), objects),
    )
    def add_response(self, session_id: int, which: int, text: str, usage: Any) -> Any:
        models = self.models[session_id]
        if which >= len(models):
            return multiple()
        model = models[which]
        body = {"prompt_text": "p", "response_text": text, "token_usage": usage}
        answer = self.learner.post(f"/models/{model['session_model_id']}/responses", body)
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
        missing(self.stranger.get(f"/responses/{place[1]}"))
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

    def _response(self, session_id: int, response_id: int) -> dict[str, Any] | None:
        if session_id not in self.session:
            return None
        live = {model["session_model_id"] for model in self.models[session_id]}
        found = (each for each in self.session[session_id]["responses"] if each["response_id"] == response_id)
        response = next(found, None)
        return response if response and response["session_model_id"] in live else None

    # Examples

    @rule(target=examples, meta=objects, active=st.sampled_from([None, True, False]))
    def add_example(self, meta: dict[str, Any], active: bool | None) -> int:
        made = self.learner.add_example(meta=meta, is_active=active)
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

    @invariant()
    def totals_are_exact(self) -> None:
        assert expect(self.learner.get("/sessions?size=1"), 200)["total"] == len(self.session)


def expect(answer: Answer, status: int) -> dict[str, Any]:
    assert answer.status == status, (answer.status, answer.body[:500])
    value: dict[str, Any] = answer.json
    return value


def missing(answer: Answer) -> None:
    assert answer.status == 404, (answer.status, answer.body[:500])


def explore(somebody: Callable[[], Learner], histories: int, steps: int) -> None:
    machine = type("HistoryOfSomebody", (History,), {"somebody": staticmethod(somebody)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=histories,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_every_answer_of_a_history_is_the_one_expected(somebody: Callable[[], Learner]) -> None:
    explore(somebody, histories=12, steps=30)


@pytest.mark.torture
def test_thousands_of_steps(somebody: Callable[[], Learner]) -> None:
    explore(somebody, histories=200, steps=60)
