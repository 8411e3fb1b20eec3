"""What all limits allow together can be stored, and read by every route: an answer that no function could return is
prevented at the write that would make it.
"""

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from pydantic_core import to_json

from local.stack import Stack
from practice import limits
from practice.http.paging import ResponseBudget
from practice.limits import FUNCTION_RESULT_BYTES
from practice.turns.parameters import FREE_BYTES
from practice.turns.providers import Completion, echo
from tests.api.test_transfers import by_link, deliver
from tests.support import torture
from tests.support.learners import Answer, Learner, at_once, made, walk

Json = dict[str, Any]

pytestmark = pytest.mark.trust

CHARACTERS = {
    "latin": "x",
    "quotes": '"',
    "controls": "\x01",
    "deletes": "\x7f",
    "cyrillic": "ж",
    "chinese": "字",
    "emoji": "🐍",
}
"""The ways in which a character grows: in UTF-8, in JSON, and in JSON that Python 3.11 or 3.13 escapes again."""


LARGEST_EXAMPLES = 8
"""With title, texts and `meta` at their limits, in control characters, a selection holds so many."""


@dataclass
class Sizes:
    largest: int = 0
    count: int = 0
    failed: list[int] = field(default_factory=list)


@pytest.fixture
def results(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Sizes:
    """Of all that functions return while a test runs, as either Python serialises it; the model's answers are short."""
    sizes = Sizes()
    monkeypatch.setattr(echo, "complete", lambda *_: (Completion(text) for text in ["short"]))
    invoke = stack.invoker.invoke

    def measured(*arguments: Any, **named: Any) -> Any:
        result = invoke(*arguments, **named)
        older = len(json.dumps(result))
        newer = len(json.dumps(result, ensure_ascii=False).encode("utf-8", "surrogatepass"))
        sizes.largest = max(sizes.largest, older, newer)
        sizes.count += 1
        return result

    monkeypatch.setattr(stack.invoker, "invoke", measured)
    return sizes


def in_bytes(character: str, limit: int) -> str:
    return character * (limit // len(character.encode()))


def an_object(character: str, limit: int = 64 * 1024) -> Json:
    """As large as a free-form object may be."""
    return {"a": character * ((limit - len(to_json({"a": ""}))) // (len(to_json(character)) - 2))}


def a_response(character: str) -> str:
    """As long as one may be: a control character takes six bytes in JSON, and DEL in the event that brings it."""
    return in_bytes(character, {"\x01": 340_000, "\x7f": 780_000}.get(character, 1024**2))


Fill = Callable[[], str]


def read_everything(who: Learner, session_id: int) -> list[Answer]:
    """By every route that shows a session or what is in it."""
    path = f"/sessions/{session_id}"
    answers = [
        who.get(path),
        who.get(f"{path}?responses=0"),
        who.get(f"{path}/settings"),
        who.get(f"{path}/models"),
        who.get("/sessions"),
        who.get("/sessions?expand=settings"),
        who.get("/sessions?expand=responses"),
        who.get("/sessions?expand=settings,responses"),
        who.get(f"{path}/responses"),
        who.get(f"{path}/turns"),
        who.get("/few-shot-examples"),
    ]
    models = answers[3].json
    answers += [who.get(f"{path}/turns/{turn['turn_id']}") for turn in turns_of(who, path)]
    answers += [who.get(f"/models/{model['session_model_id']}/responses") for model in models]
    for page in walk(who, f"{path}/responses"):
        answers += [who.get(f"/responses/{each['response_id']}") for each in page["items"]]
    return answers


def turns_of(who: Learner, path: str) -> Iterator[Json]:
    for page in walk(who, f"{path}/turns"):
        yield from page["items"]


def fill(who: Learner, class_id: int, examples: int, character: Fill) -> int:
    """A session with everything in it as large as it may be, one character for each object."""
    each = character()
    session = who.open_session(
        class_id=class_id,
        title=each * 10_000,
        notes=character() * 100_000,
        knowledge_ids=[*range(2**63 - 1000, 2**63)],
    )
    path = f"/sessions/{session['session_id']}"
    kept = []
    for _ in range(examples):
        each = character()
        text = in_bytes(each, 16 * 1024)
        given: Json = {"title": each * 10_000, "meta": an_object(each)}
        if examples > LARGEST_EXAMPLES:
            text, given = text[: 29_000 // (len(to_json(each)) - 2)], {}
        made_one = who.add_example(input_text=text, output_text=text, **given)
        kept.append(made_one["example_id"])
    settings = {
        "style_params": an_object(character()),
        "generation_params": an_object(character(), 60_000),
        "few_shot_example_ids": kept,
    }
    made(who.patch(f"{path}/settings", settings), 200)
    for model in who.models_of(session):
        each = character()
        params = {"generation_params": {"b": an_object(each, 4_000)["a"]}}
        made(who.patch(f"/models/{model['session_model_id']}", params), 200)
    prompt = in_bytes(character(), 100 * 1024)
    answered = made(who.post(f"{path}/chat", {"prompt_text": prompt}), 201)
    for result in answered["results"]:
        each = character()
        larger = {"response_text": a_response(each), "token_usage": an_object(each)}
        made(who.patch(f"/responses/{result['response_id']}", larger), 200)
    return int(session["session_id"])


@pytest.mark.parametrize(
    "name",
    [
        "emoji",
        "controls",
        *(
            pytest.param(name, marks=pytest.mark.torture)
            for name in CHARACTERS
            if name not in ("emoji", "controls")
        ),
    ],
)
@pytest.mark.parametrize("examples", [LARGEST_EXAMPLES, 50])
def test_a_session_filled_to_its_limits_is_read_by_every_route(
    ada: Learner, results: Sizes, name: str, examples: int
) -> None:
    session_id = fill(ada, 1, examples, lambda: CHARACTERS[name])

    answers = read_everything(ada, session_id)

    assert {answer.status for answer in answers} == {200}
    assert made(ada.patch(f"/sessions/{session_id}", {"project_id": 9}), 200)
    assert ada.get("/export").status in (200, 202)
    assert results.largest < FUNCTION_RESULT_BYTES
    torture.count("fillings", len(answers))


@pytest.mark.parametrize(
    "name", ["controls", *(pytest.param(each, marks=pytest.mark.torture) for each in ("quotes", "emoji"))]
)
def test_a_session_filled_to_its_limits_is_exported_and_imported(
    ada: Learner, ben: Learner, results: Sizes, stack: Stack, name: str
) -> None:
    session_id = fill(ada, 1, LARGEST_EXAMPLES, lambda: CHARACTERS[name])
    exported, waiting = ada.get("/export"), ben.post("/import")
    deliver(stack, ada, exported.json["export_id"])
    file = by_link("GET", ada.get(exported.headers["location"]).json["url"])
    by_link("PUT", waiting.json["upload_url"], file.body)
    deliver(stack, ben, waiting.json["import_id"])

    job = ben.get(waiting.headers["location"]).json

    assert (job["status"], job["problem"]) == ("done", None)
    [imported] = ben.get("/sessions").json["items"]
    answers = read_everything(ben, imported["session_id"])
    assert [answer.status for answer in answers] == [200] * len(read_everything(ada, session_id))
    assert results.largest < FUNCTION_RESULT_BYTES
    torture.count("fillings", len(answers))


@pytest.mark.torture
@pytest.mark.parametrize("round_", range(torture.SIZES["FILLINGS"]))
def test_so_is_one_with_every_object_filled_with_other_characters(
    ada: Learner, results: Sizes, round_: int
) -> None:
    random = Random(torture.SEED + round_)
    session_id = fill(
        ada, 1, random.choice((1, LARGEST_EXAMPLES, 50)), lambda: random.choice([*CHARACTERS.values()])
    )

    answers = read_everything(ada, session_id)

    assert {answer.status for answer in answers} == {200}
    assert results.largest < FUNCTION_RESULT_BYTES
    torture.count("fillings", len(answers))


def test_the_largest_parts_of_a_session_and_of_a_turn_leave_room_for_each_other() -> None:
    """As JSON, where a character of a text takes six bytes at most and one of an object's text is counted there."""
    own = 6 * (limits.TITLE_CHARACTERS + limits.NOTES_CHARACTERS) + 21 * limits.KNOWLEDGE_IDS
    announced = 256 * limits.KB  # of an agent, by EventBridge
    objects = 2 * limits.OBJECT_BYTES + announced
    prompt = 6 * limits.PROMPT_BYTES
    result = prompt + limits.RESPONSE_JSON_BYTES + limits.OBJECT_BYTES + FREE_BYTES
    errors = limits.SESSION_MODELS * (6 * limits.MODEL_NAME_CHARACTERS + 200)
    room = ResponseBudget().left

    assert own + objects + limits.SELECTION_BYTES < room
    assert prompt + objects + 21 * limits.KNOWLEDGE_IDS + result + errors < room
    assert room > limits.MODELS_BYTES
    assert 2 * limits.RESPONSE_BYTES < limits.RESPONSE_JSON_BYTES


def test_fifty_selected_examples_that_grow_leave_their_session_readable(ada: Learner, results: Sizes) -> None:
    examples = [ada.add_example()["example_id"] for _ in range(50)]
    session = ada.open_session()
    path = f"/sessions/{session['session_id']}"
    made(ada.patch(f"{path}/settings", {"few_shot_example_ids": examples}), 200)
    emoji = "🐍"
    grown = {"title": emoji * 10_000, "input_text": emoji * 8_000, "meta": an_object('"')}

    first = ada.patch(f"/few-shot-examples/{examples[0]}", grown)
    texts = [ada.patch(f"/few-shot-examples/{each}", {"input_text": "я" * 16_000}) for each in examples]

    assert (first.status, first.detail[0]["type"], first.detail[0]["loc"]) == (422, "too_long", ["body"])
    assert {answer.status for answer in texts} == {200}
    assert {answer.status for answer in read_everything(ada, session["session_id"])} == {200}
    assert results.largest < FUNCTION_RESULT_BYTES


def test_an_example_grows_once_no_session_selects_it_and_counts_for_more_when_it_is_selected_again(
    ada: Learner,
) -> None:
    example, *others = [ada.add_example()["example_id"] for _ in range(50)]
    path = f"/sessions/{ada.open_session()['session_id']}/settings"
    large = {"meta": an_object("x")}
    made(ada.patch(path, {"few_shot_example_ids": [example]}), 200)
    assert ada.patch(f"/few-shot-examples/{example}", large).status == 422

    made(ada.patch(path, {"few_shot_example_ids": []}), 200)
    made(ada.patch(f"/few-shot-examples/{example}", large), 200)

    too_many = ada.patch(path, {"few_shot_example_ids": [example, *others]})
    assert (too_many.status, too_many.detail[0]["loc"]) == (422, ["body", "few_shot_example_ids"])
    made(ada.patch(path, {"few_shot_example_ids": [example, *others[:48]]}), 200)
    made(ada.patch(f"/few-shot-examples/{example}", {"input_text": "still within its share"}), 200)
    made(ada.patch(f"/few-shot-examples/{example}", {"meta": {}}), 200)
    assert ada.patch(f"/few-shot-examples/{example}", large).status == 422


def test_an_example_does_not_grow_while_it_is_being_selected(ada: Learner) -> None:
    """Whichever comes first, the other is refused or counts what it finds."""
    for _ in range(8):
        examples = [ada.add_example()["example_id"] for _ in range(50)]
        path = f"/sessions/{ada.open_session()['session_id']}/settings"
        selected, grown = at_once(
            lambda: ada.patch(path, {"few_shot_example_ids": examples}),  # noqa: B023
            lambda: ada.patch(f"/few-shot-examples/{examples[9]}", {"meta": an_object("x")}),  # noqa: B023
        )

        assert sorted((selected.status, grown.status)) == [200, 422]


def test_a_page_of_models_holds_all_parameters_that_a_session_may_have(
    ada: Learner, announce: Callable[..., Any], results: Sizes
) -> None:
    class_id = ada.user_id
    announce(class_id, *(f"model-{number}" for number in range(22)))
    session = ada.open_session(class_id=class_id)
    for model in ada.models_of(session):
        made(
            ada.patch(
                f"/models/{model['session_model_id']}", {"generation_params": an_object("\x7f", 65_000)}
            ),
            200,
        )

    assert len(ada.models_of(session)) == 22
    assert results.largest < FUNCTION_RESULT_BYTES


def test_a_turn_is_shown_with_the_longest_prompt_answer_and_settings(ada: Learner, results: Sizes) -> None:
    session_id = fill(ada, 1, 1, lambda: '"')
    path = f"/sessions/{session_id}"

    page = ada.get(f"{path}/turns?size=1")

    assert [len(turn["results"]) for turn in made(page, 200)["items"]] == [1]
    shown = sum(len(turn["results"]) for turn in turns_of(ada, path))
    assert shown == len(ada.models_of({"session_id": session_id}))
    assert results.largest < FUNCTION_RESULT_BYTES


def test_a_large_body_leaves_a_function_in_base64_and_reaches_the_client_as_it_is(
    ada: Learner, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither Python escapes base64, so an answer has one size."""
    seen: list[Any] = []
    invoke = stack.invoker.invoke

    def recorded(*arguments: Any, **named: Any) -> Any:
        seen.append(invoke(*arguments, **named))
        return seen[-1]

    monkeypatch.setattr(stack.invoker, "invoke", recorded)
    session = ada.open_session()
    response = ada.add_response(session, response_text="x" * 600_000)

    answer = ada.get(f"/responses/{response['response_id']}")

    assert answer.json == response
    assert answer.headers["content-type"] == "application/json"
    assert seen[-1]["isBase64Encoded"] is True
    assert base64.b64decode(seen[-1]["body"]) == answer.body
    assert "isBase64Encoded" not in seen[0]


def test_of_many_problems_a_hundred_are_listed(ada: Learner) -> None:
    path = f"/sessions/{ada.open_session()['session_id']}/chat"
    unknown = {f"key {number}": number for number in range(100_000)}

    answer = ada.post(path, {"prompt_text": "?"} | unknown)

    assert answer.status == 422
    assert len(answer.detail) == 101
    assert answer.detail[-1] == {
        "type": "too_many_problems",
        "loc": ["body"],
        "msg": "99,900 more problems are not listed",
    }


def test_a_name_that_is_not_known_is_repeated_in_part(ada: Learner) -> None:
    path = f"/sessions/{ada.open_session()['session_id']}/chat"

    answer = ada.post(path, {"prompt_text": "?"} | {f"{number}" + "\x01" * 8_000: 1 for number in range(99)})

    assert answer.status == 422
    assert len(answer.detail) == 99
    assert len(answer.body) < 200_000
