"""A learner's practice sessions: opening, reading, changing and deleting them, and the lists of them."""

import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from tests.support.learners import DEFAULT_PARAMS, Learner, at_once, new_user_id, walk

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
OWN_FIELDS = {
    "session_id",
    "user_id",
    "class_id",
    "project_id",
    "knowledge_ids",
    "agent_id",
    "title",
    "notes",
    "created_at",
    "updated_at",
}
SENT = {
    "class_id": 7,
    "project_id": 8,
    "knowledge_ids": [3, 1, 2],
    "agent_id": 9,
    "title": "Prompting 101",
    "notes": "First try.\nÇa va 🐍",
}

Json = dict[str, Any]
Announce = Callable[..., Any]


def own(session: Json) -> Json:
    return {name: session[name] for name in OWN_FIELDS}


def path_of(session: Json) -> str:
    return f"/sessions/{session['session_id']}"


# Opening


def test_a_new_session_is_what_was_sent_with_default_settings(ada: Learner) -> None:
    answer = ada.post("/sessions", SENT)

    session = answer.json
    moment = session["created_at"]
    assert answer.status == 201
    assert TIMESTAMP.fullmatch(moment)
    assert session == {
        **SENT,
        "session_id": session["session_id"],
        "user_id": ada.user_id,
        "created_at": moment,
        "updated_at": moment,
        "settings": {
            "setting_id": session["settings"]["setting_id"],
            "session_id": session["session_id"],
            "style_preset": None,
            "style_params": {},
            "generation_params": DEFAULT_PARAMS,
            "agent_snapshot": {},
            "few_shot_links": [],
            "created_at": moment,
            "updated_at": moment,
        },
        "responses": [],
        "responses_next_cursor": None,
    }
    assert ada.get(path_of(session)).json == session
    assert ada.get(path_of(session)).etag == answer.etag


@pytest.mark.parametrize("nothing", [{}, dict.fromkeys([*SENT])])
def test_what_is_not_sent_is_empty_on_the_wire(ada: Learner, nothing: Json) -> None:
    session = ada.open_session(**{**nothing, "class_id": 7})

    assert own(session) == {
        "session_id": session["session_id"],
        "user_id": ada.user_id,
        "class_id": 7,
        "project_id": None,
        "knowledge_ids": [],
        "agent_id": None,
        "title": None,
        "notes": None,
        "created_at": session["created_at"],
        "updated_at": session["created_at"],
    }


def test_ids_are_safe_integers_that_increase_as_the_answer_lists_them(ada: Learner) -> None:
    sessions = [ada.open_session() for _ in range(20)]

    ids = [session["session_id"] for session in sessions]
    models = [model["session_model_id"] for model in ada.models_of(sessions[0])]
    assert len(set(ids)) == 20
    assert all(type(each) is int and 1 <= each <= 2**53 - 1 for each in ids + models)
    assert models == sorted(set(models))


@pytest.mark.parametrize("body", [{}, {"class_id": None}, {"class_id": 0}, {"class_id": "0"}])
def test_a_session_needs_a_class(ada: Learner, body: Json) -> None:
    answer = ada.post("/sessions", {"title": "Prompting 101", **body})

    assert (answer.status, answer.detail) == (400, "class_id_required")
    assert ada.get("/sessions").json["total"] == 0


@pytest.mark.parametrize("status", ["planned", "ended"])
def test_a_session_needs_a_class_that_is_active(ada: Learner, announce: Announce, status: str) -> None:
    class_id = new_user_id()
    announce(class_id, "model-a", status=status)

    answer = ada.post("/sessions", {"class_id": class_id})

    assert (answer.status, answer.detail) == (400, "class_not_active")
    assert ada.get("/sessions").json["total"] == 0


def test_a_session_needs_a_class_that_has_models(ada: Learner, announce: Announce) -> None:
    class_id = new_user_id()
    announce(class_id)

    answer = ada.post("/sessions", {"class_id": class_id})

    assert (answer.status, answer.detail) == (400, "class_has_no_models")


