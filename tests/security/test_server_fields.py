"""What is the server's to write is not a learner's: a field of any model of ours, where it is not taken, does nothing.

The fields are those of our models: a new one is tried without a word here.
"""

import importlib
import json
import pkgutil
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import BaseModel

import practice.schemas
from practice.http.endpoint import Endpoint
from practice.limits import PROBLEMS
from tests.support.account import ENDPOINTS, Account
from tests.support.learners import Answer, Learner
from tests.support.planted import each_filled

Json = dict[str, Any]
ItemsOf = Callable[[Learner], dict[tuple[str, str], Any]]

PLANTED, PLANTED_NUMBER = "planted", 7_777_777
WITH_BODY = [each for each in ENDPOINTS if each.body_model]


def planted(_: str, rules: Json) -> Any:
    return {"string": PLANTED, "integer": PLANTED_NUMBER, "number": 7_777_777.5, "boolean": True}[
        rules["type"]
    ]


def models_of_ours(root: type[BaseModel] = BaseModel) -> Iterator[type[BaseModel]]:
    for each in root.__subclasses__():
        if each.__module__.startswith("practice.schemas."):
            yield each
        yield from models_of_ours(each)


def fields_of_ours() -> Json:
    """Every field of what is answered, stored or sent, with a value that fits it; and names that the store uses."""
    for module in pkgutil.walk_packages(practice.schemas.__path__, "practice.schemas."):
        importlib.import_module(module.name)
    found: Json = {}
    for model in dict.fromkeys(models_of_ours()):
        for shape in each_filled(model.model_json_schema(mode="serialization"), planted):
            found |= shape if isinstance(shape, dict) else {}
    assert {
        "user_id",
        "created_at",
        "agent_snapshot",
        "next_cursor",
        "is_primary",
        "status",
        "links",
    } <= found.keys()
    attributes = (
        "pk",
        "sk",
        "v",
        "doc",
        "z",
        "parts",
        "live",
        "ttl",
        "examples",
        "of_model",
        "turn",
        "imported",
    )
    return {**dict.fromkeys(attributes, PLANTED), "__proto__": {PLANTED: True}, **found}


def foreign_fields(endpoint: Endpoint) -> Json:
    assert endpoint.body_model
    return {
        name: value
        for name, value in fields_of_ours().items()
        if name not in endpoint.body_model.model_fields
    }


def is_strict(endpoint: Endpoint) -> bool:
    return endpoint.body_model is not None and endpoint.body_model.model_config.get("extra") == "forbid"


def send(account: Account, endpoint: Endpoint, body: Json) -> Answer:
    return account.owner.ask(endpoint.method, account.target(endpoint), body)


def reported(answer: Answer) -> Any:
    """Without ids and times, which differ between any two."""
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "time", answer.body.decode())
    return answer.status, re.sub(r"\b\d{4,}\b", "id", text)


@pytest.fixture
def account(another_learner: Callable[[], Learner]) -> Account:
    return Account(another_learner())


@pytest.mark.parametrize(
    "endpoint", [each for each in WITH_BODY if not is_strict(each)], ids=lambda each: each.name
)
def test_a_field_of_the_servers_is_not_written(
    endpoint: Endpoint, account: Account, contents_of: ItemsOf
) -> None:
    body, foreign = account.body_of(endpoint), foreign_fields(endpoint)
    send(account, endpoint, body)  # a PATCH changes something the first time
    before = contents_of(account.owner)
    expected = send(account, endpoint, body)
    plain = contents_of(account.owner)

    answer = send(account, endpoint, foreign | body)

    assert reported(answer) == reported(expected)
    stored = contents_of(account.owner)
    assert PLANTED not in str(stored)
    assert str(PLANTED_NUMBER) not in str(stored)
    assert len(stored) - len(plain) == len(plain) - len(before)
    if endpoint.method == "PATCH":
        assert stored == plain == before


@pytest.mark.parametrize(
    "endpoint", [each for each in WITH_BODY if not is_strict(each)], ids=lambda each: each.name
)
def test_a_field_of_the_servers_changes_nothing(
    endpoint: Endpoint, account: Account, contents_of: ItemsOf
) -> None:
    """Alone, it is an empty body."""
    before = contents_of(account.owner)
    empty, alone = send(account, endpoint, {}), send(account, endpoint, foreign_fields(endpoint))

    assert reported(alone) == reported(empty)
    assert contents_of(account.owner) == before


@pytest.mark.parametrize(
    "endpoint", [each for each in WITH_BODY if is_strict(each)], ids=lambda each: each.name
)
def test_a_field_of_the_servers_is_refused_where_unknown_ones_are(
    endpoint: Endpoint, account: Account, contents_of: ItemsOf
) -> None:
    before = contents_of(account.owner)
    foreign = list(foreign_fields(endpoint).items())

    for start in range(0, len(foreign), PROBLEMS):
        some = dict(foreign[start : start + PROBLEMS])
        together = send(account, endpoint, some | account.body_of(endpoint))

        assert together.status == 422
        assert {(each["type"], *each["loc"]) for each in together.detail} == {
            ("extra_forbidden", "body", name) for name in some
        }
    assert contents_of(account.owner) == before


def test_a_field_of_the_servers_in_a_file_is_not_taken_in(
    account: Account, another_learner: Callable[[], Learner], contents_of: ItemsOf
) -> None:
    """Owner and numbers are the importing account's; the file has the rest."""
    lines = [json.loads(line) for line in account.owner.get("/export").body.splitlines()]
    importing = another_learner()

    ours = fields_of_ours() | {"user_id": account.owner.user_id}
    del ours["rating"]  # which a response of a file may have
    laced = "\n".join(json.dumps(ours | line) for line in lines)
    answer = importing.post("/import", raw=laced.encode(), headers={"content-type": "application/x-ndjson"})

    assert answer.status == 201, answer.body
    stored = str(contents_of(importing))
    assert PLANTED not in stored
    assert str(PLANTED_NUMBER) not in stored
    assert str(account.owner.user_id) not in stored
