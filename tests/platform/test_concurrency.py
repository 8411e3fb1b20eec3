"""Many at once: no write is lost, and nothing that was deleted comes back.

Each race is a thing, those who write to it, and those who delete it. Every writer is answered 2xx, or a clear 404, 409 or
503; what was answered 200 must stand. Where an answer carries a version, the answers in the order of their versions must be
one history, in which each is the one before with its own change applied and nothing else.
"""

import json
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest

from local.stack import Stack
from tests.support import deliveries
from tests.support.invariants import broken
from tests.support.learners import BASE_URL, Answer, Learner, at_once, made, walk
from tests.support.torture import SEED, SIZES, count

pytestmark = [pytest.mark.trust, pytest.mark.usefixtures("under_load")]

Json = dict[str, Any]
CLEAR = {200, 201, 204, 404, 409, 503}
WRITERS = SIZES["WRITERS"]


@dataclass
class Call:
    method: str
    path: str
    body: Any = ...
    headers: dict[str, str] = field(default_factory=dict)

    def by(self, who: Learner) -> Callable[[], Answer]:
        return lambda: who.ask(self.method, self.path, self.body, headers=self.headers)


Answered = list[tuple[Call, Answer]]


@dataclass
class Race:
    """What is sent at the same time, and what must hold of the answers and afterwards."""

    calls: list[Call]
    holds: Callable[[Answered], None]
    deleted: Iterable[str] = ()
    """Paths that answer 404 afterwards, whichever request won."""


def patches(path: str, *bodies: Json) -> list[Call]:
    return [Call("PATCH", path, body) for body in bodies]


def deletes(*paths: str, times: int = 2) -> list[Call]:
    return [Call("DELETE", path) for path in paths] * times


def succeeded(answered: Answered, method: str = "") -> Answered:
    return [(call, answer) for call, answer in answered if answer.status < 300 and method in call.method]


def one_history(answered: Answered, first: Json, apply: Callable[[Json, Json], Json]) -> Json:
    """Checks the successful answers against each other; returns the last state.

    A version may be missing where an answer was a 503: its write may stand all the same.
    """
    by_version: dict[int, list[tuple[Call, Answer]]] = {}
    for call, answer in succeeded(answered, "PATCH"):
        by_version.setdefault(int(answer.etag.strip('"')), []).append((call, answer))
    unsure = sum(answer.status == 503 for _, answer in answered)
    state, at = first, min(by_version) - 1
    for version, twins in sorted(by_version.items()):
        changed = [(call, answer) for call, answer in twins if apply(state, call.body) != state]
        assert len(changed) <= 1, f"version {version} was given to {len(twins)} changes"
        if version == at + 1 and changed:
            call, answer = changed[0]
            assert without_times(answer.json) == without_times(apply(state, call.body)), version
            assert answer.json["updated_at"] > state["updated_at"]
        else:
            assert unsure, f"version {version} follows {at}"
        state, at = twins[0][1].json, version
    return state


def without_times(shown: Json) -> Json:
    return {
        name: value for name, value in shown.items() if name not in ("updated_at", "responses_next_cursor")
    }


# A session's own fields


def session_fields(ada: Learner, chance: random.Random) -> Race:
    session = ada.open_session()
    path = f"/sessions/{session['session_id']}"
    bodies = [
        {name: value}
        for n in range(WRITERS)
        for name, value in [
            [
                ("title", f"title {n}"),
                ("notes", f"notes {n}"),
                ("project_id", n + 1),
                ("knowledge_ids", [n + 1]),
                ("agent_id", n + 1),
            ][n % 5]
        ]
    ]

    def holds(answered: Answered) -> None:
        last = one_history(answered, session, lambda state, change: state | change)
        assert ada.get(path).json == last
        assert len(succeeded(answered)) >= WRITERS * 0.9

    return Race(patches(path, *bodies), holds)


