"""A mutated export is refused whole, or what it leaves can be read by every route."""

import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from practice.runtime import clock
from practice.table import keys
from tests.support import torture
from tests.support.invariants import broken
from tests.support.learners import Answer, Learner, walk
from tests.support.mutations import KINDS, Json, Mutation, mutated, mutations
from tests.support.recount import own_miscounts

SHARDS = 32
"""Cases of the long run, which may be interrupted between them."""
PLAIN = {"content-type": "application/x-ndjson"}
ItemsOf = Callable[[Learner], dict[tuple[str, str], Any]]
ContentsOf = Callable[[Learner], dict[Any, Any]]


@pytest.fixture(scope="module")
def lines(lasting_learner: Callable[[], Learner]) -> list[Json]:
    """An export with something of everything: an error of a model, an agent's snapshot and a deleted turn too."""
    who = lasting_learner()
    example, other = who.add_example(title="Sums", meta={"level": 1.0}), who.add_example(is_active=True)
    session = who.open_session(title="Lesson", notes="Ü 𝄞", knowledge_ids=[3, 1], project_id=4)
    path = f"/sessions/{session['session_id']}"
    who.patch(
        f"{path}/settings",
        {
            "style_preset": "creative",
            "style_params": {"persona": "owl", "n": 0.5},
            "generation_params": {"temperature": 1, "stop": ["."]},
            "few_shot_example_ids": [example["example_id"], other["example_id"]],
        },
    )
    answered = who.post(f"{path}/chat", {"prompt_text": "What is a fugue?"}).json["results"]
    rating = {"score": 4, "tags": ["clear"], "comment": "Ü"}
    assert who.put(f"/responses/{answered[0]['response_id']}/rating", rating).status == 200
    turn_id, chosen = min(each["response_id"] for each in answered), answered[-1]["response_id"]
    assert who.put(f"{path}/turns/{turn_id}/vote", {"response_id": chosen}).status == 200
    for each in who.post(f"{path}/chat", {"prompt_text": "And a canon?"}).json["results"]:
        assert who.delete(f"/responses/{each['response_id']}").status == 204
    who.add_response(session, token_usage={"total_tokens": 3}, latency_ms=5)
    who.open_session(title="Empty")
    exported = [json.loads(line) for line in who.get("/export").body.splitlines()]
    turn, emptied = [line for line in exported if line["type"] in ("turn", "deleted_turn")]
    left = {name: emptied[name] for name in ("turn_id", "created_at", "after_turn_id")}
    exported[exported.index(emptied)] = {"type": "deleted_turn", **left}
    assert {line["type"] for line in exported} >= {*KINDS}
    asked = turn["asked"][0]
    turn["errors"] = [
        {
            "session_model_id": asked["session_model_id"],
            "model_name": asked["model_name"],
            "code": "provider_error",
            "detail": "the provider answered 400",
            "reason": {"status": 400, "code": "invalid", "param": "top_p", "type": "a.b"},
        }
    ]
    snapshot = {
        "agent_id": 5,
        "name": "Socrates",
        "system_prompt": "Ask.",
        "generation_params": {"temperature": 0.2, "top_k": 40},
        "updated_at": "2026-01-07T05:31:56.120501Z",
    }
    turn["settings"]["agent_snapshot"] = snapshot
    next(line for line in exported if line["type"] == "session")["settings"]["agent_snapshot"] = snapshot
    return exported


def ok(answer: Answer) -> Answer:
    assert answer.status < 500, (answer.status, answer.body[:200])
    return answer


def read_everything(who: Learner, counts: dict[str, int]) -> None:
    """By every route that reads; a list hides nothing. Then what changes an object a little does not fail either."""
    sessions = [each for page in walk(who, "/sessions?size=200") for each in page["items"]]
    assert len(sessions) == counts["sessions"] == ok(who.get("/sessions")).json["total"]
    assert len(ok(who.get("/sessions?expand=settings,responses")).json["items"]) == len(sessions)
    assert len(ok(who.get("/sessions?sort=activity")).json["items"]) == len(sessions)
    examples = [each for page in walk(who, "/few-shot-examples?size=200") for each in page["items"]]
    assert len(examples) == counts["examples"]
    responses = turns = 0
    for session in sessions:
        path = f"/sessions/{session['session_id']}"
        assert ok(who.get(path)).status == 200
        assert ok(who.get(f"{path}/settings")).status == 200
        found = [each for page in walk(who, f"{path}/responses?size=200") for each in page["items"]]
        responses += len(found)
        of_models = 0
        for model in ok(who.get(f"{path}/models")).json:
            of_models += len(ok(who.get(f"/models/{model['session_model_id']}/responses")).json)
            assert ok(who.patch(f"/models/{model['session_model_id']}", {"is_primary": True})).status == 200
        assert of_models == len(found)
        listed = [each for page in walk(who, f"{path}/turns?size=200") for each in page["items"]]
        turns += sum(each["settings"] is not None for each in listed)
        for turn in listed:
            assert ok(who.get(f"{path}/turns/{turn['turn_id']}")).status == 200
            ok(who.get(f"{path}/turns/{turn['turn_id']}/blind"))
            ok(who.get(f"{path}/turns/{turn['turn_id']}/vote"))
        assert sorted(result["response_id"] for turn in listed for result in turn["results"]) == sorted(
            each["response_id"] for each in found
        )
        for response in found:
            ok(who.get(f"/responses/{response['response_id']}/rating"))
            assert ok(who.patch(f"/responses/{response['response_id']}", {"latency_ms": 1})).status == 200
        assert ok(who.patch(path, {"title": "Other"})).status == 200
        assert ok(who.patch(f"{path}/settings", {"style_params": {"a": 1}})).status == 200
        assert ok(who.patch(f"{path}/settings", {"few_shot_example_ids": []})).status == 200
        ok(who.post(f"{path}/chat", {"prompt_text": "And now?"}))
        for turn in listed:
            ok(who.put(f"{path}/turns/{turn['turn_id']}/vote", {"tie": "good"}))
    assert (responses, turns) == (counts["responses"], counts["turns"])
    for example in examples:
        assert ok(who.patch(f"/few-shot-examples/{example['example_id']}", {"title": "T"})).status == 200
    assert ok(who.get("/export")).status == 200


