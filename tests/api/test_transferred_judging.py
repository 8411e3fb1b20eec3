"""Ratings and votes go with an export, and come back with an import as what its user alone thinks."""

import json
from collections.abc import Callable
from contextvars import Context
from itertools import count
from typing import Any

import pytest

from local.stack import Stack
from practice import table
from practice.limits import COMPARED_MODELS
from practice.table import keys
from practice.transfers import imports
from tests.api.test_judging import a_turn, results_of, standings, vote, winner
from tests.api.test_transfers import PLAIN, WRITING
from tests.support.hooks import hooked
from tests.support.learners import Answer, Learner, made
from tests.support.processes import killed_at
from tests.support.recount import miscounts

Json = dict[str, Any]
ItemsOf = Callable[[Learner], dict[tuple[str, str], Any]]
ContentsOf = Callable[[Learner], dict[Any, Any]]
MODELS = ("model-a", "model-b", "model-c")


@pytest.fixture
def class_id(class_of: Callable[..., int]) -> int:
    return class_of(*MODELS)


def judge(who: Learner, class_id: int) -> list[str]:
    """Blind and open votes on four turns, one of them withdrawn, and two ratings. Returns the paths of the turns."""
    turns = [a_turn(who, class_id) for _ in range(4)]
    vote(who, turns[0], {"label": "B"})
    vote(who, turns[1], winner(who, turns[1], "model-c"))
    vote(who, turns[2], {"tie": "bad", "blind": True})
    vote(who, turns[3], {"label": "A"})
    assert who.delete(f"{turns[3]}/vote").status == 204
    first, second, *_ = results_of(who, turns[0])
    rate(who, first, score=2, tags=["too long", "é"], comment="Hm.\n")
    rate(who, second, score=5)
    return turns


def rate(who: Learner, response: Json, **fields: object) -> Json:
    return made(who.put(f"/responses/{response['response_id']}/rating", fields), 200)


def judgements(who: Learner) -> list[Any]:
    """What a learner thinks of each answer and turn, without ids."""
    seen: list[Any] = []
    for session in who.get("/sessions?size=200").json["items"]:
        path = f"/sessions/{session['session_id']}"
        for turn in who.get(f"{path}/turns").json["items"]:
            names = {each["response_id"]: each["model_name"] for each in turn["results"]}
            for response_id in sorted(names):
                rating = who.get(f"/responses/{response_id}/rating")
                seen.append((rating.status, {**rating.json, "response_id": None}))
            cast = who.get(f"{path}/turns/{turn['turn_id']}/vote")
            if cast.status != 200:
                seen.append(cast.detail)
                continue
            revealed = [(each["label"], each["model_name"]) for each in cast.json["revealed"]]
            assert all(names[each["response_id"]] == each["model_name"] for each in cast.json["revealed"])
            seen.append(
                {**cast.json, "turn_id": None, "winner": names.get(cast.json["winner"]), "revealed": revealed}
            )
    return seen


def lines_of(exported: Answer) -> list[Json]:
    return [json.loads(line) for line in exported.body.splitlines()]


def file_of(lines: list[Json]) -> bytes:
    return "\n".join(map(json.dumps, lines)).encode()


def test_ratings_votes_and_own_standings_survive_an_export_and_import(
    ada: Learner, ben: Learner, class_id: int, stack: Stack, items_of: ItemsOf
) -> None:
    judge(ada, class_id)

    imported = ben.post("/import", raw=ada.get("/export").body, headers=PLAIN)

    assert imported.status == 201, imported.body
    assert judgements(ben) == judgements(ada)
    assert sum(isinstance(each, dict) for each in judgements(ben)) == 3
    for query in ("", "&blind=1"):
        assert standings(ben, class_id, query) == standings(ada, class_id, query)
    assert standings(ben, class_id)["votes"] == 3
    assert miscounts(stack, class_id, [items_of(ada), items_of(ben)]) == []


def test_imported_votes_and_votes_on_imported_turns_do_not_count_for_the_class(
    ada: Learner, ben: Learner, class_id: int, stack: Stack, items_of: ItemsOf
) -> None:
    judge(ada, class_id)
    file = ada.get("/export").body
    before = standings(ada, class_id)

    made(ben.post("/import", raw=file, headers=PLAIN), 201)
    for session in ben.get("/sessions").json["items"]:
        path = f"/sessions/{session['session_id']}/turns"
        [turn] = ben.get(path).json["items"]
        vote(ben, f"{path}/{turn['turn_id']}", {"tie": "good"})

    assert ben.get(f"/standings?class_id={class_id}&scope=class").detail == "class not found"
    assert standings(ben, class_id)["votes"] == 4
    assert standings(ada, class_id) == before
    assert miscounts(stack, class_id, [items_of(ada), items_of(ben)]) == []