def test_what_the_server_owns_cannot_be_sent(ada: Learner, ben: Learner) -> None:
    owned = {
        "session_id": 5,
        "user_id": ben.user_id,
        "created_at": "2001-01-01T00:00:00Z",
        "updated_at": 7,
        "settings": {"style_preset": "creative"},
        "responses": [1],
        "responses_next_cursor": "x",
        "agent_snapshot": {"name": "Mallory"},
        "turn": 1,
    }

    session = ada.open_session(**owned)
    changed = ada.patch(path_of(session), owned)

    assert session["user_id"] == ada.user_id
    assert session["session_id"] != 5
    assert session["created_at"] == session["updated_at"] > "2026"
    assert session["settings"]["style_preset"] is None
    assert session["settings"]["agent_snapshot"] == {}
    assert (changed.status, changed.json) == (200, session)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ({"class_id": "5"}, {"class_id": 5}),
        ({"class_id": 5.0}, {"class_id": 5}),
        ({"class_id": True}, {"class_id": 1}),
        ({"project_id": " 5 "}, {"project_id": 5}),
        ({"project_id": "5.0"}, {"project_id": 5}),
        ({"project_id": 2**53 - 1}, {"project_id": 2**53 - 1}),
        ({"knowledge_ids": ["5", 5.0, 5]}, {"knowledge_ids": [5]}),
        ({"knowledge_ids": [3, 1, 3, 2, 1]}, {"knowledge_ids": [3, 1, 2]}),
        ({"knowledge_ids": [0, -1, 4, -(10**30)]}, {"knowledge_ids": [4]}),
        ({"knowledge_ids": [2**63, 2**63 - 1, 2**53]}, {"knowledge_ids": [2**63, 2**63 - 1, 2**53]}),
        ({"knowledge_ids": [*range(1, 1001), 1, 0]}, {"knowledge_ids": [*range(1, 1001)]}),
        ({"title": ""}, {"title": ""}),
        ({"title": "  spaces stay \t\n"}, {"title": "  spaces stay \t\n"}),
        ({"title": "é" * 10_000}, {"title": "é" * 10_000}),
        ({"notes": "🐍" * 100_000}, {"notes": "🐍" * 100_000}),
        ({"notes": "\x01\x7f\u2028\ufeff\uffff"}, {"notes": "\x01\x7f\u2028\ufeff\uffff"}),
    ],
)
def test_values_are_taken_as_pydantic_takes_them(ada: Learner, sent: Json, kept: Json) -> None:
    session = ada.open_session(**sent)
    changed = ada.patch(path_of(ada.open_session(class_id=2)), sent)

    assert {name: session[name] for name in kept} == kept
    assert {name: changed.json[name] for name in kept} == kept
    assert json.dumps(session).count("true") == 0
    assert own(ada.get(path_of(session)).json) == own(session)


INT = "Input should be a valid integer"


