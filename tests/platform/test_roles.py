"""The roles as AWS would read them."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from local.aws import secret_arn
from local.data import TOKEN_SECRET
from local.intrinsics import REGION
from tests.support.recording import WHOLE
from tests.support.roles import POLLED, WITHOUT_RESOURCE, Call, Grant, Roles, Use
from tools.build import ROOT


@pytest.fixture(scope="module")
def roles() -> Roles:
    return Roles(ROOT / "template.yaml")


def call(operation: str, request: Mapping[str, Any]) -> Call:
    """As a client of the AWS JSON protocols sends it."""
    service, _, action = operation.partition(":")
    scope = f"AWS4-HMAC-SHA256 Credential=local/20260101/{REGION}/{service}/aws4_request, SignedHeaders=host"
    headers = {"authorization": scope, "x-amz-target": f"Service.{action}"}
    return Call("POST", "http://127.0.0.1/", headers, json.dumps(request).encode())


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
    uses = roles.uses(call(operation, request_))

    assert uses
    assert (not roles.refused(function, uses)) is allowed


@pytest.mark.parametrize(
    ("method", "path", "needed"),
    [
        ("GET", "/bucket/7/1.ndjson", Use("s3:GetObject", "TransfersBucket/*")),
        ("HEAD", "/bucket/7/1.ndjson", Use("s3:GetObject", "TransfersBucket/*")),
        ("PUT", "/bucket/7/1.ndjson", Use("s3:PutObject", "TransfersBucket/*")),
        ("POST", "/bucket/7/1.ndjson?uploads", Use("s3:PutObject", "TransfersBucket/*")),
        ("DELETE", "/bucket/7/1.ndjson?uploadId=a", Use("s3:AbortMultipartUpload", "TransfersBucket/*")),
        ("DELETE", "/bucket/7/1.ndjson", Use("s3:DeleteObject", "TransfersBucket/*")),
        ("GET", "/bucket?list-type=2&prefix=7%2F", Use("s3:ListBucket", "TransfersBucket")),
    ],
)
@pytest.mark.parametrize("presigned", [False, True])
def test_a_request_for_a_file_needs_one_right(
    roles: Roles, method: str, path: str, needed: Use, presigned: bool
) -> None:
    credential = f"get_export/20260101/{REGION}/s3/aws4_request"
    url = f"http://127.0.0.1/_local/aws/s3{path.replace('bucket', 'practice-local-transfersbucket')}"
    headers = {"authorization": f"AWS4-HMAC-SHA256 Credential={credential}"}
    if presigned:
        url += f"{'&' if '?' in url else '?'}X-Amz-Credential={credential.replace('/', '%2F')}"
        headers = {}
    request = Call(method, url, headers, b"")

    assert request.signature == ("get_export", "s3")
    assert roles.uses(request) == [needed]


def test_no_function_may_scan(roles: Roles) -> None:
    scan = roles.uses(call("dynamodb:Scan", {}))

    assert all(roles.refused(function, scan) for function in roles.statements)


def test_what_a_condition_on_keys_guards_are_requests_with_keys(roles: Roles) -> None:
    # ForAllValues holds for a request without keys, too: a Scan, a statement of PartiQL.
    with_keys = {
        "BatchGetItem",
        "BatchWriteItem",
        "ConditionCheckItem",
        "DeleteItem",
        "PutItem",
        "Query",
        "UpdateItem",
    }
    granted = {
        grant.action.removeprefix("dynamodb:")
        for statements in roles.statements.values()
        for statement in statements
        for grant in statement.grants()
        if grant.resource.startswith("PracticeTable") and "StreamArn" not in grant.resource
    }

    assert granted == with_keys


def test_actions_on_every_resource_are_those_that_know_none(roles: Roles) -> None:
    granted = {
        grant.action
        for statements in roles.statements.values()
        for statement in statements
        for grant in statement.grants()
        if grant.resource == "*"
    }

    assert granted == WITHOUT_RESOURCE.keys()


def test_lambda_may_read_the_sources_of_a_function_and_no_others(roles: Roles) -> None:
    polling = {action for actions in POLLED.values() for action, _ in actions}

    for function, statements in roles.statements.items():
        granted = {
            Use(grant.action, grant.resource)
            for statement in statements
            for grant in statement.grants()
            if grant.action in polling
        }
        assert granted == {use for use in roles.standing[function] if use.action in polling}, function


def test_a_grant_that_no_request_needs_is_reported(roles: Roles) -> None:
    grant = Grant("dynamodb:BatchGetItem", "PracticeTable", "USER#*")
    classes = roles.uses(call("dynamodb:BatchGetItem", batch("CLASS#1")))
    own = roles.uses(call("dynamodb:BatchGetItem", batch("USER#7")))

    assert grant in roles.unneeded("get_settings", classes)
    assert grant not in roles.unneeded("get_settings", own)


def test_the_whole_suite_is_what_make_test_runs() -> None:
    assert f'-m "{WHOLE}"' in (ROOT / "Makefile").read_text()


def test_what_lambda_does_in_a_functions_name_is_needed(roles: Roles) -> None:
    reported = {grant.action for grant in roles.unneeded("stream_changes", [])}

    assert "dynamodb:BatchGetItem" in reported
    assert not reported & {"logs:PutLogEvents", "dynamodb:GetRecords", "dynamodb:ListStreams"}