def session_that_goes(ada: Learner, chance: random.Random) -> Race:
    kept, gone = ada.open_session(), ada.open_session()
    path = f"/sessions/{gone['session_id']}"
    response = ada.add_response(gone)
    models = [f"/models/{each['session_model_id']}" for each in ada.models_of(gone)]
    writers = [
        *patches(path, *({"title": f"title {n}"} for n in range(WRITERS // 5))),
        *patches(f"{path}/settings", *({"style_params": {f"key {n}": n}} for n in range(WRITERS // 5))),
        *patches(models[0], *({"generation_params": {f"key {n}": n}} for n in range(WRITERS // 5))),
        *[Call("POST", f"{models[1]}/responses", {"prompt_text": "", "response_text": ""})] * (WRITERS // 5),
        *[Call("POST", f"{path}/chat", {"prompt_text": "Why?"})] * (WRITERS // 10),
    ]

    def holds(answered: Answered) -> None:
        assert len(succeeded(answered, "DELETE")) == 1, "one of many who delete it does"
        listed = ada.get("/sessions").json
        assert ([each["session_id"] for each in listed["items"]], listed["total"]) == (
            [kept["session_id"]],
            1,
        )

    deleted = [path, f"{path}/settings", f"{path}/models", f"{path}/responses", f"{path}/turns"]
    deleted += [f"{each}/responses" for each in models] + [f"/responses/{response['response_id']}"]
    return Race(writers + deletes(path, times=4), holds, deleted)


# Settings


def settings_merged(ada: Learner, chance: random.Random) -> Race:
    session = ada.open_session()
    path = f"/sessions/{session['session_id']}/settings"
    first = ada.get(path).json
    bodies = [
        {"style_params": {f"style {n}": n}, "generation_params": {f"key {n}": n}} for n in range(WRITERS)
    ]

    def apply(state: Json, change: Json) -> Json:
        merged = {name: {**state[name], **sent} for name, sent in change.items()}
        return state | merged

    def holds(answered: Answered) -> None:
        last = one_history(answered, first, apply)
        assert ada.get(path).json == last
        current = {f"key {call.body['style_params'].popitem()[1]}" for call, _ in succeeded(answered)}
        for model in ada.models_of(session):
            assert current <= set(model["generation_params"]), "settings and models are merged together"

    return Race(patches(path, *bodies), holds)


def selections_of_examples_that_go(ada: Learner, chance: random.Random) -> Race:
    session = ada.open_session()
    examples = [ada.add_example()["example_id"] for _ in range(8)]
    going = examples[:4]
    path = f"/sessions/{session['session_id']}/settings"
    bodies: list[Json] = [
        {"few_shot_example_ids": chance.sample(examples, chance.randint(1, 8))} for _ in range(WRITERS - 10)
    ]

    def holds(answered: Answered) -> None:
        links = ada.get(path).json["few_shot_links"]
        assert not {each["example_id"] for each in links} & set(going)
        known = [call.body["few_shot_example_ids"] for call, _ in succeeded(answered, "PATCH")]
        assert [each["example_id"] for each in links] in [
            *([each for each in selection if each not in going] for selection in known),
            [],
        ]
        for call, answer in answered:
            if answer.status == 403:
                assert set(call.body["few_shot_example_ids"]) & set(going), "only what goes is refused"
        assert ada.get("/few-shot-examples").json["total"] == 4

    calls = patches(path, *bodies) + deletes(*(f"/few-shot-examples/{each}" for each in going))
    return Race(calls, holds, [f"/few-shot-examples/{each}" for each in going])


# Models


def models_that_come_and_go(ada: Learner, chance: random.Random) -> Race:
    session = ada.open_session()
    path = f"/sessions/{session['session_id']}"
    first, second = ada.models_of(session)
    gone = f"/models/{second['session_model_id']}"
    response = made(ada.post(f"{gone}/responses", {"prompt_text": "", "response_text": ""}), 201)
    writers = [
        *patches(
            f"/models/{first['session_model_id']}",
            *({"generation_params": {f"key {n}": n}} for n in range(20)),
        ),
        *patches(gone, *({"is_primary": True} for _ in range(8))),
        *patches(f"/models/{first['session_model_id']}", *({"is_primary": True} for _ in range(6))),
        *patches(f"{path}/settings", *({"generation_params": {f"all {n}": n}} for n in range(6))),
        *patches(path, *({"class_id": 1} for _ in range(4))),
        *[
            Call(
                "POST",
                f"{path}/models",
                {"model_name": first["model_name"], "generation_params": {f"post {n}": n}},
            )
            for n in range(4)
        ],
        *[Call("POST", f"{gone}/responses", {"prompt_text": "", "response_text": ""})] * 6,
    ]

    def holds(answered: Answered) -> None:
        [left] = ada.models_of(session)
        assert (left["session_model_id"], left["is_primary"]) == (first["session_model_id"], True)
        for call, _ in succeeded(answered):
            sent = call.body.get("generation_params", {}) if isinstance(call.body, dict) else {}
            assert sent.items() <= left["generation_params"].items(), call
        assert ada.get(path).json["responses"] == []
        assert ada.get(f"{path}/responses").json["items"] == []

    deleted = [f"{gone}/responses", f"/responses/{response['response_id']}"]
    return Race(writers + deletes(gone, times=3), holds, deleted)


# The library


def library(ada: Learner, chance: random.Random) -> Race:
    kept = [ada.add_example() for _ in range(5)]
    going = [ada.add_example()["example_id"] for _ in range(8)]
    created = [
        Call("POST", "/few-shot-examples", {"input_text": f"new {n}", "output_text": ""}) for n in range(15)
    ]
    changed = [
        Call("PATCH", f"/few-shot-examples/{kept[n % 5]['example_id']}", change)
        for n, change in enumerate(
            [{"title": "t"}, {"meta": {"m": 1}}, {"is_active": False}, {"output_text": "o"}] * 5
        )
    ]

    def holds(answered: Answered) -> None:
        listed = walk(ada, "/few-shot-examples?size=7")
        items = [each for page in listed for each in page["items"]]
        new = [answer.json for call, answer in succeeded(answered, "POST")]
        assert {page["total"] for page in listed} == {len(items)} == {5 + len(new)}
        assert {each["example_id"] for each in items} == {each["example_id"] for each in kept + new}
        for call, _ in succeeded(answered, "PATCH"):
            [current] = [each for each in items if call.path.endswith(str(each["example_id"]))]
            assert call.body.items() <= current.items()
        gone = [call.path for call, _ in succeeded(answered, "DELETE")]
        assert len(set(gone)) == len(gone), "each is deleted once"

    paths = [f"/few-shot-examples/{each}" for each in going]
    return Race(created + changed + deletes(*paths), holds, paths)


def sessions_that_come_and_go(ada: Learner, chance: random.Random) -> Race:
    kept = [ada.open_session()["session_id"] for _ in range(3)]
    going = [f"/sessions/{ada.open_session()['session_id']}" for _ in range(8)]
    opened = [Call("POST", "/sessions", {"class_id": 1 + n % 2}) for n in range(WRITERS // 2)]

    def holds(answered: Answered) -> None:
        new = [answer.json["session_id"] for call, answer in succeeded(answered, "POST")]
        for sort in ("created", "activity"):
            listed = walk(ada, f"/sessions?size=9&sort={sort}")
            found = [each["session_id"] for page in listed for each in page["items"]]
            assert sorted(found) == sorted(kept + new)
            assert {page["total"] for page in listed} == {len(found)}
        filtered = [ada.get(f"/sessions?class_id={n}").json["total"] for n in (1, 2)]
        assert sum(filtered) == len(kept + new)

    return Race(opened + deletes(*going), holds, going)


# Responses and turns


def responses(ada: Learner, chance: random.Random) -> Race:
    session = ada.open_session()
    path = f"/sessions/{session['session_id']}"
    models = [each["session_model_id"] for each in ada.models_of(session)]
    kept, going = ([ada.add_response(session)["response_id"] for _ in range(4)] for _ in range(2))
    added = [
        Call("POST", f"/models/{models[n % 2]}/responses", {"prompt_text": "new", "response_text": str(n)})
        for n in range(WRITERS // 2)
    ]
    fields = [
        {"latency_ms": 5},
        {"response_text": "changed"},
        {"prompt_text": "asked"},
        {"token_usage": {"a": 1}},
    ]
    changed = [Call("PATCH", f"/responses/{kept[n % 4]}", change) for n, change in enumerate(fields * 4)]

    def holds(answered: Answered) -> None:
        shown = ada.get(path).json["responses"]
        new = [answer.json for _, answer in succeeded(answered, "POST")]
        assert {each["response_id"] for each in shown} == {*kept, *(each["response_id"] for each in new)}
        assert shown == sorted(shown, key=lambda each: (each["created_at"], each["response_id"]))
        assert [each["response_id"] for each in shown] == sorted(each["response_id"] for each in shown)
        current = {each["response_id"]: each for each in shown}
        for each in new:
            assert current[each["response_id"]] == each
        for call, _ in succeeded(answered, "PATCH"):
            assert call.body.items() <= current[int(call.path.split("/")[-1])].items()
        by_model = [each for model in models for each in ada.get(f"/models/{model}/responses").json]
        assert sorted(by_model, key=lambda each: int(each["response_id"])) == shown

    paths = [f"/responses/{each}" for each in going]
    return Race(added + changed + deletes(*paths), holds, paths)


def turns_beside_writers(ada: Learner, chance: random.Random) -> Race:
    session = ada.open_session()
    path = f"/sessions/{session['session_id']}"
    first, second = ada.models_of(session)
    gone = f"/models/{second['session_model_id']}"
    asked = [Call("POST", f"{path}/chat", {"prompt_text": f"Question {n}"}) for n in range(WRITERS // 4)]
    writers = [
        *patches(f"{path}/settings", *({"style_params": {f"key {n}": n}} for n in range(8))),
        *patches(path, *({"title": f"title {n}"} for n in range(5))),
        *patches(f"/models/{first['session_model_id']}", *({"is_primary": True} for _ in range(3))),
    ]

    def holds(answered: Answered) -> None:
        shown = ada.get(path).json["responses"]
        done = [answer.json for call, answer in succeeded(answered, "POST")]
        lasting = [
            each["response_id"]
            for turn in done
            for each in turn["results"]
            if each["session_model_id"] == first["session_model_id"]
        ]
        assert sorted(each["response_id"] for each in shown) == sorted(lasting)
        listed = ada.get(f"{path}/turns?size=200").json["items"]
        assert sorted(each["prompt_text"] for each in listed if each["results"]) == sorted(
            turn["prompt_text"]
            for turn in done
            if turn["results"][0]["session_model_id"] == first["session_model_id"]
        )
        [left] = ada.models_of(session)
        assert left["is_primary"]

    return Race(asked + writers + deletes(gone), holds, [f"{gone}/responses"])


def twins_with_keys(ada: Learner, chance: random.Random) -> Race:
    keys = [f"key {n}" for n in range(5)]
    calls = [
        Call("POST", "/sessions", {"class_id": 1, "title": key}, {"idempotency-key": key})
        for key in keys
        for _ in range(WRITERS // 5)
    ]

    def holds(answered: Answered) -> None:
        made_by = {call.body["title"]: answer.json["session_id"] for call, answer in succeeded(answered)}
        for call, answer in succeeded(answered):
            assert answer.json["session_id"] == made_by[call.body["title"]]
        listed = ada.get("/sessions").json
        assert sorted(each["title"] for each in listed["items"]) == sorted(made_by) == keys
        assert listed["total"] == 5
        for _, answer in answered:
            assert answer.status != 409 or int(answer.headers["retry-after"]) >= 1

    return Race(calls, holds)


RACES: dict[str, Callable[[Learner, random.Random], Race]] = {
    "a session's fields": session_fields,
    "a session that goes": session_that_goes,
    "settings that are merged": settings_merged,
    "selections of examples that go": selections_of_examples_that_go,
    "models that come and go": models_that_come_and_go,
    "a library": library,
    "sessions that come and go": sessions_that_come_and_go,
    "responses": responses,
    "turns beside writers": turns_beside_writers,
    "twins with keys": twins_with_keys,
}
ROUNDS = [
    pytest.param(name, round_, marks=() if round_ == 1 else pytest.mark.torture)
    for name in RACES
    for round_ in range(1, max(1, SIZES["RACES"]) + 1)
]


def run(race: Race, who: Learner, chance: random.Random) -> Answered:
    """All at once, in an order of chance's; then whatever was deleted is looked for."""
    chance.shuffle(race.calls)
    answers = at_once(*(call.by(who) for call in race.calls))
    count("writers", len(race.calls))
    answered = list(zip(race.calls, answers, strict=True))
    for call, answer in answered:
        assert answer.status in CLEAR | ({403} if "few_shot" in str(call.body) else set()), (call, answer)
        assert answer.status != 503 or int(answer.headers["retry-after"]) >= 1
    for path in race.deleted:
        assert who.get(path).status == 404, f"{path} came back"
    race.holds(answered)
    return answered


@pytest.fixture
def sound(request: pytest.FixtureRequest) -> Callable[[Learner], list[str]]:
    """What is broken in the learner's items, where the table can be looked into."""
    if BASE_URL:
        return lambda who: []
    items_of = request.getfixturevalue("items_of")
    return lambda who: broken(items_of(who))


@pytest.mark.parametrize(("name", "round_"), ROUNDS)
def test_no_write_is_lost_and_nothing_comes_back(
    ada: Learner, sound: Callable[[Learner], list[str]], name: str, round_: int
) -> None:
    chance = random.Random(f"{SEED} {name} {round_}")

    run(RACES[name](ada, chance), ada, chance)

    assert sound(ada) == []


# Beside the workers


@pytest.fixture
def delivered(stack: Stack) -> deliveries.Deliveries:
    return deliveries.of(stack)


@pytest.mark.parametrize("round_", [1, *(pytest.param(n, marks=pytest.mark.torture) for n in range(2, 5))])
@pytest.mark.parametrize(
    "name", ["a session that goes", "models that come and go", "a library", "turns beside writers"]
)
def test_a_sweep_beside_writers_takes_what_was_deleted_and_no_more(
    ada: Learner,
    delivered: deliveries.Deliveries,
    sound: Callable[[Learner], list[str]],
    items_of: Callable[[Learner], dict[tuple[str, str], Any]],
    name: str,
    round_: int,
) -> None:
    chance = random.Random(f"{SEED} sweep {name} {round_}")
    dead = delivered.dead_letters()
    race = RACES[name](ada, chance)

    at_once(lambda: run(race, ada, chance), delivered.run)
    delivered.run()

    assert sound(ada) == []
    live = {each["session_id"] for each in ada.get("/sessions?size=200").json["items"]}
    left = {int(sk.split("#")[1]) for _, sk in items_of(ada) if sk.startswith("SESSION#")}
    assert left == live
    assert delivered.dead_letters() == dead


@pytest.mark.parametrize("round_", [1, *(pytest.param(n, marks=pytest.mark.torture) for n in range(2, 5))])
def test_an_erasure_beside_writers_leaves_a_receipt_and_nothing_else(
    ada: Learner,
    stack: Stack,
    delivered: deliveries.Deliveries,
    items_of: Callable[[Learner], dict[tuple[str, str], Any]],
    round_: int,
) -> None:
    chance = random.Random(f"{SEED} erasure {round_}")
    races = [
        RACES[name](ada, chance)
        for name in ("a session's fields", "a library", "responses", "turns beside writers")
    ]
    calls = [call for race in races for call in race.calls]
    chance.shuffle(calls)
    detail = {"version": 1, "updated_at": "2100-01-01T00:00:00Z", "user_id": ada.user_id}
    event = {"source": "practice.catalogue", "detail-type": "UserErased", "detail": detail}

    def erase() -> None:
        assert stack.invoker.invoke("erase_user", event)["outcome"] == "begun"
        for _ in range(20):
            body = json.dumps({"user_id": ada.user_id})
            record = {"messageId": "1", "body": body, "eventSource": "aws:sqs", "attributes": {}}
            stack.invoker.invoke("erase_items", {"Records": [record]})

    _, *answers = at_once(erase, *(call.by(ada) for call in calls[:WRITERS]))
    count("writers", WRITERS)
    delivered.run()
    erase_again = {"messageId": "2", "body": json.dumps({"user_id": ada.user_id}), "attributes": {}}
    stack.invoker.invoke("erase_items", {"Records": [erase_again]})

    assert {each.status for each in answers if each} <= CLEAR | {401, 502}
    [(_, account)] = items_of(ada)
    assert account == "ACCOUNT"