def chosen(lines: list[Json], thousandths: int, shard: int, shards: int) -> Iterator[Mutation]:
    """A share of all mutations, which ones is up to the seed."""
    for number, mutation in enumerate(mutations(lines)):
        if (
            number % shards == shard
            and zlib.crc32(f"{torture.SEED} {mutation}".encode()) % 1000 < thousandths
        ):
            yield mutation


def try_all(
    chosen: Iterable[Mutation], lines: list[Json], another_learner: Callable[[], Learner], items_of: ItemsOf
) -> dict[str, int]:
    seen = {"refused": 0, "taken": 0}
    who = another_learner()
    before = items_of(who)
    for mutation in chosen:
        torture.count("files")
        answer = who.post("/import", raw=mutated(lines, mutation), headers=PLAIN)
        if answer.status in (422, 400):
            seen["refused"] += 1
            if answer.status == 422:
                [problem] = answer.detail
                assert (
                    problem["loc"][:2] == ["body", mutation.line + 1] or mutation.line < problem["loc"][1]
                ), (
                    mutation,
                    problem,
                )
                assert len(answer.body) < 1000, mutation
            continue
        assert answer.status == 201, (str(mutation), answer.status, answer.body[:300])
        items = items_of(who)
        assert items != before
        seen["taken"] += 1
        problems = broken(items) + own_miscounts(items)
        assert problems == [], (str(mutation), problems)
        try:
            read_everything(who, answer.json)
        except AssertionError as error:
            raise AssertionError(f"{mutation}: {error}") from error
        assert "importing" not in items_of(who)[keys.account(who.user_id)]
        assert ok(who.post("/sessions", {"class_id": 1})).status == 201
        who = another_learner()
        before = items_of(who)
    assert items_of(who) == before  # what was refused has written nothing
    return seen


def changed(lines: list[Json], kind: str, change: Callable[[Json], object]) -> bytes:
    copied = json.loads(json.dumps(lines))
    change(next(line for line in copied if line["type"] == kind))
    return "\n".join(json.dumps(line) for line in copied).encode()


def many_models(quotes: int, count: int) -> Callable[[Json], object]:
    def change(line: Json) -> None:
        first = line["models"][0]["session_model_id"]
        line["next_id"] += count
        line["models"] = [
            {
                "session_model_id": first + number,
                "model_name": f"m{number}",
                "is_primary": not number,
                "generation_params": {"a": '"' * quotes},
                "chosen": [],
                "runs": True,
            }
            for number in range(count)
        ]

    return change


def params(line: Json, **values: Any) -> None:
    line["generation_params"] |= values
    line["chosen"] = sorted({*line["chosen"], *values})


