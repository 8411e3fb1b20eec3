"""A learner rates answers, votes between them blind, and sees which model is better for what."""

import random
import time
from collections.abc import Callable, Mapping
from contextvars import Context
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Lock
from typing import Any

import pytest

from local.stack import Stack
from practice import table
from practice.schemas.vote import JudgedAnswer, StoredVote
from practice.store import tallies, votes
from practice.table import client
from practice.table.client import Contended
from tests.api.test_usage import died
from tests.support import deliveries
from tests.support.learners import Answer, Learner, at_once, made
from tests.support.recount import miscounts

Announce = Callable[..., Any]
MODELS = ("model-a", "model-b", "model-c")
ItemsOf = Callable[[Learner], dict[tuple[str, str], Any]]


@pytest.fixture
def class_id(class_of: Callable[..., int]) -> int:
    return class_of(*MODELS)


def a_turn(who: Learner, class_id: int, prompt: str = "Why?") -> str:
    """The path of a turn of a new session, with an answer of each model of the class."""
    session = who.open_session(class_id=class_id)
    answer = who.post(f"/sessions/{session['session_id']}/chat", {"prompt_text": prompt})
    made(answer, 201)
    return answer.headers["location"]


def results_of(who: Learner, turn: str) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = made(who.get(turn), 200)["results"]
    return results


def winner(who: Learner, turn: str, model: str) -> dict[str, int]:
    """An open vote for a model's answer."""
    return {
        "response_id": next(
            each["response_id"] for each in results_of(who, turn) if each["model_name"] == model
        )
    }


def vote(who: Learner, turn: str, body: Mapping[str, object]) -> dict[str, Any]:
    return made(who.put(f"{turn}/vote", body), 200)


def standings(who: Learner, class_id: int, query: str = "") -> dict[str, Any]:
    return made(who.get(f"/standings?class_id={class_id}{query}"), 200)


# Ratings


def test_a_rating_is_kept_replaced_and_deleted(ada: Learner) -> None:
    response = ada.add_response(ada.open_session())
    path = f"/responses/{response['response_id']}/rating"

    assert ada.get(path).detail == "rating not found"
    first = ada.put(path, {"score": 2, "tags": ["too long"], "comment": "Hm."})
    assert made(first, 200) == {
        "response_id": response["response_id"],
        "score": 2,
        "tags": ["too long"],
        "comment": "Hm.",
        "created_at": first.json["created_at"],
        "updated_at": first.json["created_at"],
    }
    second = ada.put(path, {"score": 5})
    assert (second.json["score"], second.json["tags"], second.json["comment"]) == (5, [], None)
    assert second.json["created_at"] == first.json["created_at"]
    assert second.json["updated_at"] > first.json["updated_at"]
    assert ada.get(path).body == second.body
    assert ada.get(path).etag == second.etag != first.etag
    assert ada.delete(path).status == 204
    assert ada.delete(path).detail == ada.get(path).detail == "rating not found"


def test_an_equal_rating_changes_nothing(ada: Learner) -> None:
    path = f"/responses/{ada.add_response(ada.open_session())['response_id']}/rating"

    first = ada.put(path, {"score": 4, "tags": ["a", "b"]})
    again = ada.put(path, {"score": "4", "tags": ["a", "b"], "comment": None, "unknown": 1})

    assert (again.body, again.etag) == (first.body, first.etag)


def test_a_rating_can_be_put_over_an_expected_version_alone(ada: Learner) -> None:
    path = f"/responses/{ada.add_response(ada.open_session())['response_id']}/rating"
    first = ada.put(path, {"score": 4})

    changed = ada.put(path, {"score": 3}, headers={"if-match": first.etag})
    late = ada.put(path, {"score": 2}, headers={"if-match": first.etag})
    late_delete = ada.delete(path, headers={"if-match": first.etag})

    assert (changed.status, late.status, late_delete.status) == (200, 412, 412)
    assert late.detail == "precondition_failed"
    assert late.etag == changed.etag
    assert ada.get(path).json["score"] == 3


def test_a_rating_after_a_deleted_one_is_another_version(ada: Learner) -> None:
    path = f"/responses/{ada.add_response(ada.open_session())['response_id']}/rating"
    deleted = ada.put(path, {"score": 4})
    assert ada.delete(path).status == 204
    made(ada.put(path, {"score": 1}), 200)

    read = ada.get(path, headers={"if-none-match": deleted.etag})

    assert (read.status, read.json["score"]) == (200, 1)
    assert ada.put(path, {"score": 2}, headers={"if-match": deleted.etag}).status == 412
    assert ada.delete(path, headers={"if-match": deleted.etag}).status == 412