def test_a_restored_export_exports_the_same_ratings_and_votes(
    ada: Learner, ben: Learner, another_learner: Callable[[], Learner], class_id: int
) -> None:
    judge(ada, class_id)
    made(ben.post("/import", raw=ada.get("/export").body, headers=PLAIN), 201)
    third = another_learner()

    made(third.post("/import", raw=ben.get("/export").body, headers=PLAIN), 201)

    assert judgements(third) == judgements(ada)
    assert standings(third, class_id) == standings(ada, class_id)


def test_an_imported_turn_has_the_labels_of_its_vote(ada: Learner, ben: Learner, class_id: int) -> None:
    """In the blind view too, and after the vote was withdrawn."""
    for _ in range(6):
        vote(ada, a_turn(ada, class_id), {"label": "A"})

    made(ben.post("/import", raw=ada.get("/export").body, headers=PLAIN), 201)

    for session in ben.get("/sessions").json["items"]:
        path = f"/sessions/{session['session_id']}/turns"
        [turn] = ben.get(path).json["items"]
        texts = {each["response_id"]: each["response_text"] for each in turn["results"]}
        judged = f"{path}/{turn['turn_id']}"
        cast = made(ben.get(f"{judged}/vote"), 200)
        revealed = {each["label"]: texts[each["response_id"]] for each in cast["revealed"]}
        assert shown_blind(ben, judged) == revealed
        assert vote(ben, judged, {"response_id": cast["winner"]}) == cast
        assert vote(ben, judged, {"label": "C"})["revealed"] == cast["revealed"]
        assert ben.delete(f"{judged}/vote").status == 204
        assert shown_blind(ben, judged) == revealed


def shown_blind(who: Learner, turn: str) -> dict[str, str]:
    view = made(who.get(f"{turn}/blind"), 200)
    assert [each["label"] for each in view["answers"]] == ["A", "B", "C"]
    return {each["label"]: each["response_text"] for each in view["answers"]}


def test_an_imported_vote_labels_the_answers_that_it_did_not_compare_anew(
    ada: Learner, ben: Learner, class_of: Callable[..., int]
) -> None:
    """Nine were asked, and the one that failed has a label of the vote: a file may say so."""
    turn = a_turn(ada, class_of(*(f"m{n}" for n in range(9))))
    lines = lines_of(ada.get("/export"))
    failed, judged, *_ = first(lines, "turn")["asked"]
    first(lines, "turn")["errors"] = [
        {
            **{name: failed[name] for name in ("session_model_id", "model_name")},
            "code": "timeout",
            "detail": "",
        }
    ]
    moment = first(lines, "turn")["created_at"]
    lines.append(
        {
            "type": "vote",
            "turn_id": int(turn.rpartition("/")[2]),
            "blind": True,
            "winner": judged["response_id"],
            "tie": None,
            "answers": [
                {"label": "C", "response_id": failed["response_id"]},
                {"label": "H", "response_id": judged["response_id"]},
            ],
            "created_at": moment,
            "updated_at": moment,
        }
    )

    made(ben.post("/import", raw=file_of(lines), headers=PLAIN), 201)

    [session] = ben.get("/sessions").json["items"]
    path = f"/sessions/{session['session_id']}/turns"
    [imported] = ben.get(path).json["items"]
    view = made(ben.get(f"{path}/{imported['turn_id']}/blind"), 200)
    assert [each["label"] for each in view["answers"]] == list("ABCDEFGH")
    texts = {each["response_id"]: each["response_text"] for each in imported["results"]}
    cast = made(ben.get(f"{path}/{imported['turn_id']}/vote"), 200)
    assert view["answers"][7]["response_text"] == texts[cast["winner"]]


def test_an_imported_rating_and_vote_go_with_their_answer(
    ada: Learner, ben: Learner, class_id: int, stack: Stack, items_of: ItemsOf
) -> None:
    judge(ada, class_id)
    made(ben.post("/import", raw=ada.get("/export").body, headers=PLAIN), 201)
    rated = [int(sk.rpartition("#")[2]) for _, sk in items_of(ben) if "#0RATING#" in sk]

    for response_id in rated:
        assert ben.delete(f"/responses/{response_id}").status == 204

    assert len(rated) == 2
    assert not any("#0RATING#" in sk for _, sk in items_of(ben))
    assert standings(ben, class_id)["votes"] == 2
    assert miscounts(stack, class_id, [items_of(ada), items_of(ben)]) == []


