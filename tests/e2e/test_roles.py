"""The roles as AWS would read them."""

from collections.abc import Mapping
from typing import Any

import pytest

from local.aws import secret_arn
from local.data import TOKEN_SECRET
from tests.e2e.roles import Roles
from tools.build import ROOT


@pytest.fixture
def roles() -> Roles:
    return Roles(ROOT / "template.yaml")


def query(pk: str, index: str | None = None) -> Mapping[str, Any]:
    condition = {"KeyConditionExpression": "pk = :pk", "ExpressionAttributeValues": {":pk": {"S": pk}}}
    return condition | ({"IndexName": index} if index else {})


def batch(*keys: str) -> Mapping[str, Any]:
    return {"RequestItems": {"table": {"Keys": [{"pk": {"S": pk}, "sk": {"S": "x"}} for pk in keys]}}}


def put(pk: str) -> Mapping[str, Any]:
    return {"Item": {"pk": {"S": pk}, "sk": {"S": "x"}}}


@pytest.mark.parametrize(
    ("function", "operation", "request_", "allowed"),
    [
        ("get_session", "dynamodb:Query", query("USER#7"), True),
        ("get_session", "dynamodb:Query", query("CLASS#1"), False),
        ("get_session", "dynamodb:Query", query("USER#7", "by_created"), False),
        ("get_session", "dynamodb:PutItem", put("USER#7"), False),
        ("list_sessions", "dynamodb:Query", query("USER#7", "by_created"), True),
        ("list_responses", "dynamodb:Query", query("USER#7", "by_model"), True),
        ("list_responses", "dynamodb:Query", query("USER#7"), False),
        ("add_model", "dynamodb:BatchGetItem", batch("USER#7", "CLASS#1"), True),
        ("add_model", "dynamodb:BatchGetItem", batch("USER#7", "AGENT#1"), False),
        ("get_session", "dynamodb:BatchGetItem", batch("USER#7", "CLASS#1"), False),
        ("create_session", "dynamodb:TransactWriteItems", {"TransactItems": [{"Put": put("USER#7")}]}, True),
        (
            "create_session",
            "dynamodb:TransactWriteItems",
            {"TransactItems": [{"Put": put("USER#7")}, {"Put": put("CLASS#1")}]},
            False,
        ),
        ("update_catalogue", "dynamodb:PutItem", put("CLASS#1"), True),
        ("update_catalogue", "dynamodb:PutItem", put("USER#1"), False),
        ("get_session", "secretsmanager:GetSecretValue", {"SecretId": secret_arn(TOKEN_SECRET)}, True),
        ("openapi", "secretsmanager:GetSecretValue", {"SecretId": secret_arn(TOKEN_SECRET)}, False),
        ("get_session", "secretsmanager:GetSecretValue", {"SecretId": secret_arn("other")}, False),
    ],
)
def test_a_role_allows_its_function_alone(
    roles: Roles, function: str, operation: str, request_: Mapping[str, Any], allowed: bool
) -> None:
    assert roles.allow(function, operation, request_) is allowed
    assert len(roles.refused) == (0 if allowed else 1)


def test_no_function_may_scan(roles: Roles) -> None:
    functions = [path.parent.name for path in ROOT.glob("functions/*/handler.py")]

    assert functions
    assert not any(roles.allow(function, "dynamodb:Scan", {}) for function in functions)


def test_a_grant_that_no_request_needed_is_told(roles: Roles) -> None:
    grant = "get_settings: dynamodb:BatchGetItem on PracticeTable USER#*"

    assert grant in roles.unused()
    assert roles.allow("get_settings", "dynamodb:BatchGetItem", batch("USER#7"))
    assert grant not in roles.unused()
