"""A learner's library of few-shot examples."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.learners import Learner, walk

Json = dict[str, Any]
ItemsOf = Callable[[Learner], dict[tuple[str, str], Any]]

LIBRARY = "/few-shot-examples"
KB = 1024


def path_of(example: Json) -> str:
    return f"{LIBRARY}/{example['example_id']}"


def select(ada: Learner, session: Json, *examples: Json) -> list[Json]:
    ids = [each["example_id"] for each in examples]
    answer = ada.patch(f"/sessions/{session['session_id']}/settings", {"few_shot_example_ids": ids})
    assert answer.status == 200, answer.body
    links: list[Json] = answer.json["few_shot_links"]
    return links


def links_of(ada: Learner, session: Json) -> list[Json]:
    """As they are shown with the settings and with the session."""
    path = f"/sessions/{session['session_id']}"
    links: list[Json] = ada.get(f"{path}/settings").json["few_shot_links"]
    assert ada.get(path).json["settings"]["few_shot_links"] == links
    return links


def test_a_new_example_is_what_was_sent(ada: Learner) -> None:
    sent = {
        "title": " Sums ",
        "input_text": "2+2\n",
        "output_text": "4",
        "meta": {"a": [1, None]},
        "is_active": False,
    }

    answer = ada.post(LIBRARY, sent)

    assert answer.status == 201
    made = answer.json
    own = {name: made[name] for name in ("example_id", "created_at", "updated_at")}
    assert made == sent | own | {"user_id": ada.user_id}
    assert own["created_at"] == own["updated_at"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", own["created_at"])
    assert 1 <= own["example_id"] < 2**53
    read = ada.get(path_of(made))
    assert (read.status, read.json, read.etag) == (200, made, answer.etag)


@pytest.mark.parametrize("nothing", [{}, {"title": None, "meta": None, "is_active": None}, {"meta": {}}])
def test_what_is_not_given_of_an_example_has_its_default(nothing: Json, ada: Learner) -> None:
    made = ada.add_example(input_text="", output_text="", **nothing)

    assert (made["title"], made["meta"], made["is_active"]) == (None, {}, True)
    assert (made["input_text"], made["output_text"]) == ("", "")


def test_a_change_is_answered_and_read_back(ada: Learner) -> None:
    made = ada.add_example(title="Sums", meta={"a": 1, "b": 2})

    changed = ada.patch(path_of(made), {"output_text": "four", "meta": {"c": 3}})

    assert changed.status == 200
    own = {"output_text": "four", "meta": {"c": 3}, "updated_at": changed.json["updated_at"]}
    assert changed.json == made | own
    assert changed.json["updated_at"] > made["updated_at"]
    assert ada.get(path_of(made)).json == changed.json
    assert ada.get(LIBRARY).json["items"] == [changed.json]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ({"title": None}, {"title": None}),
        ({"title": ""}, {"title": ""}),
        ({"meta": None}, {"meta": {}}),
        ({"input_text": ""}, {"input_text": ""}),
        ({"is_active": "false"}, {"is_active": False}),
    ],
)
def test_fields_can_be_cleared(sent: Json, kept: Json, ada: Learner) -> None:
    made = ada.add_example(title="Sums", meta={"a": 1})

    changed = ada.patch(path_of(made), sent).json

    assert changed == made | kept | {"updated_at": changed["updated_at"]}
    assert changed["updated_at"] > made["updated_at"]


@pytest.mark.parametrize(
    "equal",
    [{}, {"title": "Sums"}, {"meta": {"b": 2.0, "a": 1}}, {"is_active": "yes"}, {"user_id": 1, "unknown": 1}],
    ids=str,
)
def test_equal_values_change_nothing(equal: Json, ada: Learner, contents_of: ItemsOf) -> None:
    made = ada.add_example(title="Sums", meta={"a": 1, "b": 2.0})
    before = contents_of(ada)

    answer = ada.patch(path_of(made), equal)

    assert (answer.status, answer.json) == (200, made)
    assert contents_of(ada) == before


def test_one_one_point_zero_and_true_are_three_values(ada: Learner) -> None:
    made = ada.add_example()

    for value in (1, 1.0, True, 0, 0.0, -0.0, False, "1", None):
        for shown in (ada.patch(path_of(made), {"meta": {"a": value}}), ada.get(path_of(made))):
            assert json.dumps(shown.json["meta"]) == json.dumps({"a": value})


@pytest.mark.parametrize("name", ["input_text", "output_text", "is_active"])
def test_what_an_example_needs_cannot_be_null(name: str, ada: Learner, contents_of: ItemsOf) -> None:
    made = ada.add_example()
    before = contents_of(ada)

    answer = ada.patch(path_of(made), {name: None, "title": "not written either"})

    assert (answer.status, [each["loc"] for each in answer.detail]) == (422, [["body", name]])
    assert contents_of(ada) == before


FULL = 32 * KB
TOO_LONG = {
    "detail": [
        {
            "type": "too_long",
            "loc": ["body"],
            "msg": "input_text and output_text should have at most 32768 bytes together",
        }
    ]
}


@pytest.mark.parametrize(
    ("input_text", "output_text"),
    [("x" * FULL, ""), ("", "x" * FULL), ("ä" * (FULL // 4), "ä" * (FULL // 4)), ("😀" * (FULL // 4), "")],
    ids=["input", "output", "both", "emoji"],
)
def test_both_texts_together_have_at_most_32_kb(
    input_text: str, output_text: str, ada: Learner, contents_of: ItemsOf
) -> None:
    made = ada.add_example(input_text=input_text, output_text=output_text)
    before = contents_of(ada)

    for name in ("input_text", "output_text"):
        longer = {"input_text": input_text, "output_text": output_text}
        longer[name] += "x"
        refused = [
            ada.post(LIBRARY, longer),
            ada.patch(path_of(made), longer),
            ada.patch(path_of(made), {name: longer[name]}),
        ]
        assert [(each.status, each.json) for each in refused] == [(422, TOO_LONG)] * 3
    assert contents_of(ada) == before
    assert ada.get(path_of(made)).json == made


def test_the_limit_holds_also_after_merging(ada: Learner, contents_of: ItemsOf) -> None:
    made = ada.add_example(input_text="x" * 20 * KB, output_text="")
    before = contents_of(ada)

    answer = ada.patch(path_of(made), {"output_text": "x" * (12 * KB + 1), "title": "not written either"})

    assert (answer.status, answer.json) == (422, TOO_LONG)
    assert contents_of(ada) == before
    assert ada.patch(path_of(made), {"output_text": "x" * 12 * KB}).status == 200
    assert ada.patch(path_of(made), {"output_text": "x" * 30 * KB, "input_text": ""}).status == 200


def test_the_slower_learner_gets_the_current_version(ada: Learner) -> None:
    made = ada.add_example()
    first = ada.get(path_of(made)).etag
    second = ada.patch(path_of(made), {"title": "a"}, headers={"if-match": first}).etag

    for late in (
        ada.patch(path_of(made), {"title": "b"}, headers={"if-match": first}),
        ada.delete(path_of(made), headers={"if-match": first}),
    ):
        assert (late.status, late.json, late.etag) == (412, {"detail": "precondition_failed"}, second)
    assert ada.get(path_of(made)).json["title"] == "a"
    assert ada.delete(path_of(made), headers={"if-match": second}).status == 204
    for gone in (second, "*"):
        assert ada.delete(path_of(made), headers={"if-match": gone}).status == 404


# Deletes


def test_a_deleted_example_is_gone_at_once(ada: Learner, ben: Learner) -> None:
    kept, gone = ada.add_example(), ada.add_example()
    missing = {"detail": "few_shot_example_not_found"}
    assert (ben.delete(path_of(gone)).status, ben.delete(path_of(gone)).json) == (404, missing)

    answer = ada.delete(path_of(gone))

    assert (answer.status, answer.body) == (204, b"")
    for again in (ada.get(path_of(gone)), ada.patch(path_of(gone), {}), ada.delete(path_of(gone))):
        assert (again.status, again.json) == (404, missing)
    listed = ada.get(LIBRARY).json
    assert (listed["items"], listed["total"]) == ([kept], 1)


def test_a_deleted_example_disappears_from_every_selection_and_the_others_keep_their_place(
    ada: Learner,
) -> None:
    sessions = [ada.open_session() for _ in range(3)]
    examples = [ada.add_example(title=str(number)) for number in range(4)]
    before = [select(ada, session, *examples) for session in sessions]
    versions = [ada.get(f"/sessions/{session['session_id']}/settings") for session in sessions]

    ada.delete(path_of(examples[1]))

    for session, links, version in zip(sessions, before, versions, strict=True):
        assert links_of(ada, session) == [link for link in links if link["sort_order"] != 1]
        assert [link["sort_order"] for link in links_of(ada, session)] == [0, 2, 3]
        current = ada.get(f"/sessions/{session['session_id']}/settings")
        assert current.json["updated_at"] == version.json["updated_at"]


def test_an_inactive_example_is_shown_where_it_was_selected(ada: Learner) -> None:
    session = ada.open_session()
    example = ada.add_example()
    [link] = select(ada, session, example)

    off = ada.patch(path_of(example), {"is_active": False}).json

    assert links_of(ada, session) == [link | {"example": off}]


def test_an_example_is_shown_as_it_is_now(ada: Learner) -> None:
    session = ada.open_session()
    example = ada.add_example()
    settings = ada.get(f"/sessions/{session['session_id']}/settings").json["updated_at"]
    [link] = select(ada, session, example)
    selected = ada.get(f"/sessions/{session['session_id']}/settings").json["updated_at"]

    changed = ada.patch(path_of(example), {"input_text": "3+3", "output_text": "6"}).json

    assert links_of(ada, session) == [link | {"example": changed}]
    current = ada.get(f"/sessions/{session['session_id']}/settings").json["updated_at"]
    assert settings < selected == current


def test_examples_stay_when_their_session_goes(ada: Learner) -> None:
    session, example = ada.open_session(), ada.add_example()
    select(ada, session, example)

    ada.delete(f"/sessions/{session['session_id']}")

    assert ada.get(path_of(example)).json == example


# The list


@pytest.fixture(scope="module")
def library(lasting_learner: Callable[[], Learner]) -> tuple[Learner, list[Json]]:
    """Seven examples, newest first, of which those with an odd title are active."""
    ada = lasting_learner()
    ada.open_session()
    made = [ada.add_example(title=str(number), is_active=number % 2 == 1) for number in range(7)]
    return ada, made[::-1]


def test_examples_are_listed_newest_first(library: tuple[Learner, list[Json]]) -> None:
    ada, made = library

    listed = ada.get(LIBRARY)

    assert (listed.status, listed.json) == (
        200,
        {"items": made, "total": 7, "page": 1, "size": 50, "next_cursor": None},
    )


def test_an_empty_library_is_an_empty_page(ada: Learner) -> None:
    empty = {"items": [], "total": 0, "page": 1, "size": 50, "next_cursor": None}

    assert ada.get(LIBRARY).json == empty
    assert ada.get(f"{LIBRARY}?is_active=true").json == empty


@pytest.mark.parametrize("size", [1, 2, 3, 6, 7, 8, 200])
@pytest.mark.parametrize("active", [None, True, False])
def test_cursors_continue_exactly(
    size: int, active: bool | None, library: tuple[Learner, list[Json]]
) -> None:
    ada, made = library
    matching = [each for each in made if active in (None, each["is_active"])]
    flag = "" if active is None else f"&is_active={str(active).lower()}"

    pages = walk(ada, f"{LIBRARY}?size={size}{flag}")

    assert [each for page in pages for each in page["items"]] == matching
    assert [len(page["items"]) for page in pages[:-1]] == [size] * (len(pages) - 1)
    assert [page["page"] for page in pages] == list(range(1, len(pages) + 1))
    assert {page["size"] for page in pages} == {size}
    assert pages[0]["total"] == len(matching)
    assert {page["total"] for page in pages[1:]} <= {7 if active is None else None}


@pytest.mark.parametrize("page", [1, 2, 3, 4, 5, 99, 10**30])
@pytest.mark.parametrize("active", [None, True, False])
def test_pages_are_numbered(page: int, active: bool | None, library: tuple[Learner, list[Json]]) -> None:
    ada, made = library
    matching = [each for each in made if active in (None, each["is_active"])]
    flag = "" if active is None else f"&is_active={active}"

    answer = ada.get(f"{LIBRARY}?page={page}&size=2{flag}")

    assert answer.status == 200
    first = (page - 1) * 2
    assert answer.json["items"] == (matching[first : first + 2] if first < 99 else [])
    assert (answer.json["total"], answer.json["page"], answer.json["size"]) == (len(matching), page, 2)
    assert (answer.json["next_cursor"] is None) == (first + 2 >= len(matching))


def test_an_example_is_found_where_it_belongs_now(ada: Learner) -> None:
    example = ada.add_example()

    ada.patch(path_of(example), {"is_active": False})

    for flag, total in (("true", 0), ("false", 1)):
        listed = ada.get(f"{LIBRARY}?is_active={flag}").json
        assert (len(listed["items"]), listed["total"]) == (total, total)


def test_a_cursor_is_for_one_learner_one_list_and_its_filter(
    library: tuple[Learner, list[Json]], ben: Learner
) -> None:
    ada, _ = library
    for _ in range(2):
        ada.open_session()
        ben.add_example()
    cursor = ada.get(f"{LIBRARY}?size=1").json["next_cursor"]
    active = ada.get(f"{LIBRARY}?size=1&is_active=true").json["next_cursor"]
    sessions = ada.get("/sessions?size=1").json["next_cursor"]

    refused = [
        ben.get(f"{LIBRARY}?cursor={cursor}"),
        ada.get(f"{LIBRARY}?is_active=true&cursor={cursor}"),
        ada.get(f"{LIBRARY}?is_active=false&cursor={active}"),
        ada.get(f"{LIBRARY}?cursor={active}"),
        ada.get(f"{LIBRARY}?cursor={sessions}"),
        ada.get(f"/sessions?cursor={cursor}"),
        ada.get(f"{LIBRARY}?cursor={cursor[:-1]}"),
        ada.get(f"{LIBRARY}?cursor={cursor}="),
        ada.get(f"{LIBRARY}?cursor={cursor}&cursor=other"),
    ]

    for answer in refused:
        assert answer.status == 422
        assert [(each["type"], each["loc"]) for each in answer.detail] == [
            ("cursor_invalid", ["query", "cursor"])
        ]
    assert ada.get(f"{LIBRARY}?cursor=other&cursor={cursor}&size=3").status == 200


def test_what_comes_and_goes_does_not_disturb_who_is_paging(ada: Learner) -> None:
    made = [ada.add_example(title=str(number)) for number in range(6)][::-1]
    first = ada.get(f"{LIBRARY}?size=2").json
    ada.add_example()
    ada.delete(path_of(made[1]))
    ada.delete(path_of(made[3]))

    rest = ada.get(f"{LIBRARY}?size=9&cursor={first['next_cursor']}").json

    assert (first["items"], rest["items"]) == (made[:2], [made[2], *made[4:]])


def test_a_page_that_is_too_big_ends_early_and_continues_exactly(ada: Learner) -> None:
    """Each of these takes some 200 KB on its way out."""
    long = {"input_text": '"' * FULL, "output_text": "", "meta": {"a": "\\" * 30_000}}
    made = [ada.add_example(title=str(number), **long) for number in range(45)][::-1]

    first = ada.get(f"{LIBRARY}?size=40").json
    second = ada.get(f"{LIBRARY}?size=40&page=2").json
    pages = walk(ada, f"{LIBRARY}?size=40")

    assert 15 < len(first["items"]) < 40
    assert (first["size"], first["total"]) == (40, 45)
    assert [each for page in pages for each in page["items"]] == made
    assert second["items"] == made[40:]
    assert len(ada.get(f"{LIBRARY}?size=40").body) < 5_500_000
