"""The contract is what the code does, and what the product's reference page shows."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from practice.caller import Caller
from practice.errors import DailyBudgetSpent
from practice.http.endpoint import Endpoint
from practice.http.replies import status_of
from practice.table import ExpectedVersions
from tests.support.learners import Learner, Send
from tools import openapi
from tools.openapi import BODY_OF, HEADERS, TARGET, contract_text, endpoints

Json = dict[str, Any]

CONTRACT: Json = json.loads(TARGET.read_text())
COMPONENTS: Json = CONTRACT["components"]
OPERATIONS: dict[str, Json] = {
    operation["operationId"]: operation for path in CONTRACT["paths"].values() for operation in path.values()
}
ENDPOINTS = {endpoint.name: endpoint for endpoint in endpoints()}
REFERENCE = Path(__file__).parents[1] / "support" / "reference"
REQUEST: Json = json.loads((REFERENCE / "update_session.request.json").read_text())
RESPONSE: Json = json.loads((REFERENCE / "update_session.response.json").read_text())


def resolved(part: Json) -> Json:
    if "$ref" not in part:
        return part
    _, _, kind, name = part["$ref"].split("/")
    found: Json = COMPONENTS[kind][name]
    return found


def problems(value: object, schema: Json) -> list[str]:
    validator = Draft202012Validator(
        schema | {"components": COMPONENTS}, format_checker=Draft202012Validator.FORMAT_CHECKER
    )
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]


def body_schema(operation: str) -> Json:
    schema: Json = OPERATIONS[operation]["requestBody"]["content"]["application/json"]["schema"]
    return schema


def answer_schema(operation: str, status: int) -> Json:
    answer = resolved(OPERATIONS[operation]["responses"][str(status)])
    schema: Json = answer["content"]["application/json"]["schema"]
    return schema


def refs(part: object) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        part = list(part.values())
    if isinstance(part, list):
        for inner in part:
            yield from refs(inner)


def reachable(part: object) -> set[str]:
    """The names of the schemas that a part is made of."""
    found: set[str] = set()
    waiting = [part]
    while waiting:
        names = {ref.split("/")[-1] for ref in refs(waiting.pop()) if "/schemas/" in ref} - found
        found |= names
        waiting += [COMPONENTS["schemas"][name] for name in names]
    return found


# The document


def test_it_is_openapi_3_1() -> None:
    validate(CONTRACT)
    assert CONTRACT["openapi"] == "3.1.0"


def test_it_is_what_the_code_says_now() -> None:
    assert TARGET.read_text() == contract_text(), "run `make openapi`"


def test_a_stale_one_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stale = tmp_path / "openapi.json"
    stale.write_text(TARGET.read_text().replace('"maxLength":10000', '"maxLength":9999'))
    monkeypatch.setattr(openapi, "TARGET", stale)

    assert openapi.main(["--check"]) == 1
    assert "make openapi" in capsys.readouterr().err
    assert openapi.main([]) == 0
    assert openapi.main(["--check"]) == 0


def test_it_has_every_route_and_no_function_that_events_start() -> None:
    assert list(OPERATIONS) == list(ENDPOINTS)
    assert {"update_session", "list_examples", "openapi"} <= OPERATIONS.keys()
    assert not {"default", "update_catalogue"} & OPERATIONS.keys()


def test_nothing_in_it_is_unused_or_missing() -> None:
    named = {ref.removeprefix("#/components/") for ref in refs(CONTRACT)}
    there = {f"{kind}/{name}" for kind, parts in COMPONENTS.items() for name in parts}

    assert named <= there
    assert {f"headers/{name}" for name in HEADERS} <= there
    assert {part for part in there - named if not part.startswith(("securitySchemes/", "headers/"))} == set()


def test_anybody_can_read_it(another_learner: Any, send: Send) -> None:
    answer = send("GET", "/openapi.json", {"host": "localhost"}, None)

    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json["info"] == CONTRACT["info"]


# The reference page


def test_the_request_of_the_reference_page_fits() -> None:
    assert problems(REQUEST, body_schema("update_session")) == []
    assert problems(REQUEST | {"title": 5, "class_id": 0}, body_schema("update_session")) != []


def test_the_response_of_the_reference_page_fits_but_for_the_cursor() -> None:
    schema = answer_schema("update_session", 200)

    assert problems(RESPONSE | {"responses_next_cursor": None}, schema) == []
    assert problems(RESPONSE, schema) == ["$: 'responses_next_cursor' is a required property"]


def test_the_examples_are_the_reference_page() -> None:
    examples = COMPONENTS["examples"]
    session = dict(examples["Session"]["value"])

    assert json.dumps(examples["SessionChanges"]["value"]) == json.dumps(REQUEST)
    assert list(session)[-1] == "responses_next_cursor"
    del session["responses_next_cursor"]
    assert json.dumps(session) == json.dumps(RESPONSE)


def test_no_object_of_the_reference_page_gained_a_field() -> None:
    settings = RESPONSE["settings"]
    shown = {
        "Session": {**RESPONSE, "responses_next_cursor": None},
        "Settings": settings,
        "FewShotLink": settings["few_shot_links"][0],
        "Example": settings["few_shot_links"][0]["example"],
        "Response": RESPONSE["responses"][0],
        "SessionChanges": REQUEST,
    }

    for name, fields in shown.items():
        assert list(COMPONENTS["schemas"][name]["properties"]) == list(fields), name


def test_the_reference_page_can_be_played(ada: Learner) -> None:
    session = ada.open_session()

    answer = ada.patch(f"/sessions/{session['session_id']}", REQUEST)

    assert answer.status == 200
    assert problems(answer.json, answer_schema("update_session", 200)) == []
    assert {name: answer.json[name] for name in REQUEST} == REQUEST


# What every operation has


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_answer_has_all_of_its_fields(name: str) -> None:
    success = OPERATIONS[name]["responses"][str(int(ENDPOINTS[name].status))]

    for schema in (COMPONENTS["schemas"][each] for each in reachable(success)):
        assert schema.get("required", []) == list(schema.get("properties", {}))


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_examples_fit(name: str) -> None:
    content = [
        *([OPERATIONS[name]["requestBody"]] if "requestBody" in OPERATIONS[name] else []),
        *map(resolved, OPERATIONS[name]["responses"].values()),
    ]
    for part in (kind for each in content for kind in each.get("content", {}).values()):
        for shown in part.get("examples", {}).values():
            assert problems(resolved(shown)["value"], part["schema"]) == []


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_refusal_is_described(name: str) -> None:
    endpoint: Endpoint = ENDPOINTS[name]
    answers = {status: resolved(answer) for status, answer in OPERATIONS[name]["responses"].items()}
    details = [text for answer in answers.values() for text in details_in(answer)]

    assert {"429", "500", "503"} <= answers.keys()
    assert {error.detail for error in endpoint.refuses if error not in BODY_OF} <= set(details)
    assert {str(int(status_of(error))) for error in endpoint.refuses} <= answers.keys()
    assert ("401" in answers) is bool(endpoint.takes_a(Caller))
    assert OPERATIONS[name].get("security") == (None if endpoint.takes_a(Caller) else [])
    assert ("412" in answers) is bool(endpoint.takes_a(ExpectedVersions))
    assert ("507" in answers) is (endpoint.method in ("POST", "PUT", "PATCH"))
    assert {"400", "413", "422"} <= answers.keys() or not endpoint.body_model
    for answer in answers.values():
        assert answer["description"]


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_is_left_of_a_budget_is_in_the_refusal_and_beside_the_usage_alone(name: str) -> None:
    for status, answer in OPERATIONS[name]["responses"].items():
        is_refusal = status == "429" and DailyBudgetSpent in ENDPOINTS[name].refuses
        says_what_is_left = is_refusal or (name, status) == ("get_usage", "200")

        reported = {"RateLimit", "RateLimit-Policy"} & resolved(answer).get("headers", {}).keys()
        assert len(reported) == (2 if says_what_is_left else 0), status


def details_in(answer: Json) -> list[str]:
    schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
    kinds = schema.get("anyOf", [schema])
    return [text for kind in kinds for text in kind.get("properties", {}).get("detail", {}).get("enum", [])]


def test_a_change_of_one_object_can_be_made_conditional() -> None:
    for name, operation in OPERATIONS.items():
        taken = {resolved(each)["name"] for each in operation.get("parameters", ())}
        method = ENDPOINTS[name].method
        answers = operation["responses"]

        if name == "cancel_turn":
            continue  # a turn has no version
        assert ("If-Match" in taken) is (method in ("PUT", "PATCH", "DELETE")), name
        if "If-Match" in taken:
            assert "ETag" in resolved(answers["412"])["headers"]
        if method in ("PUT", "PATCH"):
            assert "ETag" in answers["200"]["headers"]


def test_a_post_can_be_made_once() -> None:
    for name, operation in OPERATIONS.items():
        taken = {resolved(each)["name"] for each in operation.get("parameters", ())}

        assert ("Idempotency-Key" in taken) is (ENDPOINTS[name].method == "POST"), name
        if "Idempotency-Key" in taken:
            assert "Retry-After" in resolved(operation["responses"]["409"])["headers"]
            assert "idempotency_key_reused" in details_in(resolved(operation["responses"]["422"]))


def test_a_turn_may_be_accepted_instead_of_answered() -> None:
    for name in ("run_session", "chat"):
        operation = OPERATIONS[name]

        assert "Prefer" in {resolved(each)["name"] for each in operation["parameters"]}
        assert operation["responses"]["202"]["headers"].keys() == {"Location", "x-request-id"}
        assert "get_turn" in operation["responses"]["202"]["links"]
        body = {
            "detail": "no_model_answered",
            "session_id": 1,
            "errors": [
                {
                    "session_model_id": 2,
                    "model_name": "echo",
                    "code": "throttled",
                    "detail": "too busy",
                    "reason": {"status": 429, "code": "rate_limit_exceeded"},
                }
            ],
        }
        assert problems(body, answer_schema(name, 502)) == []
        assert problems({"detail": "no_model_answered"}, answer_schema(name, 502)) != []


def test_links_lead_from_what_was_made_to_what_can_be_done_with_it() -> None:
    links = OPERATIONS["create_session"]["responses"]["201"]["links"]

    assert links["update_session"] == {
        "operationId": "update_session",
        "parameters": {"session_id": "$response.body#/session_id"},
    }
    assert {"get_settings", "add_model", "delete_session"} <= links.keys() <= OPERATIONS.keys()
    assert "add_response" in OPERATIONS["list_models"]["responses"]["200"]["links"]
