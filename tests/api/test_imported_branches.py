"""Sessions of any shape that a file may have are read whole: no turn twice, none hidden, each among its siblings."""

import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest

from tests.support import torture
from tests.support.invariants import broken
from tests.support.learners import Learner, made, walk
from tests.support.recount import own_miscounts

Json = dict[str, Any]
ItemsOf = Callable[[Learner], dict[tuple[str, str], Any]]
PLAIN = {"content-type": "application/x-ndjson"}
FILES = 12


@pytest.fixture
def lines(ada: Learner, class_of: Callable[..., int]) -> list[Json]:
    """A session of three models with one turn, and a response that was added by hand."""
    session = ada.open_session(class_id=class_of("a", "b", "c"))
    made(ada.post(f"/sessions/{session['session_id']}/chat", {"prompt_text": "Why?"}), 201)
    ada.add_response(session)
    return [json.loads(line) for line in ada.get("/export").body.splitlines()]


class File:
    """A session that is grown from the lines of an export."""

    def __init__(self, lines: list[Json], random: Random) -> None:
        self._random = random
        copied: list[Json] = json.loads(json.dumps(lines))
        self._header, self._session, self._turn, self._answer = (
            next(line for line in copied if line["type"] == kind)
            for kind in ("practice-export", "session", "turn", "response")
        )
        self._models = self._session["models"]
        self._next_id = 1 + max(each["session_model_id"] for each in self._models)
        self._moments = (f"2026-01-01T00:00:00.{n:06}Z" for n in range(1_000))
        self._ids: list[int] = []
        self._turns: list[Json] = []
        self._responses: list[Json] = []
        self._votes: list[Json] = []
        for _ in range(random.randrange(1, 14)):
            random.choice(
                [self._add_turn, self._add_turn, self._add_response, self._add_deleted, self._leave_gap]
            )()

    def alternate(self, pairs: int) -> None:
        """Nothing else: a turn that follows the response before it, and the next response."""
        self._ids, self._turns, self._responses, self._votes = [], [], [], []
        for _ in range(pairs):
            after = {"after_turn_id": self._ids[-1] if self._ids else None}
            turn_id, moment = self._take_ids(1), next(self._moments)
            asked = [{**self._turn["asked"][0], **self._named(0), "response_id": turn_id}]
            own = {"turn_id": turn_id, "created_at": moment, "asked": asked, "errors": []}
            self._turns.append({**self._turn, **after, **own})
            self._respond(turn_id, self._models[0], moment)
            self._add_response()

    def _named(self, place: int) -> Json:
        return {name: self._models[place][name] for name in ("session_model_id", "model_name")}

    def text(self) -> bytes:
        session = {**self._session, "next_id": self._next_id + 1, "last_answered_at": next(self._moments)}
        lines = [self._header, session, *self._turns, *self._responses, *self._votes]
        return "\n".join(map(json.dumps, lines)).encode()

    def _take_ids(self, count: int) -> int:
        self._ids.append(self._next_id)
        self._next_id += count
        return self._ids[-1]

    def _after(self) -> Json:
        """Any id of the session before, deleted or not; or by time."""
        chosen = self._random.choice(["time", "nothing", "any", "any"])
        if chosen == "time":
            return {}
        return {"after_turn_id": self._random.choice(self._ids) if chosen == "any" and self._ids else None}

    def _leave_gap(self) -> None:
        """Of a response that was deleted."""
        self._take_ids(1)

    def _add_deleted(self) -> None:
        after, moment = self._after(), next(self._moments)
        turn_id = self._take_ids(self._random.randrange(1, 4))
        self._turns.append({"type": "deleted_turn", "turn_id": turn_id, "created_at": moment, **after})

    def _add_response(self) -> None:
        self._respond(self._take_ids(1), self._models[0], next(self._moments))

    def _respond(self, response_id: int, model: Json, moment: str) -> None:
        named = {name: model[name] for name in ("session_model_id", "model_name")}
        own = {"response_id": response_id, "created_at": moment, "response_text": f"Because {response_id}."}
        self._responses.append({**self._answer, **named, **own})

    def _add_turn(self) -> None:
        after, moment = self._after(), next(self._moments)
        models = self._random.sample(self._models, self._random.randrange(1, 4))
        turn_id = self._take_ids(len(models))
        asked, errors, answered = [], [], []
        for response_id, model in enumerate(models, turn_id):
            named = {name: model[name] for name in ("session_model_id", "model_name")}
            asked.append({**self._turn["asked"][0], **named, "response_id": response_id})
            outcome = self._random.choice(["answered", "answered", "failed", "deleted"])
            if outcome == "answered":
                self._respond(response_id, model, moment)
                answered.append(response_id)
            elif outcome == "failed":
                errors.append({**named, "code": "timeout", "detail": "too late"})
        own = {name: value for name, value in self._turn.items() if name != "after_turn_id"} | after
        own |= {"turn_id": turn_id, "created_at": moment, "asked": asked, "errors": errors}
        self._turns.append(own)
        if len(answered) > 1 and self._random.random() < 0.5:
            judged = [
                {"label": label, "response_id": each} for label, each in zip("CBA", answered, strict=False)
            ]
            self._votes.append(
                {"type": "vote", "turn_id": turn_id, "blind": True, "winner": answered[0], "tie": None}
                | {"answers": judged[::-1], "created_at": moment, "updated_at": moment}
            )


