"""What the models answered: kept under its model, in the order of time, whole."""

import json
import random
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.learners import Answer, Learner, at_once

Json = dict[str, Any]
ItemsOf = Callable[[Learner], dict[tuple[str, str], Any]]

FIELDS = [
    "response_id",
    "session_model_id",
    "session_id",
    "model_name",
    "prompt_text",
    "response_text",
    "created_at",
    "token_usage",
    "latency_ms",
]


def model_of(ada: Learner) -> int:
    session = ada.open_session(title="Lesson")  # which no worker writes one for
    return int(ada.models_of(session)[0]["session_model_id"])


def keep(ada: Learner, model: int, text: str = "Because.", **fields: object) -> Json:
    answer = ada.post(f"/models/{model}/responses", {"prompt_text": "Why?", "response_text": text, **fields})
    assert answer.status == 201, answer.body[:300]
    kept: Json = answer.json
    return kept


def pages_of(ada: Learner, path: str) -> list[Answer]:
    """Every page of an array, along the header that leads on."""
    pages = [ada.get(path)]
    while cursor := pages[-1].headers.get("x-next-cursor"):
        pages.append(ada.get(f"{path}{'&' if '?' in path else '?'}cursor={cursor}"))
        assert len(pages) < 100
    return pages


def test_a_response_is_what_was_sent_with_the_ids_of_its_model(ada: Learner) -> None:
    session = ada.open_session()
    model = ada.models_of(session)[0]
    usage = {"prompt_tokens": 3, "_gf": {"sources": []}}

    answer = ada.post(
        f"/models/{model['session_model_id']}/responses",
        {"prompt_text": "Why?", "response_text": "", "token_usage": usage, "latency_ms": 0},
    )

    assert answer.status == 201
    made = answer.json
    assert sorted(made) == sorted(FIELDS)
    assert made | {"response_id": 0, "created_at": ""} == {
        "response_id": 0,
        "session_model_id": model["session_model_id"],
        "session_id": session["session_id"],
        "model_name": model["model_name"],
        "prompt_text": "Why?",
        "response_text": "",
        "token_usage": usage,
        "latency_ms": 0,
        "created_at": "",
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", made["created_at"])
    read = ada.get(f"/responses/{made['response_id']}")
    assert (read.status, read.json, read.etag) == (200, made, answer.etag)


def test_what_is_not_known_of_a_response_is_null(ada: Learner) -> None:
    made = keep(ada, model_of(ada))

    assert (made["token_usage"], made["latency_ms"]) == (None, None)


@pytest.mark.parametrize("latency", [0, 1, 2**31 - 1, "5", 5.0])
def test_a_latency_is_a_whole_number_of_milliseconds(latency: object, ada: Learner) -> None:
    assert keep(ada, model_of(ada), latency_ms=latency)["latency_ms"] == int(str(latency).removesuffix(".0"))


@pytest.mark.parametrize("latency", [-1, 2**31, 1.5, "1.5", [], {}])
def test_a_latency_that_is_none_is_refused(latency: object, ada: Learner) -> None:
    answer = ada.post(
        f"/models/{model_of(ada)}/responses",
        {"prompt_text": "a", "response_text": "b", "latency_ms": latency},
    )

    assert (answer.status, [each["loc"] for each in answer.detail]) == (422, [["body", "latency_ms"]])


# Texts

MB = 1024 * 1024
RANDOM = random.Random(5)
SOME = "".join(RANDOM.choices([chr(code) for code in range(32, 127)], k=MB))
LONGEST = {
    "one letter": "x" * MB,
    "any ASCII": SOME,
    "quotes": '"' * MB,
    "backslashes": "\\" * MB,
    "line breaks": "\n" * MB,
    "umlauts": "ä" * (MB // 2),
    "any Cyrillic": "".join(RANDOM.choices("абвгдежзийклмнопрстуфхцчшщ", k=MB // 2)),
    "Chinese": "漢字" * (MB // 6),
    "any emoji": "".join(RANDOM.choices([chr(code) for code in range(0x1F300, 0x1F600)], k=MB // 4)),
    "separators that break JavaScript": "\u2028\u2029\ufeff" * (MB // 9),
    "what no font has": "\U0010ffff\ufffe\ue000" * (MB // 10),
}


@pytest.mark.parametrize("kind", LONGEST)
def test_a_text_of_a_megabyte_comes_back_as_it_went_in(kind: str, ada: Learner) -> None:
    model = model_of(ada)
    text = LONGEST[kind]
    prompt = (text * 2)[: 100 * 1024 // max(1, len(text[0].encode()))]

    made = keep(ada, model, text, prompt_text=prompt)

    assert (made["response_text"] == text, made["prompt_text"] == prompt) == (True, True)
    assert ada.get(f"/responses/{made['response_id']}").json == made
    assert ada.get(f"/models/{model}/responses").json == [made]
    assert ada.get(f"/sessions/{made['session_id']}").json["responses"] == [made]
    assert ada.get(f"/sessions/{made['session_id']}/responses").json["items"] == [made]


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("response_text", "x" * (MB + 1)),
        ("response_text", "ä" * (MB // 2) + "x"),
        ("response_text", "😀" * (MB // 4 + 1)),
        ("response_text", "\x01" * 800_000),
        ("response_text", "\x1f" * 700_000),
        ("prompt_text", "x" * (100 * 1024 + 1)),
        ("prompt_text", "ä" * (50 * 1024) + "x"),
    ],
)
@pytest.mark.parametrize("verb", ["POST", "PATCH"])
def test_a_text_that_is_too_long_is_refused_and_nothing_is_written(
    verb: str, field: str, text: str, ada: Learner, contents_of: ItemsOf
) -> None:
    made = keep(ada, model_of(ada))
    before = contents_of(ada)

    if verb == "POST":
        body = {"prompt_text": "a", "response_text": "b", field: text}
        answer = ada.post(f"/models/{made['session_model_id']}/responses", body)
    else:
        answer = ada.patch(f"/responses/{made['response_id']}", {field: text})

    assert (answer.status, [each["type"] for each in answer.detail]) == (422, ["string_too_long"])
    assert answer.detail[0]["loc"] == ["body", field]
    assert contents_of(ada) == before


def test_the_longest_texts_of_control_characters_fit_every_answer(ada: Learner) -> None:
    model = model_of(ada)
    made = keep(
        ada,
        model,
        "\x01" * 350_000,
        prompt_text="\x02" * 100 * 1024,
        token_usage={"a": "\\" * 32_000},
    )

    assert ada.get(f"/responses/{made['response_id']}").json == made
    assert ada.get(f"/models/{model}/responses").json == [made]
    assert ada.get(f"/sessions/{made['session_id']}").json["responses"] == [made]


def test_a_reader_never_sees_half_of_a_change(ada: Learner) -> None:
    """Texts that no compression makes fit one item are replaced part by part; a reader sees one version or the other."""
    versions = [SOME, SOME[::-1], "short", SOME[: MB // 2]]
    model = model_of(ada)
    made = keep(ada, model, versions[0])
    path = f"/responses/{made['response_id']}"
    seen: list[str] = []

    def write() -> None:
        for text in versions * 2:
            assert ada.patch(path, {"response_text": text}).status == 200

    def read() -> None:
        for _ in range(4):
            seen.append(ada.get(path).json["response_text"])
            seen.append(ada.get(f"/models/{model}/responses").json[0]["response_text"])
            seen.append(ada.get(f"/sessions/{made['session_id']}").json["responses"][0]["response_text"])

    at_once(write, read)

    assert len(seen) == 12
    assert all(text in versions for text in seen)


def test_of_two_long_texts_written_at_once_one_is_kept_whole(ada: Learner, items_of: ItemsOf) -> None:
    made = keep(ada, model_of(ada))
    path = f"/responses/{made['response_id']}"
    texts = [SOME, SOME[::-1]]

    answers = at_once(*(lambda text=text: ada.patch(path, {"response_text": text}) for text in texts))

    assert [answer.status for answer in answers] == [200, 200]
    assert ada.get(path).json["response_text"] in texts
    current = [sk for _, sk in items_of(ada) if "RESPONSE" in sk]
    whole = next(sk for sk in current if sk.count("#") == 3)
    assert len({sk.removeprefix(whole).split("#")[1] for sk in current if sk != whole}) == 1, (
        "one version's parts"
    )


def test_nothing_stays_of_a_text_that_became_short_or_was_deleted(ada: Learner, items_of: ItemsOf) -> None:
    first, second = (keep(ada, model_of(ada), SOME) for _ in range(2))
    assert sum("RESPONSE" in sk for _, sk in items_of(ada)) > 6

    ada.patch(f"/responses/{first['response_id']}", {"response_text": "short"})
    ada.delete(f"/responses/{second['response_id']}")

    assert sum("RESPONSE" in sk for _, sk in items_of(ada)) == 1


# The list of a model


def test_the_responses_of_a_model_come_oldest_first(ada: Learner) -> None:
    session = ada.open_session()
    models = [each["session_model_id"] for each in ada.models_of(session)]
    made = [keep(ada, models[number % len(models)], str(number)) for number in range(9)]

    for model in models:
        answer = ada.get(f"/models/{model}/responses")
        assert answer.status == 200
        assert answer.json == [each for each in made if each["session_model_id"] == model]
        assert "x-next-cursor" not in answer.headers
    assert ada.get(f"/sessions/{session['session_id']}").json["responses"] == made
    assert [each["response_id"] for each in made] == sorted(each["response_id"] for each in made)
    assert len({each["created_at"] for each in made}) == len(made)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 200])
def test_a_header_leads_through_the_list_of_a_model(size: int, ada: Learner) -> None:
    model = model_of(ada)
    made = [keep(ada, model, str(number)) for number in range(5)]

    pages = pages_of(ada, f"/models/{model}/responses?size={size}")

    assert [each for page in pages for each in page.json] == made
    assert [len(page.json) for page in pages[:-1]] == [size] * (len(pages) - 1)
    assert len(pages) == -(-5 // size)


def test_a_model_without_responses_has_an_empty_array(ada: Learner) -> None:
    answer = ada.get(f"/models/{model_of(ada)}/responses")

    assert (answer.status, answer.body) == (200, b"[]")


def test_who_is_paging_is_not_disturbed_by_what_comes_and_goes(ada: Learner) -> None:
    model = model_of(ada)
    made = [keep(ada, model, str(number)) for number in range(4)]
    first = ada.get(f"/models/{model}/responses?size=2")
    for each in made[1:3]:
        ada.delete(f"/responses/{each['response_id']}")
    late = keep(ada, model, "late")

    rest = ada.get(f"/models/{model}/responses?size=9&cursor={first.headers['x-next-cursor']}")

    assert (first.json, rest.json) == (made[:2], [made[3], late])


def test_a_list_too_long_for_one_answer_ends_early_and_reads_no_further(
    ada: Learner, requests_to_table: Callable[[], Any]
) -> None:
    """A quote takes two bytes as JSON."""
    model = model_of(ada)
    made = [keep(ada, model, SOME)] + [keep(ada, model, f"{number}" + '"' * 1_000_000) for number in range(3)]

    with requests_to_table() as requests:
        answer = ada.get(f"/models/{model}/responses")

    assert answer.json == made[:2]
    assert [operation for operation, _ in requests][-3:] == ["Query", "BatchGetItem", "BatchGetItem"]
    assert [each for page in pages_of(ada, f"/models/{model}/responses") for each in page.json] == made
    session = made[0]["session_id"]
    assert ada.get(f"/sessions/{session}").json["responses"] == made[-2:]


def test_a_cursor_is_for_one_learner_one_model_and_this_list(ada: Learner, ben: Learner) -> None:
    session = ada.open_session()
    one, other = (each["session_model_id"] for each in ada.models_of(session)[:2])
    for model in (one, one, other, other):
        keep(ada, model)
    path = f"/models/{one}/responses?size=1"
    cursor = ada.get(path).headers["x-next-cursor"]
    for _ in range(2):
        ada.add_example()
    foreign = ben.open_session()
    bens = ben.models_of(foreign)[0]["session_model_id"]
    bad = [
        cursor[:-1],
        cursor[1:],
        cursor + "A",
        cursor.swapcase(),
        cursor[:-1] + ("A" if cursor[-1] != "A" else "B"),
        "A" * len(cursor),
        "%00",
        "é",
        "a" * 1024,
        ada.get(f"/models/{other}/responses?size=1").headers["x-next-cursor"],
        ada.get(f"/sessions/{session['session_id']}/responses?size=1").json["next_cursor"],
        ada.get("/few-shot-examples?size=1").json["next_cursor"],
    ]

    for forged in bad:
        answer = ada.get(f"{path}&cursor={forged}")
        assert (answer.status, answer.json) == (
            422,
            {
                "detail": [
                    {
                        "type": "cursor_invalid",
                        "loc": ["query", "cursor"],
                        "msg": "Cursor should be the next_cursor of this list",
                    }
                ]
            },
        ), forged
    assert ben.get(f"/models/{bens}/responses?cursor={cursor}").status == 422
    assert ben.get(f"{path}&cursor={cursor}").status == 422
    assert ada.get(f"{path}&cursor={cursor}").status == 200


# Changes


def test_a_change_is_answered_and_read_back_everywhere(ada: Learner) -> None:
    made = keep(ada, model_of(ada), token_usage={"a": 1})
    path = f"/responses/{made['response_id']}"

    changed = ada.patch(path, {"prompt_text": "How?", "latency_ms": 7, "token_usage": {"b": None}})

    assert changed.status == 200
    assert changed.json == made | {"prompt_text": "How?", "latency_ms": 7, "token_usage": {"b": None}}
    assert ada.get(path).json == changed.json
    assert ada.get(f"/models/{made['session_model_id']}/responses").json == [changed.json]
    assert ada.get(f"/sessions/{made['session_id']}").json["responses"] == [changed.json]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ({"token_usage": None}, {"token_usage": None}),
        ({"token_usage": {}}, {"token_usage": {}}),
        ({"latency_ms": None}, {"latency_ms": None}),
        ({"response_text": ""}, {"response_text": ""}),
        ({"response_text": " \n"}, {"response_text": " \n"}),
    ],
)
def test_usage_and_latency_are_replaced_and_can_be_cleared(sent: Json, kept: Json, ada: Learner) -> None:
    made = keep(ada, model_of(ada), token_usage={"a": 1}, latency_ms=5)

    assert ada.patch(f"/responses/{made['response_id']}", sent).json == made | kept


@pytest.mark.parametrize(
    "equal", [{}, {"response_text": "Because."}, {"token_usage": {"b": [1], "a": 1.0}}, {"unknown": 1}]
)
def test_equal_values_change_nothing(equal: Json, ada: Learner, contents_of: ItemsOf) -> None:
    made = keep(ada, model_of(ada), token_usage={"a": 1.0, "b": [1]})
    before = contents_of(ada)

    answer = ada.patch(f"/responses/{made['response_id']}", equal)

    assert (answer.status, answer.json) == (200, made)
    assert contents_of(ada) == before


def test_one_one_point_zero_and_true_are_three_values(ada: Learner) -> None:
    path = f"/responses/{keep(ada, model_of(ada))['response_id']}"

    for value in (1, 1.0, True, 0, 0.0, -0.0, False, "1", None):
        answer = ada.patch(path, {"token_usage": {"a": [{"b": value}]}})
        assert json.dumps(answer.json["token_usage"]) == json.dumps({"a": [{"b": value}]})
        assert json.dumps(ada.get(path).json["token_usage"]) == json.dumps({"a": [{"b": value}]})


def test_the_slower_learner_gets_the_current_version(ada: Learner) -> None:
    made = keep(ada, model_of(ada))
    path = f"/responses/{made['response_id']}"
    first = ada.get(path).etag
    second = ada.patch(path, {"latency_ms": 1}, headers={"if-match": first}).etag

    for late in (
        ada.patch(path, {"latency_ms": 2}, headers={"if-match": first}),
        ada.delete(path, headers={"if-match": first}),
    ):
        assert (late.status, late.json, late.etag) == (412, {"detail": "precondition_failed"}, second)
    assert ada.patch(path, {"latency_ms": 3}, headers={"if-match": f'"x", {second}'}).status == 200
    assert ada.patch(path, {"latency_ms": 4}, headers={"if-match": f"W/{second}"}).status == 412
    assert ada.patch(path, {"latency_ms": 4}, headers={"if-match": "*"}).status == 200
    assert ada.delete(path, headers={"if-match": ada.get(path).etag}).status == 204
    assert ada.delete(path, headers={"if-match": "*"}).status == 404


# Deletes


def nowhere(ada: Learner, gone: Json) -> None:
    path = f"/responses/{gone['response_id']}"
    for answer in (ada.get(path), ada.patch(path, {"latency_ms": 1}), ada.patch(path, {}), ada.delete(path)):
        assert (answer.status, answer.json) == (404, {"detail": "response not found"})


def test_a_deleted_response_is_gone_at_once_for_every_reader(ada: Learner) -> None:
    model = model_of(ada)
    kept, gone = keep(ada, model), keep(ada, model)

    answer = ada.delete(f"/responses/{gone['response_id']}")

    assert (answer.status, answer.body) == (204, b"")
    nowhere(ada, gone)
    assert ada.get(f"/models/{model}/responses").json == [kept]
    assert ada.get(f"/sessions/{kept['session_id']}").json["responses"] == [kept]
    assert ada.get(f"/sessions/{kept['session_id']}/responses").json["items"] == [kept]


def test_many_may_delete_a_response_at_once_and_it_is_gone(ada: Learner, items_of: ItemsOf) -> None:
    """Who is beaten to it cannot tell that from a lost answer to its own delete, and may hear of success."""
    gone = keep(ada, model_of(ada), SOME)

    statuses = {
        answer.status for answer in at_once(*[lambda: ada.delete(f"/responses/{gone['response_id']}")] * 5)
    }

    assert 204 in statuses <= {204, 404}
    nowhere(ada, gone)
    assert not [sk for _, sk in items_of(ada) if "RESPONSE" in sk]


def test_the_responses_of_a_deleted_model_are_gone_at_once(ada: Learner) -> None:
    session = ada.open_session()
    one, other = (each["session_model_id"] for each in ada.models_of(session)[:2])
    gone, kept = keep(ada, one, SOME), keep(ada, other)

    assert ada.delete(f"/models/{one}").status == 204

    nowhere(ada, gone)
    for answer in (
        ada.get(f"/models/{one}/responses"),
        ada.post(f"/models/{one}/responses", {"prompt_text": "", "response_text": ""}),
    ):
        assert (answer.status, answer.json) == (404, {"detail": "model not found"})
    assert ada.get(f"/sessions/{session['session_id']}").json["responses"] == [kept]


def test_the_responses_of_a_deleted_session_are_gone_at_once(ada: Learner) -> None:
    gone = keep(ada, model_of(ada))

    assert ada.delete(f"/sessions/{gone['session_id']}").status == 204

    nowhere(ada, gone)
    assert ada.get(f"/models/{gone['session_model_id']}/responses").status == 404


# Free-form objects

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
NUMBERS = st.integers() | st.integers(-(10**300), 10**300) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


def spelled(value: Any) -> str:
    """With the types that equality forgets: 1, 1.0 and true."""
    return json.dumps(value, sort_keys=True)


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(sent=st.dictionaries(TEXTS, VALUES, max_size=5))
def test_a_free_form_object_comes_back_exactly_as_it_went_in(sent: Json, rooms: tuple[Learner, Json]) -> None:
    ada, response = rooms
    unknown = {f"my {name}": value for name, value in sent.items()}

    for path, name, value in (
        (f"/responses/{response['response_id']}", "token_usage", sent),
        (f"/few-shot-examples/{response['example_id']}", "meta", sent),
        (f"/sessions/{response['session_id']}/settings", "style_params", sent),
        (f"/sessions/{response['session_id']}/settings", "generation_params", unknown),
    ):
        changed = ada.patch(path, {name: value})
        assert changed.status == 200, changed.body[:300]
        for shown in (changed.json[name], ada.get(path).json[name]):
            assert spelled({key: shown[key] for key in value}) == spelled(value)
            assert name in ("style_params", "generation_params") or len(shown) == len(value)


@pytest.fixture
def rooms(ada: Learner) -> tuple[Learner, Json]:
    return ada, keep(ada, model_of(ada)) | {"example_id": ada.add_example()["example_id"]}