REFUSED: dict[str, tuple[str, Callable[[Json], object], list[str | int]]] = {
    "a surrogate among what is chosen": (
        "session",
        lambda line: line["settings"]["chosen"].append("\ud800"),
        ["settings", "chosen"],
    ),
    "a surrogate among what a model's user chose": (
        "session",
        lambda line: line["models"][0]["chosen"].append("\ud800"),
        ["models", 0, "chosen"],
    ),
    "one example selected twice": (
        "session",
        lambda line: line["settings"]["few_shot_links"].extend(line["settings"]["few_shot_links"]),
        ["settings", "few_shot_links"],
    ),
    "500 KB of errors": (
        "turn",
        lambda line: line["errors"][0].update(detail="x" * 500_000),
        ["errors"],
    ),
    "a temperature that is a text": (
        "session",
        lambda line: params(line["settings"], temperature="hot"),
        ["settings", "generation_params", "temperature"],
    ),
    "a model's temperature that is a text": (
        "session",
        lambda line: params(line["models"][0], temperature="hot"),
        ["models", 0, "generation_params", "temperature"],
    ),
    "a day that does not exist": (
        "example",
        lambda line: line.update(updated_at="2026-02-30T00:00:00.000000Z"),
        ["updated_at"],
    ),
    "the last moment of the year 9999": (
        "session",
        lambda line: line.update(last_answered_at="9999-12-31T23:59:59.999999Z"),
        ["last_answered_at"],
    ),
    "Arabic digits": (
        "response",
        lambda line: line.update(created_at=line["created_at"].replace("2", "٢")),
        ["created_at"],
    ),
    "a model that is of no session": (
        "turn",
        lambda line: line["asked"][0].update(session_model_id=2**53 - 1),
        ["asked"],
    ),
    "a model's id beyond 2^53": (
        "turn",
        lambda line: line["asked"][0].update(session_model_id=2**53),
        ["asked", 0, "session_model_id"],
    ),
    "half a million ids": (
        "turn",
        lambda line: line["settings"].update(few_shot_example_ids=list(range(1, 500_001))),
        ["settings", "few_shot_example_ids"],
    ),
    "half a million ids of knowledge": (
        "turn",
        lambda line: line["settings"].update(knowledge_ids=list(range(1, 500_001))),
        ["settings", "knowledge_ids"],
    ),
    "75 models of 30,000 quotes": ("session", many_models(30_000, 75), ["models"]),
    "60 models of 16,000 quotes": ("session", many_models(16_000, 60), ["models"]),
    "NUL": ("response", lambda line: line.update(response_text="a\0b"), ["response_text"]),
    "a response with another's name": (
        "response",
        lambda line: line.update(model_name="another"),
        ["model_name"],
    ),
    "a version beyond 2^53": (
        "turn",
        lambda line: line["settings"].update(version=2**70),
        ["settings", "version"],
    ),
    "a snapshot of the file's own making": (
        "session",
        lambda line: line["settings"].update(agent_snapshot={"a": 1}),
        ["settings", "agent_snapshot"],
    ),
    "a session answered the day after tomorrow": (
        "session",
        lambda line: line.update(last_answered_at=clock.to_timestamp(datetime.now(UTC) + timedelta(days=2))),
        ["last_answered_at"],
    ),
    "the last moment of the year 2199": (
        "session",
        lambda line: line.update(last_answered_at="2199-12-31T23:59:59.999999Z"),
        ["last_answered_at"],
    ),
    "an error of a model that was not asked": (
        "turn",
        lambda line: line["errors"][0].update(session_model_id=line["errors"][0]["session_model_id"] + 7),
        ["errors"],
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_field_that_the_api_would_refuse_is_refused_with_its_line_and_its_name(
    name: str, lines: list[Json], ada: Learner, contents_of: ContentsOf
) -> None:
    kind, change, place = REFUSED[name]
    before = contents_of(ada)
    number = 1 + next(n for n, line in enumerate(lines) if line["type"] == kind)

    answer = ada.post("/import", raw=changed(lines, kind, change), headers=PLAIN)

    assert answer.status == 422, answer.body[:200]
    [problem] = answer.detail
    assert problem["loc"][: 2 + len(place)] == ["body", number, *place], problem
    assert contents_of(ada) == before


def test_a_response_of_its_own_within_the_ids_of_a_turn_is_refused(
    lines: list[Json], ada: Learner, contents_of: ContentsOf
) -> None:
    """The list of turns would show the turn twice."""
    copied: list[Json] = json.loads(json.dumps(lines))
    turn = next(line for line in copied if line["type"] == "turn")
    responses = [line for line in copied if line["type"] == "response"]
    [by_hand] = [each for each in responses if each["response_id"] > turn["asked"][-1]["response_id"]]
    own = next(each for each in responses if each["response_id"] == turn["asked"][-1]["response_id"])
    turn["asked"][-1]["response_id"] = by_hand["response_id"]
    places = copied.index(own), copied.index(by_hand)
    for name in ("response_id", "created_at"):
        own[name], by_hand[name] = by_hand[name], own[name]
    copied[places[0]], copied[places[1]] = by_hand, own
    kept = [line for line in copied if line["type"] not in ("vote", "deleted_turn")]
    before = contents_of(ada)

    answer = ada.post("/import", raw="\n".join(map(json.dumps, kept)).encode(), headers=PLAIN)

    assert answer.status == 422, answer.body
    assert answer.detail[0]["loc"] == ["body", 1 + kept.index(turn), "turn_id"]
    assert contents_of(ada) == before


def test_a_mutated_export_is_refused_whole_or_can_be_read_whole(
    lines: list[Json], another_learner: Callable[[], Learner], items_of: ItemsOf
) -> None:
    seen = try_all(chosen(lines, 10, 0, 1), lines, another_learner, items_of)

    assert seen["refused"] > seen["taken"] > 0


@pytest.mark.torture
@pytest.mark.parametrize("shard", range(SHARDS))
def test_every_mutated_export_is_refused_whole_or_can_be_read_whole(
    shard: int, lines: list[Json], another_learner: Callable[[], Learner], items_of: ItemsOf
) -> None:
    try_all(chosen(lines, torture.SIZES["FILES"], shard, SHARDS), lines, another_learner, items_of)