@pytest.mark.parametrize(
    ("body", "problems"),
    [
        (
            {"class_id": -1},
            [("greater_than_equal", ["class_id"], "Input should be greater than or equal to {least}")],
        ),
        (
            {"class_id": 1.5},
            [("int_from_float", ["class_id"], INT + ", got a number with a fractional part")],
        ),
        ({"class_id": []}, [("int_type", ["class_id"], INT)]),
        ({"class_id": 1e400}, None),
        (
            {"class_id": 2**53},
            [("less_than_equal", ["class_id"], "Input should be less than or equal to 9007199254740991")],
        ),
        (
            {"project_id": 0},
            [("greater_than_equal", ["project_id"], "Input should be greater than or equal to 1")],
        ),
        (
            {"agent_id": "x"},
            [("int_parsing", ["agent_id"], INT + ", unable to parse string as an integer")],
        ),
        ({"knowledge_ids": 5}, [("list_type", ["knowledge_ids"], "Input should be a valid list")]),
        (
            {"knowledge_ids": [1, "x", None]},
            [
                ("int_parsing", ["knowledge_ids", 1], INT + ", unable to parse string as an integer"),
                ("int_type", ["knowledge_ids", 2], INT),
            ],
        ),
        (
            {"knowledge_ids": [2**63 + 1]},
            [
                (
                    "less_than_equal",
                    ["knowledge_ids", 0],
                    "Input should be less than or equal to 9223372036854775808",
                )
            ],
        ),
        (
            {"knowledge_ids": [*range(1, 1002)]},
            [("too_long", ["knowledge_ids"], "List should have at most 1000 items")],
        ),
        ({"title": 5}, [("string_type", ["title"], "Input should be a valid string")]),
        (
            {"title": "x" * 10_001},
            [("string_too_long", ["title"], "String should have at most 10000 characters")],
        ),
        (
            {"notes": "x" * 100_001},
            [("string_too_long", ["notes"], "String should have at most 100000 characters")],
        ),
        ({"title": "a\0b"}, [("string_nul", ["title"], "String should not contain NUL characters")]),
        (
            {"notes": "\ud800"},
            [
                (
                    "string_unicode",
                    ["notes"],
                    "Input should be a valid string, unable to parse raw data as a unicode string",
                )
            ],
        ),
        (
            {
                "notes": 1,
                "title": 2,
                "agent_id": "x",
                "knowledge_ids": {},
                "project_id": None,
                "class_id": -5,
            },
            [
                ("greater_than_equal", ["class_id"], "Input should be greater than or equal to {least}"),
                ("list_type", ["knowledge_ids"], "Input should be a valid list"),
                ("int_parsing", ["agent_id"], INT + ", unable to parse string as an integer"),
                ("string_type", ["title"], "Input should be a valid string"),
                ("string_type", ["notes"], "Input should be a valid string"),
            ],
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_value_that_does_not_fit_is_named_and_nothing_is_written(
    ada: Learner, body: Json, problems: list[tuple[str, list[str | int], str]] | None
) -> None:
    session = ada.open_session(class_id=2)

    refused = {
        0: ada.post("/sessions", {"class_id": 2, **body}),
        1: ada.patch(path_of(session), {"title": "never", **body}),
    }

    for least, answer in refused.items():
        assert answer.status == 422
        if problems is not None:
            assert answer.detail == [
                {"type": kind, "loc": ["body", *loc], "msg": msg.format(least=least)}
                for kind, loc, msg in problems
            ]
    assert ada.get(path_of(session)).json == session
    assert ada.get("/sessions").json["total"] == 1


# Changing


def test_a_learner_renames_a_session_and_reads_it_back(ada: Learner) -> None:
    session = ada.open_session(**SENT)

    renamed = ada.patch(path_of(session), {"title": "Prompting 102"})

    assert renamed.status == 200
    assert renamed.json == session | {"title": "Prompting 102", "updated_at": renamed.json["updated_at"]}
    assert renamed.json["updated_at"] > session["updated_at"]
    assert ada.get(path_of(session)).json == renamed.json
    assert ada.get(path_of(session)).etag == renamed.etag


def test_renaming_is_a_query_and_a_conditional_update(
    ada: Learner, requests_to_table: Callable[[], Any]
) -> None:
    session = ada.open_session()

    with requests_to_table() as requests:
        ada.patch(path_of(session), {"title": "Prompting 102"})

    assert [operation for operation, _ in requests] == ["Query", "UpdateItem"]


@pytest.mark.parametrize("name", sorted(SENT))
def test_null_clears_one_field_and_absent_leaves_the_others(ada: Learner, name: str) -> None:
    session = ada.open_session(**SENT)

    cleared = ada.patch(path_of(session), {name: None}).json

    assert own(cleared) == own(session) | {
        name: [] if name == "knowledge_ids" else None,
        "updated_at": cleared["updated_at"],
    }
    assert cleared["updated_at"] > session["updated_at"]
    assert ada.get(path_of(session)).json == cleared


@pytest.mark.parametrize(
    "equal",
    [
        {},
        SENT,
        {"title": SENT["title"], "unknown": 1},
        {"knowledge_ids": [3, 3, 0, 1, "2", -5]},
        {"class_id": "7"},
    ],
)
def test_equal_values_change_nothing(
    ada: Learner, contents_of: Callable[[Learner], Json], equal: Json
) -> None:
    opened = ada.post("/sessions", SENT)
    before = contents_of(ada)

    answer = ada.patch(path_of(opened.json), equal)

    assert (answer.status, answer.json, answer.etag) == (200, opened.json, opened.etag)
    assert contents_of(ada) == before


def test_null_for_what_is_empty_already_changes_nothing(ada: Learner) -> None:
    opened = ada.post("/sessions", {"class_id": 7})

    answer = ada.patch(path_of(opened.json), {**dict.fromkeys(SENT), "class_id": 7})

    assert (answer.json, answer.etag) == (opened.json, opened.etag)


def test_the_order_of_knowledge_is_part_of_it(ada: Learner) -> None:
    session = ada.open_session(knowledge_ids=[1, 2])

    changed = ada.patch(path_of(session), {"knowledge_ids": [2, 1]}).json

    assert changed["knowledge_ids"] == [2, 1]
    assert changed["updated_at"] > session["updated_at"]


def test_a_session_moves_neither_with_its_settings_nor_with_its_responses(ada: Learner) -> None:
    opened = ada.post("/sessions", {"class_id": 1})
    session = opened.json

    ada.patch(path_of(session) + "/settings", {"style_preset": "creative"})
    ada.add_response(session)

    after = ada.get(path_of(session))
    assert own(after.json) == own(session)
    assert after.etag == opened.etag
    assert len(after.json["responses"]) == 1


def test_an_unknown_session_is_not_found(ada: Learner) -> None:
    known = ada.open_session()["session_id"]
    for session_id in (known + 1, known + 2, known - 1, 1, 2**53 - 1, 2**53, 10**30):
        path = f"/sessions/{session_id}"
        for answer in (
            ada.get(path),
            ada.get(path + "?responses=0"),
            ada.patch(path, {"title": "x"}),
            ada.delete(path),
            ada.get(path + "/responses"),
            ada.get(path + "/settings"),
            ada.patch(path + "/settings", {}),
            ada.get(path + "/models"),
            ada.post(path + "/models", {"model_name": "m"}),
        ):
            assert (answer.status, answer.json) == (404, {"detail": "session not found"}), path


def test_another_learner_meets_the_same_answer_for_the_same_work(
    ada: Learner, ben: Learner, requests_to_table: Callable[[], Any]
) -> None:
    session = ada.open_session()
    ada.add_response(session)
    before = ada.get(path_of(session)).json
    ben.get("/sessions")  # once a minute his tokens are asked for

    for method, tail, body in (
        ("GET", "", ...),
        ("PATCH", "", {"title": "mine"}),
        ("DELETE", "", ...),
        ("GET", "/responses", ...),
        ("GET", "/settings", ...),
        ("PATCH", "/settings", {"style_preset": "creative"}),
        ("GET", "/models", ...),
        ("POST", "/models", {"model_name": "gpt-4o-mini"}),
    ):
        answers, work = [], []
        for session_id in (session["session_id"], 2**52):
            with requests_to_table() as requests:
                answers.append(ben.ask(method, f"/sessions/{session_id}{tail}", body))
            work.append(requests)
        assert (answers[0].status, answers[0].body) == (404, answers[1].body), (method, tail)
        assert work[0] == work[1], (method, tail)
    assert ada.get(path_of(session)).json == before


def test_refusals_come_in_their_order(ada: Learner, announce_agent: Announce) -> None:
    session = ada.open_session()
    foreign = announce_agent(owner=new_user_id())
    stale = {"if-match": '"99"'}

    def refused(path: str, body: Json, **options: Any) -> int:
        return ada.patch(path, body, **options).status

    assert refused("/sessions/x", {"class_id": -1}, headers={"authorization": "Bearer x"}) == 401
    assert refused("/sessions/5", {"class_id": -1}, headers=stale) == 422
    assert refused("/sessions/5", {"class_id": 1}, headers=stale) == 404
    assert refused(path_of(session), {"agent_id": foreign}, headers=stale) == 404
    assert refused(path_of(session), {"title": "x"}, headers=stale) == 412
    unable = ada.post("/sessions", {"agent_id": foreign})
    assert (unable.status, unable.detail) == (404, "agent not found or not accessible")


# If-Match


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_the_slower_learner_gets_the_current_version(ada: Learner, method: str) -> None:
    opened = ada.post("/sessions", {"class_id": 1})
    path = path_of(opened.json)
    body = {"title": "mine"} if method == "PATCH" else ...
    current = ada.patch(path, {"title": "faster"}).etag

    late = ada.ask(method, path, body, headers={"if-match": opened.etag})

    assert (late.status, late.json, late.etag) == (412, {"detail": "precondition_failed"}, current)
    assert ada.get(path).json["title"] == "faster"
    for header in (f"W/{current}", '""', "x", f'"7{current[1:]}'):
        assert ada.ask(method, path, body, headers={"if-match": header}).status == 412, header
    accepted = ada.ask(method, path, body, headers={"if-match": f'"none", {current},"77"'})
    assert accepted.status == (200 if method == "PATCH" else 204)


def test_a_star_matches_any_session_that_is_there(ada: Learner) -> None:
    session = ada.open_session()

    assert ada.patch(path_of(session), {"title": "x"}, headers={"if-match": "*"}).status == 200
    assert ada.delete(path_of(session), headers={"if-match": "*"}).status == 204
    assert ada.patch(path_of(session), {"title": "x"}, headers={"if-match": "*"}).status == 404
    assert ada.delete(path_of(session), headers={"if-match": "*"}).status == 404
    assert ada.delete(path_of(session), headers={"if-match": '"1"'}).status == 404


def test_of_many_who_saw_the_same_version_one_writes(ada: Learner) -> None:
    opened = ada.post("/sessions", {"class_id": 1})
    path = path_of(opened.json)

    answers = at_once(
        *(
            lambda n=n: ada.patch(path, {"title": f"title {n}"}, headers={"if-match": opened.etag})
            for n in range(12)
        )
    )

    won = [answer for answer in answers if answer.status == 200]
    assert sorted(answer.status for answer in answers) == [200] + [412] * 11
    assert ada.get(path).json == won[0].json
    assert {answer.etag for answer in answers} == {won[0].etag}


# Deleting


def test_a_deleted_session_is_gone_at_once_for_every_reader(ada: Learner) -> None:
    example = ada.add_example()
    session = ada.open_session()
    ada.patch(path_of(session) + "/settings", {"few_shot_example_ids": [example["example_id"]]})
    response = ada.add_response(session)
    model = f"/models/{response['session_model_id']}"

    deleted = ada.delete(path_of(session))

    assert (deleted.status, deleted.body) == (204, b"")
    for path, detail in (
        (path_of(session), "session not found"),
        (path_of(session) + "/responses", "session not found"),
        (path_of(session) + "/settings", "session not found"),
        (path_of(session) + "/models", "session not found"),
        (f"{model}/responses", "model not found"),
        (f"/responses/{response['response_id']}", "response not found"),
    ):
        answer = ada.get(path)
        assert (answer.status, answer.detail) == (404, detail), path
    for answer, detail in (
        (ada.delete(path_of(session)), "session not found"),
        (ada.patch(path_of(session), {"title": "x"}), "session not found"),
        (ada.patch(path_of(session) + "/settings", {"style_preset": None}), "session not found"),
        (ada.post(path_of(session) + "/models", {"model_name": "gpt-4o-mini"}), "session not found"),
        (ada.patch(model, {"is_primary": True}), "model not found"),
        (ada.delete(model), "model not found"),
        (ada.post(f"{model}/responses", {"prompt_text": "", "response_text": ""}), "model not found"),
        (ada.patch(f"/responses/{response['response_id']}", {}), "response not found"),
        (ada.delete(f"/responses/{response['response_id']}"), "response not found"),
    ):
        assert (answer.status, answer.detail) == (404, detail)
    assert ada.get("/sessions").json == {
        "items": [],
        "total": 0,
        "page": 1,
        "size": 50,
        "next_cursor": None,
    }
    assert ada.get(f"/few-shot-examples/{example['example_id']}").json == example


# Lists


@pytest.fixture(scope="module")
def library(lasting_learner: Callable[[], Learner]) -> tuple[Learner, list[Json]]:
    """A learner with 23 sessions, newest first, of classes 1 to 3 and projects None, 1 and 2. Not to be changed."""
    ada = lasting_learner()
    opened = [
        ada.open_session(class_id=n % 3 + 1, project_id=(None, 1, 2)[n % 4 % 3], title=f"{n}")
        for n in range(23)
    ]
    return ada, [own(session) for session in reversed(opened)]


def test_sessions_are_listed_newest_first_with_their_own_fields(library: tuple[Learner, list[Json]]) -> None:
    ada, newest_first = library

    listed = ada.get("/sessions").json

    assert listed == {"items": newest_first, "total": 23, "page": 1, "size": 50, "next_cursor": None}


@pytest.mark.parametrize("size", [1, 7, 22, 23, 24, 200])
def test_cursors_continue_exactly(library: tuple[Learner, list[Json]], size: int) -> None:
    ada, newest_first = library

    pages = walk(ada, f"/sessions?size={size}")

    assert [item for page in pages for item in page["items"]] == newest_first
    assert all(len(page["items"]) == size for page in pages[:-1])
    assert [page["page"] for page in pages] == [*range(1, len(pages) + 1)]
    assert {(page["total"], page["size"]) for page in pages} == {(23, size)}
    assert len(pages) == -(-23 // size)


@pytest.mark.parametrize(
    ("page", "first", "end"), [(1, 0, 5), (2, 5, 10), (5, 20, 23), (6, 23, 23), (10**18, 23, 23)]
)
def test_pages_are_numbered(library: tuple[Learner, list[Json]], page: int, first: int, end: int) -> None:
    ada, newest_first = library

    listed = ada.get(f"/sessions?page={page}&size=5").json

    assert listed["items"] == newest_first[first:end]
    assert (listed["total"], listed["page"], listed["size"]) == (23, page, 5)
    assert (listed["next_cursor"] is None) == (end == 23)


@pytest.mark.parametrize(
    "filters", [{"class_id": 2}, {"project_id": 1}, {"class_id": 3, "project_id": 2}, {"class_id": 99}]
)
@pytest.mark.parametrize("sort", ["created", "activity"])
def test_a_list_can_be_filtered(library: tuple[Learner, list[Json]], filters: Json, sort: str) -> None:
    ada, newest_first = library
    query = "&".join(f"{name}={value}" for name, value in filters.items())
    matching = [item for item in newest_first if item | filters == item]

    whole = ada.get(f"/sessions?{query}&sort={sort}").json
    pages = walk(ada, f"/sessions?{query}&sort={sort}&size=2")
    past = ada.get(f"/sessions?{query}&page=50").json

    assert whole["items"] == matching
    assert whole["total"] == len(matching)
    assert [item for page in pages for item in page["items"]] == matching
    assert pages[0]["total"] == len(matching)
    assert all(page["total"] is None for page in pages[1:])
    assert (past["items"], past["total"], past["next_cursor"]) == ([], len(matching), None)
    assert ada.get(f"/sessions?{query}&page=2&size=2").json["items"] == matching[2:4]


def test_a_session_can_be_found_under_its_new_class_and_project(ada: Learner) -> None:
    session = ada.open_session(class_id=1, project_id=5)

    ada.patch(path_of(session), {"class_id": 2, "project_id": None})

    def total(query: str) -> int:
        listed = ada.get(f"/sessions?{query}").json
        assert listed["total"] == len(listed["items"])
        return len(listed["items"])

    assert [total(query) for query in ("class_id=1", "class_id=2", "project_id=5")] == [0, 1, 0]


def test_activity_puts_the_last_turn_or_change_first(ada: Learner) -> None:
    first, second, third = (ada.open_session(title=title) for title in ("first", "second", "third"))

    ada.patch(path_of(second), {"title": "changed"})
    ada.add_response(first)
    ada.patch(path_of(third), {"title": "third"})

    def titles(query: str) -> list[str]:
        return [item["title"] for page in walk(ada, f"/sessions?{query}") for item in page["items"]]

    assert titles("sort=activity") == titles("sort=activity&size=1") == ["first", "changed", "third"]
    assert titles("sort=created") == titles("") == ["third", "changed", "first"]


def test_a_deleted_session_does_not_disturb_who_is_paging(ada: Learner) -> None:
    sessions = [own(ada.open_session()) for _ in range(6)][::-1]
    page = ada.get("/sessions?size=2").json

    ada.delete(path_of(sessions[1]))
    ada.delete(path_of(sessions[2]))
    ada.open_session()

    following = ada.get(f"/sessions?size=2&cursor={page['next_cursor']}").json
    assert following["items"] == sessions[3:5]
    assert following["total"] == 5


@pytest.mark.parametrize(
    ("query", "loc"),
    [
        ("page=0", ["query", "page"]),
        ("page=-1", ["query", "page"]),
        ("page=1.5", ["query", "page"]),
        ("page=", ["query", "page"]),
        ("size=0", ["query", "size"]),
        ("size=201", ["query", "size"]),
        ("size=", ["query", "size"]),
        ("class_id=0", ["query", "class_id"]),
        ("class_id=x", ["query", "class_id"]),
        ("class_id=", ["query", "class_id"]),
        ("project_id=-5", ["query", "project_id"]),
        ("sort=title", ["query", "sort"]),
        ("sort=", ["query", "sort"]),
        ("expand=", ["query", "expand", 0]),
        ("expand=settings,notes", ["query", "expand", 1]),
        ("cursor=", ["query", "cursor"]),
        ("cursor=x", ["query", "cursor"]),
        ("cursor=%C3%A9", ["query", "cursor"]),
        ("size=3&size=", ["query", "size"]),
    ],
)
def test_a_query_that_does_not_fit_is_named(ada: Learner, query: str, loc: list[str | int]) -> None:
    answer = ada.get(f"/sessions?{query}")

    assert answer.status == 422
    [problem] = answer.detail
    assert problem.keys() == {"type", "loc", "msg"}
    assert problem["loc"] == loc


def test_of_a_repeated_parameter_the_last_wins_and_unknown_ones_are_ignored(
    library: tuple[Learner, list[Json]],
) -> None:
    ada, newest_first = library

    listed = ada.get("/sessions?size=x&size=3&page=7&page=2&colour=green").json

    assert listed["items"] == newest_first[3:6]


def test_a_cursor_is_for_one_learner_one_list_and_its_filters(
    library: tuple[Learner, list[Json]], ben: Learner
) -> None:
    ada, newest_first = library
    cursor = ada.get("/sessions?size=5").json["next_cursor"]
    filtered = ada.get("/sessions?size=1&class_id=1").json["next_cursor"]
    ben.open_session()

    for who, query in (
        (ben, f"cursor={cursor}"),
        (ada, f"class_id=1&cursor={cursor}"),
        (ada, f"sort=activity&cursor={cursor}"),
        (ada, f"cursor={filtered}"),
        (ada, f"class_id=2&cursor={filtered}"),
        (ada, f"class_id=1&project_id=1&cursor={filtered}"),
        (ada, f"cursor={cursor[:-1]}"),
        (ada, f"cursor={cursor}A"),
        (ada, f"cursor={cursor}="),
        (ada, f"cursor={cursor[:5]}{'A' if cursor[5] != 'A' else 'B'}{cursor[6:]}"),
        (ada, f"page=2&cursor={cursor}"),
    ):
        answer = who.get(f"/sessions?{query}")
        assert answer.status == 422, query
        assert answer.detail[0]["loc"][0] == "query"
    # Another size or another embedding is the same list.
    following = ada.get(f"/sessions?cursor={cursor}&size=2&expand=settings").json
    assert [item["session_id"] for item in following["items"]] == [
        item["session_id"] for item in newest_first[5:7]
    ]


def test_a_list_embeds_what_is_asked_for(ada: Learner) -> None:
    example = ada.add_example()
    session = ada.open_session(title="Sources")
    ada.patch(path_of(session) + "/settings", {"few_shot_example_ids": [example["example_id"]]})
    ada.add_response(session)
    whole = ada.get(path_of(session)).json
    settings = {"settings": whole["settings"]}
    responses = {"responses": whole["responses"], "responses_next_cursor": None}

    def item(expand: str) -> Any:
        listed = ada.get(f"/sessions?expand={expand}").json
        assert listed["size"] == 20
        return listed["items"]

    assert item("settings") == [own(whole) | settings]
    assert item("responses") == [own(whole) | responses]
    assert item("settings,responses") == item("responses,settings") == [whole]
    assert ada.get("/sessions?expand=settings&size=20").status == 200
    assert ada.get("/sessions?expand=settings&size=21").status == 422


def test_sessions_of_one_moment_are_ordered_by_id(ada: Learner) -> None:
    opened = at_once(*[ada.open_session] * 12)

    items = [item for page in walk(ada, "/sessions?size=5") for item in page["items"]]

    by_time = sorted(opened, key=lambda each: (each["created_at"], each["session_id"]), reverse=True)
    assert items == [own(each) for each in by_time]


def test_timestamps_are_utc_with_microseconds(ada: Learner) -> None:
    session = ada.open_session()

    moment = datetime.fromisoformat(session["created_at"])
    assert TIMESTAMP.fullmatch(session["created_at"])
    assert abs((moment - datetime.now(moment.tzinfo)).total_seconds()) < 60
