"""Ids: safe integers, unique over all users and processes, increasing within a request."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local.stack import Stack
from practice.limits import MAX_ID, SESSION_IDS
from practice.table import ids
from tests.support.learners import Learner, at_once

LAYER = Path(__file__).parents[2] / "layers" / "practice"


def test_every_object_has_an_id_of_its_own(ada: Learner, ben: Learner) -> None:
    made: list[int] = []
    for who in (ada, ben):
        examples = [who.add_example()["example_id"] for _ in range(3)]
        for _ in range(2):
            session = who.open_session()
            path = f"/sessions/{session['session_id']}"
            settings = who.patch(f"{path}/settings", {"few_shot_example_ids": examples}).json
            responses = [who.add_response(session)["response_id"] for _ in range(3)]
            models = [each["session_model_id"] for each in who.models_of(session)]
            links = [each["id"] for each in settings["few_shot_links"]]
            made += [session["session_id"], settings["setting_id"], *models, *links, *responses]
            assert models == sorted(models)
            assert links == sorted(links)
            assert responses == sorted(responses)
        made += examples

    assert len(set(made)) == len(made)
    assert all(type(each) is int and 1 <= each <= MAX_ID for each in made)


def test_ids_of_what_was_deleted_are_not_given_again(ada: Learner) -> None:
    session = ada.open_session()
    seen = {session["session_id"]}
    responses = set()
    for _ in range(3):
        response = ada.add_response(session)["response_id"]
        assert response not in responses
        responses.add(response)
        ada.delete(f"/responses/{response}")
        model = ada.models_of(session)[-1]
        ada.delete(f"/models/{model['session_model_id']}")
        again = ada.post(
            f"/sessions/{session['session_id']}/models", {"model_name": model["model_name"]}
        ).json
        assert again["session_model_id"] > max(responses)
    ada.delete(f"/sessions/{session['session_id']}")
    for _ in range(3):
        fresh = ada.open_session()["session_id"]
        assert fresh not in seen
        seen.add(fresh)
        ada.delete(f"/sessions/{fresh}")


def test_things_made_at_the_same_time_share_no_id(ada: Learner) -> None:
    sessions = at_once(*[lambda: ada.open_session()["session_id"]] * 20)
    examples = at_once(*[lambda: ada.add_example()["example_id"]] * 20)

    assert len({*sessions, *examples}) == 40
    assert all(each % SESSION_IDS == 0 for each in sessions)
    assert not {each - each % SESSION_IDS for each in examples} & set(sessions)


def taken_by_a_process(program: str) -> list[int]:
    """The ids that a program of another process prints, in the same environment."""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=LAYER, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return [number for line in done.stdout.splitlines() for number in json.loads(line)]


TAKES = "os.write(1, f'{[ids.new_session_id() for _ in range(20)] + [*ids.new_ids(3), *ids.new_ids(2)]}\\n'.encode())"


@pytest.mark.usefixtures("stack")
def test_two_processes_and_their_forks_share_no_id() -> None:
    program = f"""
import os
from practice.table import ids
{TAKES}
children = []
for _ in range(2):
    child = os.fork()
    if child == 0:
        {TAKES}
        os._exit(0)
    children.append(child)
{TAKES}
for child in children:
    assert os.waitpid(child, 0)[1] == 0
"""
    taken = [number for each in at_once(*[lambda: taken_by_a_process(program)] * 2) for number in each]
    here = [ids.new_session_id() for _ in range(20)]

    assert len(taken) == 2 * 4 * 25
    assert len({*taken, *here}) == len(taken) + 20
    loose = {number - number % SESSION_IDS for number in taken if number % SESSION_IDS} - {0}
    sessions = {number for number in [*taken, *here] if number % SESSION_IDS == 0} - loose
    assert len(sessions) == 2 * 4 * 20 + 20, "no unit is shared: no child of a session can meet another's"


@pytest.mark.usefixtures("stack")
def test_a_process_that_is_restored_from_a_snapshot_leases_anew() -> None:
    before = ids.new_session_id()
    copy = (ids._lease.units, ids._lease.loose)

    ids.clear_lease()
    restored = [ids.new_session_id() for _ in range(3)] + list(ids.new_ids(3))

    kept = {*(unit * SESSION_IDS for unit in copy[0]), *copy[1]}
    assert before not in restored
    assert not kept & set(restored)


@pytest.mark.usefixtures("stack")
def test_ids_of_one_request_increase(requests_to_table: Callable[[], Any]) -> None:
    ids.clear_lease()

    with requests_to_table() as requests:
        runs = [list(ids.new_ids(count)) for count in (1, 50, 50, 1, 50)]

    assert all(run == list(range(run[0], run[0] + len(run))) for run in runs)
    assert [operation for operation, _ in requests] == ["UpdateItem"]
    rest = list(ids.new_ids(SESSION_IDS))
    assert rest[0] % SESSION_IDS == 0
    assert not set(rest) & {each for run in runs for each in run}


def test_a_thousand_sessions_take_one_lease_in_sixteen(
    stack: Stack, requests_to_table: Callable[[], Any]
) -> None:
    ids.clear_lease()

    with requests_to_table() as requests:
        taken = [ids.new_session_id() for _ in range(1000)]

    assert len(set(taken)) == 1000
    assert [operation for operation, _ in requests] == ["UpdateItem"] * 63
    shards = stack.engine.client().query(
        TableName=stack.template.environment["TABLE_NAME"],
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": "IDS#0"}},
    )
    assert shards["Count"] == 1, "the leases are spread over several counters"


def test_the_last_ids_are_javascript_safe_and_then_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    lease = ids._Lease()
    monkeypatch.setattr(ids, "_lease", lease)
    last = 2**38 - 1
    lease.units = range(last, last + 2)

    with pytest.raises(RuntimeError, match="used up"):
        ids.new_session_id()
    lease.units = range(last - 1, last)
    first = ids.new_session_id()
    assert first + SESSION_IDS - 1 <= MAX_ID