@pytest.mark.parametrize(
    ("body", "problem", "where"),
    [
        ({}, "missing", "score"),
        ({"score": None}, "int_type", "score"),
        ({"score": 0}, "greater_than_equal", "score"),
        ({"score": 6}, "less_than_equal", "score"),
        ({"score": 2.5}, "int_from_float", "score"),
        ({"score": 3, "tags": ["x"] * 9}, "too_long", "tags"),
        ({"score": 3, "tags": ["x" * 41]}, "string_too_long", "tags"),
        ({"score": 3, "tags": ["\0"]}, "string_nul", "tags"),
        ({"score": 3, "tags": "x"}, "list_type", "tags"),
        ({"score": 3, "comment": "x" * 10_001}, "string_too_long", "comment"),
        ({"score": 3, "comment": 7}, "string_type", "comment"),
    ],
)
def test_a_rating_that_does_not_fit_is_refused(
    ada: Learner, body: dict[str, Any], problem: str, where: str
) -> None:
    path = f"/responses/{ada.add_response(ada.open_session())['response_id']}/rating"

    answer = ada.put(path, body)

    assert answer.status == 422
    assert answer.detail[0]["type"] == problem
    assert answer.detail[0]["loc"][:2] == ["body", where]
    assert ada.get(path).status == 404


def test_the_largest_rating_is_kept_whole(ada: Learner) -> None:
    path = f"/responses/{ada.add_response(ada.open_session())['response_id']}/rating"
    largest = {"score": 5, "tags": ["\U0001f600" * 40] * 8, "comment": "\U0001f600" * 10_000}

    rating = made(ada.put(path, largest), 200)

    assert largest.items() <= rating.items()
    assert ada.get(path).json == rating


def test_only_an_own_response_that_is_there_can_be_rated(ada: Learner, ben: Learner) -> None:
    response = ada.add_response(ada.open_session())
    path = f"/responses/{response['response_id']}/rating"
    made(ada.put(path, {"score": 4}), 200)

    for answer in (ben.put(path, {"score": 1}), ben.get(path), ben.delete(path)):
        assert (answer.status, answer.detail) == (404, "response not found")
    ada.delete(f"/responses/{response['response_id']}")
    for answer in (ada.put(path, {"score": 1}), ada.get(path), ada.delete(path)):
        assert (answer.status, answer.detail) == (404, "response not found")


# The blind view


def test_the_blind_view_shows_texts_under_labels_and_nothing_else(ada: Learner, class_id: int) -> None:
    turn = a_turn(ada, class_id)

    answer = ada.get(f"{turn}/blind")

    view = made(answer, 200)
    assert list(view) == ["turn_id", "prompt_text", "answers", "next_cursor"]
    assert [list(each) for each in view["answers"]] == [["label", "response_text"]] * 3
    assert [each["label"] for each in view["answers"]] == ["A", "B", "C"]
    assert {each["response_text"] for each in view["answers"]} == {
        each["response_text"] for each in results_of(ada, turn)
    }
    assert view["next_cursor"] is None
    assert "etag" not in answer.headers
    assert ada.get(f"{turn}/blind").body == answer.body


def test_labels_say_nothing_of_the_order_of_models_or_ids(ada: Learner, class_id: int) -> None:
    """Each order comes up about as often as any other."""
    firsts = set()
    session = ada.open_session(class_id=class_id)
    for _ in range(24):
        answer = ada.post(f"/sessions/{session['session_id']}/chat", {"prompt_text": "Why?"})
        firsts.add(vote(ada, answer.headers["location"], {"label": "A"})["revealed"][0]["model_name"])

    assert firsts == set(MODELS)  # by chance one of 5,000 runs misses one


def test_permuting_the_models_changes_nothing_but_the_order(
    ada: Learner, class_of: Callable[..., int]
) -> None:
    """Two turns with the same texts, whose models are asked in another order: the two views are one, sorted."""
    views = []
    for models in (MODELS, MODELS[::-1]):
        answer = ada.get(f"{a_turn(ada, class_of(*models))}/blind")
        view = answer.json
        texts = sorted(each.pop("response_text") for each in view["answers"])
        del view["turn_id"]
        headers = {name for name in answer.headers if name != "content-length"}
        views.append((texts, view, headers))

    assert views[0] == views[1]


def test_labels_stay_when_an_answer_is_deleted(ada: Learner, class_id: int) -> None:
    turn = a_turn(ada, class_id)
    before = {each["label"]: each["response_text"] for each in ada.get(f"{turn}/blind").json["answers"]}
    ada.delete(f"/responses/{results_of(ada, turn)[0]['response_id']}")

    after = {each["label"]: each["response_text"] for each in ada.get(f"{turn}/blind").json["answers"]}

    assert len(after) == 2
    assert after.items() <= before.items()