def test_an_import_that_dies_leaves_no_votes_and_no_counts_behind(
    ada: Learner,
    another_learner: Callable[[], Learner],
    class_id: int,
    stack: Stack,
    items_of: ItemsOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    judge(ada, class_id)
    file = ada.get("/export").body
    monkeypatch.setattr(imports, "_CHUNK_WRITES", 4)
    dead = 0
    for at in range(3, 40, 4):
        who = another_learner()
        with killed_at(at, WRITING) as seen:
            who.post("/import", raw=file, headers=PLAIN)
        if seen[0] < at:
            break
        dead += 1
        assert miscounts(stack, class_id, [items_of(ada), items_of(who)]) == []
        lapsed = {"import_until": table.number(0)}
        Context().run(table.write, table.update(keys.account(who.user_id), set_to=lapsed))
        made(who.post("/import", raw=file, headers=PLAIN), 201)
        assert judgements(who) == judgements(ada)
        assert miscounts(stack, class_id, [items_of(ada), items_of(who)]) == []

    assert dead > 2


@pytest.mark.usefixtures("stack")
def test_an_export_taken_while_a_judged_answer_is_deleted_imports(
    another_learner: Callable[[], Learner], class_id: int
) -> None:
    for at in count(1):
        who = another_learner()
        turn = a_turn(who, class_id)
        chosen = winner(who, turn, "model-a")
        vote(who, turn, chosen)
        rate(who, chosen, score=1)
        seen = 0

        def between(at: int = at, who: Learner = who, chosen: Json = chosen, **_: Any) -> None:
            nonlocal seen
            seen += 1
            if seen == at:
                Context().run(who.delete, f"/responses/{chosen['response_id']}")

        with hooked("before-call.dynamodb", between):
            exported = who.get("/export")
        imported = another_learner().post("/import", raw=exported.body, headers=PLAIN)
        assert imported.status == 201, (at, imported.body)
        if seen < at:
            break

    assert at > 6


def change(name: str, value: object) -> Callable[[list[Json]], Json]:
    """Of the first vote."""

    def changed(lines: list[Json]) -> Json:
        line = first(lines, "vote")
        line[name] = value
        return line

    return changed


def first(lines: list[Json], kind: str) -> Json:
    return next(line for line in lines if line["type"] == kind)


def rated(name: str, value: object) -> Callable[[list[Json]], Json]:
    def changed(lines: list[Json]) -> Json:
        line = next(line for line in lines if "rating" in line)
        line["rating"][name] = value
        return line

    return changed


def foreign_answer(lines: list[Json]) -> Json:
    """An answer of the other session's turn."""
    line = first(lines, "vote")
    other = [each for each in lines if each["type"] == "response"][-1]
    line["answers"][0]["response_id"] = other["response_id"]
    line["winner"] = None
    line["tie"] = "good"
    return line


def lost_answer(lines: list[Json]) -> Json:
    line = first(lines, "vote")
    lost = line["answers"][0]["response_id"]
    lines[:] = [each for each in lines if each.get("response_id") != lost]
    return line


def foreign_winner(lines: list[Json]) -> Json:
    line = first(lines, "vote")
    line["winner"] = [each for each in lines if each["type"] == "response"][-1]["response_id"]
    line["tie"] = None
    return line


def same_answer_twice(lines: list[Json]) -> Json:
    line = first(lines, "vote")
    line["answers"][1]["response_id"] = line["answers"][0]["response_id"]
    return line


def same_label_twice(lines: list[Json]) -> Json:
    line = first(lines, "vote")
    line["answers"][1]["label"] = line["answers"][0]["label"]
    return line


def same_model_twice(lines: list[Json]) -> Json:
    asked = first(lines, "turn")["asked"]
    asked[1]["model_name"] = asked[0]["model_name"]
    return first(lines, "turn")


def another_model(lines: list[Json]) -> Json:
    turn = first(lines, "turn")
    turn["asked"][0]["model_name"] = "another"
    return turn


def twice(lines: list[Json]) -> Json:
    again = dict(first(lines, "vote"))
    lines.insert(lines.index(again) + 1, again)
    return lines[lines.index(again) + 1]


def before_its_answers(lines: list[Json]) -> Json:
    line = first(lines, "vote")
    lines.remove(line)
    lines.insert(lines.index(first(lines, "response")), line)
    return line


def before_its_session(lines: list[Json]) -> Json:
    line = first(lines, "vote")
    lines.remove(line)
    lines.insert(1, line)
    return line


def bad_label(lines: list[Json]) -> Json:
    line = first(lines, "vote")
    line["answers"][0]["label"] = "Z"
    return line


def class_of_turn(lines: list[Json]) -> Json:
    line = first(lines, "turn")
    line["class_id"] = -1
    return line


REFUSED: dict[str, tuple[Callable[[list[Json]], Json], list[str | int]]] = {
    "a score of six": (rated("score", 6), ["rating", "score"]),
    "a tag of 41 characters": (rated("tags", ["x" * 41]), ["rating", "tags", 0]),
    "nine tags": (rated("tags", ["x"] * 9), ["rating", "tags"]),
    "a comment of 10,001 characters": (rated("comment", "x" * 10_001), ["rating", "comment"]),
    "a rating of the 30th of February": (
        rated("created_at", "2026-02-30T00:00:00.000000Z"),
        ["rating", "created_at"],
    ),
    "a rating that is a number": (lambda lines: first(lines, "response") | {"rating": 5}, ["rating"]),
    "a class that is no id": (class_of_turn, ["class_id"]),
    "an unknown tie": (change("tie", "ugly"), ["tie"]),
    "neither a winner nor a tie": (change("winner", None), ["winner"]),
    "both a winner and a tie": (change("tie", "good"), ["winner"]),
    "a vote without answers": (change("answers", []), ["answers"]),
    "a vote on a turn that is not there": (change("turn_id", 7), ["turn_id"]),
    "a vote of the 30th of February": (change("updated_at", "2026-02-30T00:00:00.000000Z"), ["updated_at"]),
    "a vote that is neither blind nor open": (change("blind", None), ["blind"]),
    "an answer of another turn": (foreign_answer, ["answers"]),
    "an answer that is not in the file": (lost_answer, ["answers"]),
    "a winner of another turn": (foreign_winner, ["winner"]),
    "an answer twice": (same_answer_twice, ["answers"]),
    "a label twice": (same_label_twice, ["answers"]),
    "a model twice": (same_model_twice, ["asked"]),
    "a model under another name": (another_model, ["asked"]),
    "a label that no view has": (bad_label, ["answers", 0, "label"]),
    "a vote twice": (twice, ["turn_id"]),
    "a vote before its answers": (before_its_answers, ["answers"]),
    "a vote before its session": (before_its_session, []),
}


@pytest.fixture(scope="module")
def exported(lasting_learner: Callable[[], Learner]) -> list[Json]:
    """Two sessions of no announced class, each with a vote for a winner, and a rating."""
    who = lasting_learner()
    for _ in range(2):
        turn = a_turn(who, 1)
        chosen = results_of(who, turn)[0]
        vote(who, turn, {"response_id": chosen["response_id"]})
        rate(who, chosen, score=3, tags=["a"], comment="b")
    return lines_of(who.get("/export"))


@pytest.mark.parametrize("name", REFUSED)
def test_a_rating_or_vote_that_the_api_would_refuse_is_refused_with_its_line_and_field(
    name: str, exported: list[Json], ada: Learner, contents_of: ContentsOf
) -> None:
    damage, place = REFUSED[name]
    lines: list[Json] = json.loads(json.dumps(exported))
    damaged = damage(lines)
    number = next((n for n, line in enumerate(lines) if line is damaged), None)
    if number is None:  # a changed copy
        number = next(n for n, line in enumerate(lines) if line["type"] == damaged["type"])
        lines[number] = damaged
    before = contents_of(ada)

    answer = ada.post("/import", raw=file_of(lines), headers=PLAIN)

    assert answer.status == 422, answer.body[:200]
    [problem] = answer.detail
    assert problem["loc"][: 2 + len(place)] == ["body", number + 1, *place], problem
    assert contents_of(ada) == before


def test_a_file_whose_votes_compare_too_many_models_in_a_class_is_refused(
    exported: list[Json], ada: Learner, contents_of: ContentsOf
) -> None:
    """More pairs than one item of a user's counts holds."""
    original = [
        line
        for line in exported
        if line["type"] in ("practice-export", "session", "turn", "response", "vote")
    ]
    header, *rest = original
    end = 1 + next(n for n, line in enumerate(rest) if line["type"] == "vote")
    lines = [header]
    for number in range(COMPARED_MODELS // 2 + 1):
        for line in json.loads(json.dumps(rest[:end])):
            renamed(line, number)
            lines.append(line)
    before = contents_of(ada)

    answer = ada.post("/import", raw=file_of(lines), headers=PLAIN)

    assert answer.status == 422, answer.body[:200]
    assert answer.detail[0]["loc"][2:] == ["answers"]
    assert lines[answer.detail[0]["loc"][1] - 1]["type"] == "vote"
    assert contents_of(ada) == before


IDS = ("session_id", "session_model_id", "response_id", "turn_id", "next_id", "winner")


def renamed(value: Any, number: int) -> None:
    """Another session, whose models have names of their own."""
    if isinstance(value, list):
        for each in value:
            renamed(each, number)
    elif isinstance(value, dict):
        for name, inner in value.items():
            if name in IDS and inner:
                value[name] = inner + number * 2**15
            elif name == "model_name":
                value[name] = f"{inner}-{number}"
            elif name == "few_shot_example_ids":
                value[name] = []
            else:
                renamed(inner, number)
