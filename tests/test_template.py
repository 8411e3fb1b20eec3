"""What template.yaml promises: who may do what, what it refuses to deploy, what it costs in resources."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from samtranslator.public.translator import ManagedPolicyLoader  # type: ignore[import-untyped]  # has no types
from samtranslator.translator.transform import transform  # type: ignore[import-untyped]  # has no types

from local.intrinsics import parse
from tests.roles import WITHOUT_RESOURCE
from tools import deploy
from tools.artefacts import BUDGETS

ROOT = Path(__file__).parent.parent
TEMPLATE = parse((ROOT / "template.yaml").read_text())
RESOURCES: Mapping[str, Any] = TEMPLATE["Resources"]
SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:token-AbCdEf"
ISSUER = "https://login.example.com"
SAFE = {"TokenSecretArn": SECRET, "TokenIssuer": ISSUER}
PROD = SAFE | {"Stage": "prod", "CorsOrigins": "https://learn.example.com"}


def of_type(kind: str) -> dict[str, Any]:
    return {name: r["Properties"] for name, r in RESOURCES.items() if r["Type"] == kind}


FUNCTIONS = of_type("AWS::Serverless::Function")
ROLES = of_type("AWS::IAM::Role")


def statements(policy: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for statement in policy["PolicyDocument"]["Statement"]:
        yield statement["Fn::If"][1] if "Fn::If" in statement else statement


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def refusals(parameters: Mapping[str, str]) -> list[str]:
    return deploy.refusals(TEMPLATE, parameters)


def test_the_stack_has_room_below_the_limit_of_500_resources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    document = parse((ROOT / "template.yaml").read_text())
    for resource in document["Resources"].values():
        for key in ("CodeUri", "ContentUri"):
            if key in resource.get("Properties", {}):
                resource["Properties"][key] = "s3://bucket/key"

    expanded = transform(document, SAFE, ManagedPolicyLoader(None))["Resources"]

    assert len(FUNCTIONS) < len(expanded) < 450


def test_every_function_has_one_folder_with_one_file() -> None:
    deployed = sorted(function["CodeUri"] for function in FUNCTIONS.values())
    written = sorted(f"functions/{path.parent.name}/" for path in ROOT.glob("functions/*/handler.py"))

    assert deployed == written
    for folder in deployed:
        assert [p.name for p in (ROOT / folder).iterdir() if p.name != "__pycache__"] == ["handler.py"]


def test_a_function_is_called_in_the_template_as_its_folder_is() -> None:
    for name, function in FUNCTIONS.items():
        words = re.findall("[A-Z][a-z]*", name)

        assert function["CodeUri"] == f"functions/{'_'.join(words).lower()}/"


def test_every_function_has_a_role_of_its_own() -> None:
    assert {name: function["Role"] for name, function in FUNCTIONS.items()} == {
        name: {"Fn::GetAtt": [f"{name}Role", "Arn"]} for name in FUNCTIONS
    }
    assert set(ROLES) == {f"{name}Role" for name in FUNCTIONS}


def test_no_policy_allows_every_action_or_every_resource() -> None:
    policies = [*of_type("AWS::IAM::ManagedPolicy").values(), *of_type("AWS::SQS::QueuePolicy").values()]
    policies += [policy for role in ROLES.values() for policy in role.get("Policies", [])]
    granted = [statement for policy in policies for statement in statements(policy)]

    assert len(granted) > len(ROLES)
    for statement in granted:
        assert not [action for action in as_list(statement["Action"]) if "*" in action]
        if statement["Resource"] == "*":
            assert set(as_list(statement["Action"])) <= WITHOUT_RESOURCE.keys()
            continue
        for resource in as_list(statement["Resource"]):
            assert isinstance(resource, dict), resource
            # The files of one bucket are named by user and job, so they can only be told by their bucket.
            assert "*" not in str(resource).replace("${TransfersBucket.Arn}/*", ""), resource


def test_the_table_is_reached_only_by_keys_of_named_families() -> None:
    policies = [*of_type("AWS::IAM::ManagedPolicy").values()]
    policies += [policy for role in ROLES.values() for policy in role.get("Policies", [])]
    table = str({"Fn::GetAtt": ["PracticeTable", "Arn"]})
    reaching = [
        statement
        for policy in policies
        for statement in statements(policy)
        if any(
            str(resource) == table or "/index/" in str(resource)
            for resource in as_list(statement["Resource"])
        )
    ]

    assert len(reaching) >= 22
    for statement in reaching:
        keys = statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]
        assert set(keys) <= {"USER#*", "CLASS#*", "AGENT#*", "IDS#*"}, statement
        assert keys, statement
        assert "dynamodb:Scan" not in as_list(statement["Action"])


def test_only_functions_that_ask_models_can_reach_providers() -> None:
    attached = {"Fn::If": ["HasProviders", {"Ref": "ModelPolicy"}, {"Ref": "AWS::NoValue"}]}
    reaching = {name for name, role in ROLES.items() if attached in role["ManagedPolicyArns"]}

    assert {"ChatRole", "RunSessionRole", "WorkTurnRole"} <= reaching
    assert not {name for name in reaching if name.startswith(("Get", "List", "Update", "Delete", "Create"))}


def test_only_functions_behind_a_token_can_read_its_secret() -> None:
    for name, function in FUNCTIONS.items():
        routes = [event["Properties"] for event in function["Events"].values() if event["Type"] == "HttpApi"]
        behind_token = any(route.get("Path", "").startswith("/user/practice") for route in routes)

        managed = [arn.get("Ref") for arn in ROLES[f"{name}Role"]["ManagedPolicyArns"]]
        assert ("CallerPolicy" in managed) is behind_token, name
        assert ("LogPolicy" in managed) is not behind_token, name


def test_the_table_is_backed_up_encrypted_and_kept() -> None:
    table = RESOURCES["PracticeTable"]
    properties = table["Properties"]

    assert (table["DeletionPolicy"], table["UpdateReplacePolicy"]) == ("Retain", "Retain")
    assert properties["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert properties["SSESpecification"]["SSEEnabled"] is True
    assert properties["StreamSpecification"] == {"StreamViewType": "NEW_AND_OLD_IMAGES"}
    assert properties["TimeToLiveSpecification"] == {"AttributeName": "ttl", "Enabled": True}
    assert TEMPLATE["Parameters"]["DeletionProtection"]["Default"] == "true"


def test_a_deployment_without_a_way_to_verify_tokens_is_refused() -> None:
    [refusal] = refusals({})

    assert refusal.startswith("Set TokenSecretArn or JwksUrl")
    assert refusals({"TokenSecretArn": SECRET}) == []
    assert refusals({"JwksUrl": f"{ISSUER}/jwks", "TokenIssuer": ISSUER}) == []


def test_a_key_set_without_an_issuer_is_refused() -> None:
    assert refusals({"JwksUrl": f"{ISSUER}/jwks"})


@pytest.mark.parametrize(
    "unsafe", [{"TokenIssuer": ""}, {"CorsOrigins": "*"}, {"DeletionProtection": "false"}], ids=str
)
def test_prod_is_refused_when_it_is_not_safe(unsafe: dict[str, str]) -> None:
    assert refusals(PROD) == []
    assert len(refusals(PROD | unsafe)) == 1


@pytest.mark.parametrize(
    ("origins", "accepted"),
    [
        ("*", True),
        ("https://learn.example.com", True),
        ("https://learn.example.com,http://localhost:5173", True),
        ("https://learn.example.com,*", False),
        ("https://*", False),
        ("https://learn.example.com/", False),
        ("learn.example.com", False),
        ("", False),
    ],
)
def test_origins_are_origins_or_the_star_alone(origins: str, accepted: bool) -> None:
    pattern = TEMPLATE["Parameters"]["CorsOrigins"]["AllowedPattern"]

    assert bool(re.fullmatch(pattern, origins)) is accepted


def test_a_browser_may_read_the_headers_that_the_contract_names() -> None:
    cors = RESOURCES["HttpApi"]["Properties"]["CorsConfiguration"]

    assert set(cors["ExposeHeaders"]) == {
        "ETag",
        "Location",
        "Retry-After",
        "RateLimit",
        "RateLimit-Policy",
        "x-request-id",
        "x-next-cursor",
    }
    assert set(cors["AllowHeaders"]) == {
        "Authorization",
        "Content-Type",
        "If-Match",
        "Idempotency-Key",
        "Prefer",
    }


def test_an_access_log_line_is_json() -> None:
    line = RESOURCES["HttpApi"]["Properties"]["AccessLogSettings"]["Format"]

    fields = json.loads(line)

    assert {"requestId", "route", "status", "latencyMs"} <= fields.keys()
    assert all(value.startswith("$context.") for value in fields.values())
    assert "\n" not in line


def test_every_log_group_forgets() -> None:
    groups = of_type("AWS::Logs::LogGroup")

    assert len(groups) == 2
    assert all(group["RetentionInDays"] == {"Ref": "LogRetentionDays"} for group in groups.values())
    assert TEMPLATE["Globals"]["Function"]["LoggingConfig"] == {"LogGroup": {"Ref": "FunctionLogs"}}


def test_every_layer_is_built_for_the_deploy_target_and_has_a_size_budget() -> None:
    layers = {name: r for name, r in RESOURCES.items() if r["Type"] == "AWS::Serverless::LayerVersion"}

    assert layers.keys() == BUDGETS.keys()
    for layer in layers.values():
        assert layer["Metadata"] == {
            "BuildMethod": "makefile",
            "BuildArchitecture": {"Ref": "LambdaArchitecture"},
        }