def turns_of(who: Learner, query: str = "") -> Iterator[Json]:
    [session] = who.get("/sessions").json["items"]
    for page in walk(who, f"/sessions/{session['session_id']}/turns?size=3{query}"):
        yield from page["items"]


def read_whole(who: Learner) -> None:
    [session] = who.get("/sessions").json["items"]
    path = f"/sessions/{session['session_id']}"
    listed = list(turns_of(who))
    turns = {each["turn_id"]: each for each in listed}
    assert len(listed) == len(turns)
    responses = [
        each["response_id"] for page in walk(who, f"{path}/responses?size=200") for each in page["items"]
    ]
    shown = [result["response_id"] for turn in listed for result in turn["results"]]
    assert sorted(shown) == sorted(responses)
    for turn_id, turn in turns.items():
        one = made(who.get(f"{path}/turns/{turn_id}"), 200)
        after = turn["after_turn_id"]
        assert one["after_turn_id"] == after
        assert one["siblings"] == sorted(key for key, each in turns.items() if each["after_turn_id"] == after)
        branch = [turn_id]
        while after in turns:
            branch.append(after)
            after = turns[after]["after_turn_id"]
        found = sorted((each["turn_id"] for each in turns_of(who, f"&leaf={turn_id}")), reverse=True)
        assert found[: len(branch)] == branch
        assert len(found) == len(branch) or after is not None  # one that is hidden lies between


def shape(who: Learner) -> list[Any]:
    """Without what an import chooses anew."""
    [session] = who.get("/sessions").json["items"]
    first = session["session_id"]
    return sorted(
        (
            each["turn_id"] - first,
            each["after_turn_id"] and each["after_turn_id"] - first,
            [result["response_id"] - first for result in each["results"]],
        )
        for each in turns_of(who)
    )


def test_an_imported_session_of_any_shape_is_read_whole(
    lines: list[Json], another_learner: Callable[[], Learner], items_of: ItemsOf
) -> None:
    for number in range(FILES):
        who, third = another_learner(), another_learner()
        file = File(lines, Random(f"{torture.SEED} {number}")).text()
        made(who.post("/import", raw=file, headers=PLAIN), 201)
        try:
            read_whole(who)
            made(third.post("/import", raw=who.get("/export").body, headers=PLAIN), 201)
            assert shape(third) == shape(who)
            assert broken(items_of(who)) + own_miscounts(items_of(who)) == []
        except AssertionError as error:
            raise AssertionError(f"file {number} of seed {torture.SEED}: {error}\n{file.decode()}") from error


def test_a_branch_that_changes_between_turns_and_added_responses_takes_few_requests(
    lines: list[Json], another_learner: Callable[[], Learner], requests_to_table: Any
) -> None:
    def costs(pairs: int) -> int:
        who = another_learner()
        file = File(lines, Random(0))
        file.alternate(pairs)
        made(who.post("/import", raw=file.text(), headers=PLAIN), 201)
        [session] = who.get("/sessions").json["items"]
        path = f"/sessions/{session['session_id']}/turns"
        leaf = who.get(f"{path}?size=1").json["items"][0]["turn_id"]
        with requests_to_table() as requests:
            pages = list(walk(who, f"{path}?size=200&leaf={leaf}"))
        assert sum(len(page["items"]) for page in pages) == 2 * pairs
        return len(requests) - 4 * len(pages)  # a page by itself takes four

    few, many = costs(10), costs(90)

    # 160 turns and responses more: two requests for every 25 that the walk passes, and ten to spare.
    assert many <= few + 2 * 160 / 25 + 10, (few, many)