@pytest.mark.usefixtures("stack")
def test_answers_that_do_not_fit_follow_by_label(
    ada: Learner, class_of: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = a_turn(ada, class_of(*(f"m{n}" for n in range(8))), prompt="x" * 100)
    monkeypatch.setattr("practice.http.paging.BODY_BYTES", 20_900)
    seen: list[dict[str, Any]] = []
    cursor = ""
    while True:
        view = made(ada.get(f"{turn}/blind{cursor}"), 200)
        seen += view["answers"]
        if view["next_cursor"] is None:
            break
        cursor = f"?cursor={view['next_cursor']}"

    assert [each["label"] for each in seen] == list("ABCDEFGH")
    assert cursor
    monkeypatch.undo()
    texts = {each["response_text"] for each in results_of(ada, turn)}
    assert {each["response_text"] for each in seen} == texts
    assert ada.get(f"{a_turn(ada, class_of('m1', 'm2'))}/blind{cursor}").status == 422


# Votes


def test_a_blind_vote_reveals_the_models(ada: Learner, class_id: int) -> None:
    turn = a_turn(ada, class_id)
    texts = {each["label"]: each["response_text"] for each in ada.get(f"{turn}/blind").json["answers"]}

    answer = ada.put(f"{turn}/vote", {"label": "B"})

    cast = made(answer, 200)
    by_id = {each["response_id"]: each for each in results_of(ada, turn)}
    assert list(cast) == ["turn_id", "blind", "winner", "tie", "revealed", "created_at", "updated_at"]
    assert (cast["blind"], cast["tie"]) == (True, None)
    assert [each["label"] for each in cast["revealed"]] == ["A", "B", "C"]
    for each in cast["revealed"]:
        assert list(each) == ["label", "response_id", "model_name"]
        assert by_id[each["response_id"]]["model_name"] == each["model_name"]
        assert by_id[each["response_id"]]["response_text"] == texts[each["label"]]
    assert cast["winner"] == cast["revealed"][1]["response_id"]
    assert ada.get(f"{turn}/vote").body == answer.body
    assert ada.get(f"{turn}/vote").etag == answer.etag


def test_a_vote_after_the_models_were_revealed_is_not_blind(ada: Learner, class_id: int) -> None:
    turn = a_turn(ada, class_id)
    first = vote(ada, turn, {"label": "A"})
    second = vote(ada, turn, {"label": "B"})
    ada.delete(f"{turn}/vote")
    third = vote(ada, turn, {"tie": "good", "blind": True})

    assert [each["blind"] for each in (first, second, third)] == [True, False, False]
    assert second["created_at"] == first["created_at"] < second["updated_at"]


def test_a_turn_with_a_vote_keeps_its_labels_under_another_secret(
    ada: Learner, class_of: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after the vote was withdrawn, and for the answers that it did not compare."""
    turn = a_turn(ada, class_of(*(f"m{n}" for n in range(8))))
    ada.delete(f"/responses/{results_of(ada, turn)[0]['response_id']}")
    first = ada.put(f"{turn}/vote", {"label": ada.get(f"{turn}/blind").json["answers"][0]["label"]})
    view = ada.get(f"{turn}/blind").body
    monkeypatch.setattr(votes, "secret", lambda _: "another secret")

    assert ada.get(f"{turn}/blind").body == view
    again = ada.put(f"{turn}/vote", {"response_id": first.json["winner"]})
    assert (again.body, again.etag) == (first.body, first.etag)
    assert ada.delete(f"{turn}/vote").status == 204
    assert ada.get(f"{turn}/blind").body == view
    assert vote(ada, turn, {"response_id": first.json["winner"]})["revealed"] == first.json["revealed"]


@pytest.mark.usefixtures("stack")
def test_a_turn_whose_worker_died_is_judged_once_it_was_cancelled(
    ada: Learner, class_of: Callable[..., int]
) -> None:
    """Until then a worker may continue it, and its labels are given once."""
    session = ada.open_session(class_id=class_of("model-a", "model-b", "model-c"))
    turn = f"/sessions/{session['session_id']}/turns/{died(ada, session, 'model-a', 'model-b')}"
    assert made(ada.get(turn), 200)["status"] == "failed"
    for refused in (ada.get(f"{turn}/blind"), ada.put(f"{turn}/vote", {"label": "A"})):
        assert (refused.status, refused.detail) == (409, "turn_not_finished")

    assert ada.delete(turn).status == 204

    assert [each["label"] for each in made(ada.get(f"{turn}/blind"), 200)["answers"]] == ["A", "B"]
    assert len(vote(ada, turn, {"label": "B"})["revealed"]) == 2


def test_the_same_choice_again_stays_the_same_vote(ada: Learner, class_id: int) -> None:
    """A client that missed the acknowledgement sends its vote again: it stays blind, and counts once."""
    turn = a_turn(ada, class_id)
    first = ada.put(f"{turn}/vote", {"label": "A"})
    again = ada.put(f"{turn}/vote", {"label": "A"})

    assert (again.body, again.etag) == (first.body, first.etag)
    assert standings(ada, class_id)["votes"] == 1


def test_a_tie_is_blind_when_it_says_so(ada: Learner, class_id: int) -> None:
    ties: list[tuple[dict[str, object], bool]] = [
        ({"tie": "good"}, False),
        ({"tie": "bad", "blind": True}, True),
        ({"tie": "bad", "blind": False, "label": None}, False),
    ]
    for body, blind in ties:
        cast = vote(ada, a_turn(ada, class_id), body)
        assert (cast["blind"], cast["tie"], cast["winner"]) == (blind, body["tie"], None)


def test_a_vote_can_be_put_over_an_expected_version_alone(ada: Learner, class_id: int) -> None:
    turn = a_turn(ada, class_id)
    first = ada.put(f"{turn}/vote", {"label": "A"})
    second = ada.put(f"{turn}/vote", {"label": "B"}, headers={"if-match": first.etag})

    late = ada.put(f"{turn}/vote", {"label": "C"}, headers={"if-match": first.etag})
    late_delete = ada.delete(f"{turn}/vote", headers={"if-match": first.etag})

    assert (second.status, late.status, late_delete.status) == (200, 412, 412)
    assert late.etag == second.etag
    assert ada.delete(f"{turn}/vote", headers={"if-match": second.etag}).status == 204
    assert ada.delete(f"{turn}/vote").detail == ada.get(f"{turn}/vote").detail == "vote not found"


@pytest.mark.parametrize(
    ("body", "problem", "where"),
    [
        ({}, "one_choice", []),
        ({"label": None, "tie": None}, "one_choice", []),
        ({"label": "A", "tie": "good"}, "one_choice", []),
        ({"label": "A", "response_id": 5}, "one_choice", []),
        ({"label": "AB"}, "string_too_long", ["label"]),
        ({"label": ""}, "string_too_short", ["label"]),
        ({"label": "D"}, "label_unknown", ["label"]),
        ({"label": "a"}, "label_unknown", ["label"]),
        ({"label": "\0"}, "string_nul", ["label"]),
        ({"response_id": 5}, "response_unknown", ["response_id"]),
        ({"response_id": 0}, "greater_than_equal", ["response_id"]),
        ({"tie": "great"}, "enum", ["tie"]),
        ({"tie": "good", "blind": "maybe"}, "bool_parsing", ["blind"]),
    ],
)
def test_a_vote_that_does_not_fit_is_refused(
    ada: Learner, class_id: int, body: dict[str, Any], problem: str, where: list[str]
) -> None:
    turn = a_turn(ada, class_id)

    answer = ada.put(f"{turn}/vote", body)

    assert answer.status == 422
    assert [(each["type"], each["loc"]) for each in answer.detail] == [(problem, ["body", *where])]
    assert standings(ada, class_id)["votes"] == 0


def test_an_answer_of_another_turn_or_a_deleted_one_cannot_win(ada: Learner, class_id: int) -> None:
    turn, other = a_turn(ada, class_id), a_turn(ada, class_id)
    deleted = results_of(ada, turn)[0]["response_id"]
    ada.delete(f"/responses/{deleted}")

    for response_id in (results_of(ada, other)[0]["response_id"], deleted):
        assert ada.put(f"{turn}/vote", {"response_id": response_id}).detail[0]["type"] == "response_unknown"


def test_what_cannot_be_compared_is_a_conflict(
    ada: Learner, class_id: int, class_of: Callable[..., int]
) -> None:
    session = ada.open_session(class_id=class_id)
    path = f"/sessions/{session['session_id']}"
    lone = ada.post(f"{path}/chat", {"prompt_text": "Why?", "model_names": [MODELS[0]]}).headers["location"]
    waiting = ada.post(f"{path}/chat", {"prompt_text": "Why?"}, headers={"prefer": "respond-async"})
    added = f"{path}/turns/{ada.add_response(session)['response_id']}"
    crowd = a_turn(ada, class_of(*(f"m{n}" for n in range(9))))

    expected = {
        lone: "too_few_answers",
        added: "too_few_answers",
        crowd: "too_many_answers",
        waiting.headers["location"]: "turn_not_finished",
    }
    for turn, detail in expected.items():
        for answer in (ada.get(f"{turn}/blind"), ada.put(f"{turn}/vote", {"label": "A"})):
            if turn == waiting.headers["location"] and answer.status == 200:
                pytest.skip("the worker was faster")
            assert (answer.status, answer.detail) == (409, detail)
        assert ada.get(f"{turn}/vote").detail == "vote not found"


def test_what_is_not_there_cannot_be_judged(ada: Learner, ben: Learner, class_id: int) -> None:
    turn = a_turn(ada, class_id)
    made(ada.put(f"{turn}/vote", {"label": "A"}), 200)
    session = turn.rpartition("/turns/")[0]
    elsewhere = f"/sessions/{ada.open_session()['session_id']}/turns/{turn.rpartition('/')[2]}"

    def asked(who: Learner, path: str) -> list[tuple[int, str]]:
        answers = [
            who.get(f"{path}/blind"),
            who.put(f"{path}/vote", {"label": "A"}),
            who.get(f"{path}/vote"),
            who.delete(f"{path}/vote"),
        ]
        return [(each.status, each.detail) for each in answers]

    no_turn = [(404, "turn not found")] * 2 + [(404, "vote not found")] * 2
    assert asked(ben, turn) == [(404, "session not found")] * 4
    assert asked(ada, elsewhere) == no_turn
    assert asked(ada, f"{session}/turns/9") == no_turn
    ada.delete(session)
    assert asked(ada, turn) == [(404, "session not found")] * 4


# Standings


def test_votes_become_standings(ada: Learner, class_id: int) -> None:
    turns = [a_turn(ada, class_id) for _ in range(3)]
    vote(ada, turns[0], winner(ada, turns[0], "model-b"))
    vote(ada, turns[1], winner(ada, turns[1], "model-b"))
    vote(ada, turns[2], {"tie": "bad", "blind": True})

    found = standings(ada, class_id)

    assert (found["class_id"], found["scope"], found["votes"]) == (class_id, "mine", 3)
    assert found["pairs"] == [
        {"a": "model-a", "b": "model-b", "a_wins": 0, "b_wins": 2, "ties": 1},
        {"a": "model-a", "b": "model-c", "a_wins": 0, "b_wins": 0, "ties": 1},
        {"a": "model-b", "b": "model-c", "a_wins": 2, "b_wins": 0, "ties": 1},
    ]
    best, *others = found["models"]
    assert list(best) == ["model_name", "wins", "losses", "ties", "score", "low", "high", "rank"]
    assert (best["model_name"], best["wins"], best["losses"], best["ties"]) == ("model-b", 4, 0, 2)
    assert [each["model_name"] for each in others] == ["model-a", "model-c"]
    assert others[0]["score"] == others[1]["score"] < 1000 < best["score"]
    blind = standings(ada, class_id, "&blind=1")
    assert (blind["votes"], [each["ties"] for each in blind["pairs"]]) == (1, [1, 1, 1])
    assert standings(ada, class_id, "&blind=0") == found


def test_a_changed_or_withdrawn_vote_leaves_no_trace(ada: Learner, class_id: int) -> None:
    empty = standings(ada, class_id)
    turn, other = a_turn(ada, class_id), a_turn(ada, class_id)
    vote(ada, other, winner(ada, other, "model-a"))
    one = standings(ada, class_id)

    vote(ada, turn, {"label": "A"})
    vote(ada, turn, winner(ada, turn, "model-c"))
    changed = standings(ada, class_id)
    assert [(each["model_name"], each["wins"]) for each in changed["models"]] == [
        ("model-a", 2),
        ("model-c", 2),
        ("model-b", 0),
    ]
    ada.delete(f"{turn}/vote")
    assert standings(ada, class_id) == one
    ada.delete(f"{other}/vote")
    assert (
        standings(ada, class_id)
        == empty
        == {
            "class_id": class_id,
            "scope": "mine",
            "votes": 0,
            "models": [],
            "pairs": [],
        }
    )


def test_a_vote_counts_for_the_class_that_the_session_had_when_the_turn_began(
    ada: Learner, class_id: int, class_of: Callable[..., int]
) -> None:
    turn = a_turn(ada, class_id)
    later = class_of(*MODELS)
    made(ada.patch(turn.rpartition("/turns/")[0], {"class_id": later}), 200)

    vote(ada, turn, {"label": "A"})

    assert (standings(ada, class_id)["votes"], standings(ada, later)["votes"]) == (1, 0)


@pytest.mark.parametrize(
    "query", ["", "class_id=0", "class_id=x", "class_id=1&scope=all", "class_id=1&blind=2"]
)
def test_a_question_that_does_not_fit_is_refused(ada: Learner, query: str) -> None:
    assert ada.get(f"/standings?{query}").status == 422


# What happens to the answers happens to the vote


def test_a_vote_goes_with_one_of_its_answers(
    ada: Learner, class_id: int, stack: Stack, items_of: ItemsOf
) -> None:
    turn = a_turn(ada, class_id)
    cast = vote(ada, turn, {"label": "A"})

    assert ada.delete(f"/responses/{cast['revealed'][2]['response_id']}").status == 204

    assert ada.get(f"{turn}/vote").detail == "vote not found"
    assert standings(ada, class_id)["votes"] == 0
    assert miscounts(stack, class_id, [items_of(ada)]) == []
    again = vote(ada, turn, {"label": "A"})
    assert (again["blind"], len(again["revealed"])) == (False, 2)
    assert len(standings(ada, class_id)["pairs"]) == 1


def test_a_vote_and_ratings_go_with_a_deleted_model(
    ada: Learner, class_id: int, stack: Stack, items_of: ItemsOf
) -> None:
    delivered = deliveries.of(stack)
    turn, other = a_turn(ada, class_id), a_turn(ada, class_id)
    for each in (turn, other):
        vote(ada, each, {"label": "A"})
    result = results_of(ada, turn)[1]
    made(ada.put(f"/responses/{result['response_id']}/rating", {"score": 1}), 200)
    made(ada.put(f"/responses/{results_of(ada, turn)[0]['response_id']}/rating", {"score": 5}), 200)

    assert ada.delete(f"/models/{result['session_model_id']}").status == 204
    assert ada.get(f"{turn}/vote").detail == "vote not found"
    assert ada.delete(f"{turn}/vote").detail == "vote not found"
    replaced = vote(ada, turn, {"label": ada.get(f"{turn}/blind").json["answers"][0]["label"]})
    assert (replaced["blind"], len(replaced["revealed"])) == (False, 2)
    assert miscounts(stack, class_id, [items_of(ada)]) == []
    delivered.run()

    assert ada.get(f"{turn}/vote").json == replaced
    assert standings(ada, class_id)["votes"] == 2
    assert [sk for _, sk in items_of(ada) if "#0RATING#" in sk] == [
        next(sk for _, sk in items_of(ada) if "#0RATING#" in sk)
    ]
    assert miscounts(stack, class_id, [items_of(ada)]) == []


def test_a_deleted_session_takes_its_votes_and_ratings_along(
    ada: Learner, class_id: int, stack: Stack, items_of: ItemsOf
) -> None:
    delivered = deliveries.of(stack)
    turn, kept = a_turn(ada, class_id), a_turn(ada, class_id)
    vote(ada, turn, {"label": "A"})
    vote(ada, kept, {"label": "B"})
    made(ada.put(f"/responses/{results_of(ada, turn)[0]['response_id']}/rating", {"score": 1}), 200)

    ada.delete(turn.rpartition("/turns/")[0])
    delivered.run()

    assert standings(ada, class_id)["votes"] == 1
    assert miscounts(stack, class_id, [items_of(ada)]) == []
    session_id = int(turn.split("/")[-3])
    assert not [sk for _, sk in items_of(ada) if f"{session_id:016d}" in sk]


def test_an_erased_user_is_in_no_count(
    ada: Learner, ben: Learner, class_id: int, stack: Stack, items_of: ItemsOf, hand_in: Callable[..., Any]
) -> None:
    delivered = deliveries.of(stack)
    for who, label in ((ada, "A"), (ada, "B"), (ben, "A")):
        vote(who, a_turn(who, class_id), {"label": label})

    at = (datetime.now(UTC) + timedelta(seconds=60)).isoformat()
    hand_in("UserErased", {"user_id": ada.user_id, "updated_at": at})
    delivered.run()

    assert {sk for _, sk in items_of(ada)} == {"ACCOUNT"}
    assert standings(ben, class_id)["votes"] == 1
    assert miscounts(stack, class_id, [items_of(ben)]) == []


# A class


@pytest.fixture
def learners(another_learner: Callable[[], Learner]) -> Callable[[int], list[Learner]]:
    return lambda count: [another_learner() for _ in range(count)]


def test_a_class_shows_nothing_below_five_voters(
    learners: Callable[[int], list[Learner]], class_id: int
) -> None:
    *first, fifth, outsider = learners(6)
    turns = {who.user_id: a_turn(who, class_id) for who in (*first, fifth)}
    path = f"/standings?class_id={class_id}&scope=class"

    for who in first:
        assert (who.get(path).status, who.get(path).detail) == (404, "class not found")
        vote(who, turns[who.user_id], {"label": "A"})
        assert (who.get(path).status, who.get(path).detail) == (403, "too_few_voters")
    vote(first[0], a_turn(first[0], class_id), {"label": "A"})  # the same voter again
    assert first[0].get(path).status == 403
    vote(fifth, turns[fifth.user_id], {"label": "A"})

    found = made(first[0].get(path), 200)
    assert (found["scope"], found["votes"]) == ("class", 6)
    assert made(fifth.get(path + "&blind=1"), 200)["votes"] == 6
    assert outsider.get(path).detail == "class not found"
    assert outsider.get(f"/standings?class_id={class_id}").json["votes"] == 0


def test_blind_votes_need_five_blind_voters(learners: Callable[[int], list[Learner]], class_id: int) -> None:
    voters = learners(5)
    for who in voters[:4]:
        vote(who, a_turn(who, class_id), {"label": "A"})
    turn = a_turn(voters[4], class_id)
    vote(voters[4], turn, winner(voters[4], turn, "model-a"))
    path = f"/standings?class_id={class_id}&scope=class"

    assert voters[0].get(path).status == 200
    assert voters[0].get(path + "&blind=1").detail == "too_few_voters"


def test_what_a_class_shows_stays_until_five_others_voted(
    learners: Callable[[int], list[Learner]], class_id: int, stack: Stack, items_of: ItemsOf
) -> None:
    reader, *others = voters = learners(11)
    for who in voters[:5]:
        vote(who, a_turn(who, class_id), {"label": "A"})

    def shown() -> int:
        return int(standings(reader, class_id, "&scope=class")["votes"])

    assert shown() == 5
    for who in others[4:8]:
        vote(who, a_turn(who, class_id), {"label": "A"})
        vote(who, a_turn(who, class_id), {"label": "A"})
        assert shown() == 5
    vote(reader, a_turn(reader, class_id), {"label": "A"})
    assert shown() == 5  # one's own vote is no other's
    vote(others[8], a_turn(others[8], class_id), {"label": "A"})
    assert shown() == 15
    vote(others[9], a_turn(others[9], class_id), {"label": "A"})
    assert shown() == 15
    assert miscounts(stack, class_id, [items_of(who) for who in voters]) == []


def test_below_five_voters_nothing_is_shown_again(
    learners: Callable[[int], list[Learner]], class_id: int
) -> None:
    voters = learners(5)
    turns = [a_turn(who, class_id) for who in voters]
    for who, turn in zip(voters, turns, strict=True):
        vote(who, turn, {"label": "A"})
    path = f"/standings?class_id={class_id}&scope=class"
    assert voters[0].get(path).status == 200

    voters[4].delete(f"{turns[4]}/vote")

    assert voters[0].get(path).detail == "too_few_voters"
    assert voters[4].get(path).detail == "class not found"


@pytest.fixture
def tomorrow(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Moves the product's day on by one, each time."""
    days = [0]

    def move() -> None:
        days[0] += 1
        day = (datetime.now(UTC) + timedelta(days=days[0])).date().isoformat()
        monkeypatch.setattr(tallies, "_today", lambda: day)

    return move


@pytest.mark.usefixtures("stack")
def test_at_midnight_a_class_shows_what_the_day_brought(
    learners: Callable[[int], list[Learner]], class_id: int, tomorrow: Callable[[], None]
) -> None:
    voters = learners(6)
    for who in voters[:5]:
        vote(who, a_turn(who, class_id), {"label": "A"})
    assert standings(voters[0], class_id, "&scope=class")["votes"] == 5
    vote(voters[5], a_turn(voters[5], class_id), {"label": "A"})
    assert standings(voters[0], class_id, "&scope=class")["votes"] == 5

    tomorrow()

    assert standings(voters[0], class_id, "&scope=class")["votes"] == 6


WITHDRAWALS: dict[str, Callable[[Learner, str, dict[str, Any]], Answer]] = {
    "the vote is withdrawn": lambda who, turn, cast: who.delete(f"{turn}/vote"),
    "the vote is changed": lambda who, turn, cast: who.put(f"{turn}/vote", {"tie": "bad"}),
    "an answer is deleted": lambda who, turn, cast: who.delete(f"/responses/{cast['winner']}"),
    "the session is deleted": lambda who, turn, cast: who.delete(turn.rpartition("/turns/")[0]),
    "a model is deleted": lambda who, turn, cast: who.delete(
        f"/models/{results_of(who, turn)[0]['session_model_id']}"
    ),
}


@pytest.mark.parametrize("name", [*WITHDRAWALS, "the user is erased"])
def test_the_first_change_of_a_day_does_not_show(
    learners: Callable[[int], list[Learner]],
    class_id: int,
    tomorrow: Callable[[], None],
    stack: Stack,
    items_of: ItemsOf,
    hand_in: Callable[..., Any],
    name: str,
) -> None:
    """What a class shows on a day is what it was when the day began, not with the one vote that came since."""
    delivered = deliveries.of(stack)
    voters = learners(7)
    turns = [a_turn(who, class_id) for who in voters]
    cast = [vote(who, turn, {"label": "A"}) for who, turn in zip(voters, turns, strict=True)]
    tomorrow()

    if name in WITHDRAWALS:
        assert WITHDRAWALS[name](voters[6], turns[6], cast[6]).status in (200, 204)
    else:
        at = (datetime.now(UTC) + timedelta(seconds=60)).isoformat()
        hand_in("UserErased", {"user_id": voters[6].user_id, "updated_at": at})
    delivered.run()

    shown = standings(voters[0], class_id, "&scope=class")
    assert shown["votes"] == 7
    assert all(pair["ties"] == 0 for pair in shown["pairs"])
    left = [items_of(who) for who in voters]
    assert miscounts(stack, class_id, left) == []
    tomorrow()
    assert standings(voters[0], class_id, "&scope=class")["votes"] == (7 if "changed" in name else 6)


def test_imported_votes_count_for_their_user_alone(
    ada: Learner, class_id: int, stack: Stack, items_of: ItemsOf
) -> None:
    turn = a_turn(ada, class_id)
    session_id, turn_id = int(turn.split("/")[-3]), int(turn.split("/")[-1])
    answers = [
        JudgedAnswer(label=label, **{name: each[name] for name in JudgedAnswer.model_fields if name in each})
        for label, each in zip("ABC", results_of(ada, turn), strict=True)
    ]
    now = "2026-01-07T05:31:56.120501Z"
    imported = StoredVote(
        turn_id=turn_id,
        class_id=class_id,
        blind=True,
        winner=answers[0].response_id,
        tie=None,
        answers=answers,
        imported=True,
        created_at=now,
        updated_at=now,
    )

    def written() -> None:
        table.write(
            *votes.of_imported(ada.user_id, imported),
            *tallies.of_imported(ada.user_id, class_id, [imported]),
        )

    Context().run(written)

    assert session_id == imported.answers[0].session_model_id // 2**15 * 2**15
    assert standings(ada, class_id, "&blind=1")["votes"] == 1
    assert ada.get(f"/standings?class_id={class_id}&scope=class").detail == "class not found"
    assert miscounts(stack, class_id, [items_of(ada)]) == []
    vote(ada, turn, {"tie": "bad"})
    assert miscounts(stack, class_id, [items_of(ada)]) == []
    assert ada.delete(f"{turn}/vote").status == 204
    assert miscounts(stack, class_id, [items_of(ada)]) == []


class Conflicts:
    """Refuses a transaction that meets another one on an item, as DynamoDB does."""

    def __init__(self, send: Callable[[str, dict[str, Any]], dict[str, Any]]) -> None:
        self._send = send
        self._held: set[str] = set()
        self._lock = Lock()
        self.met = 0

    def __call__(self, operation: str, params: dict[str, Any]) -> dict[str, Any]:
        if operation != "transact_write_items":
            return self._send(operation, params)
        actions = [next(iter(each.values())) for each in params["TransactItems"]]
        wanted = {
            str((a.get("Key") or a["Item"])["sk"]) + str((a.get("Key") or a["Item"])["pk"]) for a in actions
        }
        with self._lock:
            if wanted & self._held:
                self.met += 1
                raise Contended
            self._held |= wanted
        try:
            time.sleep(0.01)  # about what a transaction takes
            return self._send(operation, params)
        finally:
            with self._lock:
                self._held -= wanted


VOTERS = 25


def test_a_class_that_votes_at_the_pace_of_500_in_a_minute_retries_less_than_once_each(
    learners: Callable[[int], list[Learner]],
    class_id: int,
    stack: Stack,
    items_of: ItemsOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    voters = learners(VOTERS)
    turns = [a_turn(who, class_id) for who in voters]
    conflicts = Conflicts(client.request)
    monkeypatch.setattr(client, "request", conflicts)
    chance = random.Random(7)
    moments = [chance.uniform(0, VOTERS * 60 / 500) for _ in voters]

    def cast(place: int) -> int:
        time.sleep(moments[place])
        return voters[place].put(f"{turns[place]}/vote", {"label": "A"}).status

    statuses = at_once(*(partial(cast, place) for place in range(VOTERS)))

    assert statuses == [200] * VOTERS
    assert conflicts.met <= VOTERS
    assert miscounts(stack, class_id, [items_of(who) for who in voters]) == []


def test_votes_at_the_same_moment_are_all_counted(
    learners: Callable[[int], list[Learner]], class_id: int, stack: Stack, items_of: ItemsOf
) -> None:
    voters = learners(6)
    turns = [a_turn(who, class_id) for who in voters]
    made(voters[0].put(f"{turns[0]}/vote", {"label": "A"}), 200)
    both = [partial(voters[0].put, f"{turns[0]}/vote", {"label": label}) for label in "BCB"]
    all_at_once = [
        partial(w.put, f"{t}/vote", {"label": "A"}) for w, t in zip(voters[1:], turns[1:], strict=True)
    ]

    answers = at_once(*both, *all_at_once, partial(voters[0].delete, f"{turns[0]}/vote"))

    assert {each.status for each in answers} <= {200, 204}
    assert miscounts(stack, class_id, [items_of(who) for who in voters]) == []
