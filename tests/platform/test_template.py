"""What template.yaml promises: who may do what, how it goes out, what it refuses to deploy, what it costs in resources."""

import json
import re
import subprocess
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from local.intrinsics import Evaluator, parse
from tests.support.roles import WITHOUT_RESOURCE
from tools import deploy
from tools.artefacts import BUDGETS
from tools.expansion import deployed, grants
from tools.expansion import expand as expanded_by_sam

ROOT = Path(__file__).parents[2]
TEMPLATE = parse((ROOT / "template.yaml").read_text())
RESOURCES: Mapping[str, Any] = TEMPLATE["Resources"]
SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:token-AbCdEf"
ISSUER = "https://login.example.com"
SAFE = {"TokenSecretArn": SECRET, "TokenIssuer": ISSUER}
PROD = SAFE | {"Stage": "prod", "CorsOrigins": "https://learn.example.com"}
CANARY = {"DeploymentPreference": "Canary10Percent5Minutes"}
DOMAIN = {
    "DomainName": "api.example.com",
    "CertificateArn": "arn:aws:acm:eu-central-1:123456789012:certificate/1-2",
}
EVERYTHING = (
    PROD
    | CANARY
    | DOMAIN
    | {
        "JwksUrl": f"{ISSUER}/jwks",
        "HostedZoneId": "Z123",
        "KmsKeyArn": "arn:aws:kms:eu-central-1:123456789012:key/1-2",
        "AlarmTopicArn": "arn:aws:sns:eu-central-1:123456789012:pager",
        "ProvisionedConcurrency": "5",
    }
)


def of_type(kind: str) -> dict[str, Any]:
    return {name: r["Properties"] for name, r in RESOURCES.items() if r["Type"] == kind}


FUNCTIONS = of_type("AWS::Serverless::Function")
GRANTS: Mapping[str, Any] = parse((ROOT / "stacks" / "grants.yaml").read_text())["Resources"]
ROLES: Mapping[str, Any] = {
    name: resource["Properties"]
    for name, resource in expanded_by_sam((ROOT / "template.yaml").read_text(), SAFE)["Resources"].items()
    if resource["Type"] == "AWS::IAM::Role"
}
POLICIES = [
    *(
        each["Properties"]
        for name, each in (*RESOURCES.items(), *GRANTS.items())
        if each["Type"] == "AWS::IAM::ManagedPolicy" and name != "FunctionBoundary"
    ),
    *(policy for role in ROLES.values() for policy in role.get("Policies", [])),
]


def statements(policy: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for statement in policy["PolicyDocument"]["Statement"]:
        yield statement["Fn::If"][1] if "Fn::If" in statement else statement


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def refusals(parameters: Mapping[str, str]) -> list[str]:
    return deploy.refusals(TEMPLATE, parameters)


Expand = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def expand() -> Expand:
    """The resources that SAM makes of the template, when what was uploaded lies under these names."""

    text = (ROOT / "template.yaml").read_text()

    def expand(parameters: Mapping[str, str], **uploaded: str) -> dict[str, Any]:
        resources: dict[str, Any] = expanded_by_sam(text, parameters, uploaded)["Resources"]
        return resources

    return expand


def expanded_of_type(kind: str, expanded: Mapping[str, Any]) -> dict[str, Any]:
    return {name: r["Properties"] for name, r in expanded.items() if r["Type"] == kind}


@pytest.mark.parametrize("parameters", [SAFE, EVERYTHING], ids=["least", "everything"])
def test_the_stack_has_room_below_the_limits_of_cloudformation(
    expand: Expand, parameters: Mapping[str, str]
) -> None:
    """500 resources; a template of 1 MB that is uploaded, and the same of what SAM makes of it."""
    expanded = expand(parameters)

    assert len(FUNCTIONS) < len(expanded) < 450
    assert len((ROOT / "template.yaml").read_bytes()) < 500_000
    assert len(json.dumps(expanded)) < 500_000
    # A template above 51,200 bytes is not sent but uploaded, and every way to deploy must know where to.
    stages = tomllib.loads((ROOT / "samconfig.toml").read_text())
    assert [stages[name]["deploy"]["parameters"]["resolve_s3"] for name in ("default", "dev", "prod")] == [
        True
    ] * 3


def test_a_function_takes_at_most_34_lines_of_the_template() -> None:
    assert len((ROOT / "template.yaml").read_text().splitlines()) <= 34 * len(FUNCTIONS)


def test_whatever_calls_a_function_calls_its_alias(expand: Expand) -> None:
    expanded = expand(SAFE)

    for name in FUNCTIONS:
        alias = expanded[f"{name}Aliaslive"]["Properties"]
        assert alias["FunctionVersion"]["Fn::GetAtt"][0].startswith(f"{name}Version")
    whole = deployed(SAFE).resources
    sources = expanded_of_type("AWS::Lambda::EventSourceMapping", whole)
    permissions = expanded_of_type("AWS::Lambda::Permission", whole)
    called = [each["FunctionName"] for each in (*sources.values(), *permissions.values())]
    assert sorted(called) == sorted(f"{name}Aliaslive" for name in FUNCTIONS)
    integrations = re.findall(r"functions/\$\{(\w+)\}/invocations", json.dumps(expanded["HttpApi"]))
    assert sorted(integrations) == sorted(
        f"{name}Aliaslive"
        for name, function in FUNCTIONS.items()
        if any(event["Type"] == "HttpApi" for event in function.get("Events", {}).values())
    )
    retried = expanded_of_type("AWS::Lambda::EventInvokeConfig", expanded)
    assert len(retried) == 3
    assert {each["Qualifier"] for each in retried.values()} == {"live"}
    for rule in expanded_of_type("AWS::Events::Rule", expanded).values():
        assert [target["Arn"]["Ref"].endswith("Aliaslive") for target in rule["Targets"]] == [True]


def test_every_function_is_shifted_and_goes_back_when_an_alarm_rings(expand: Expand) -> None:
    expanded = expand(PROD | CANARY)
    groups = expanded_of_type("AWS::CodeDeploy::DeploymentGroup", expanded)

    assert groups.keys() == {f"{name}DeploymentGroup" for name in FUNCTIONS}
    for name in FUNCTIONS:
        group = groups[f"{name}DeploymentGroup"]
        assert group["ServiceRoleArn"] == {"Fn::GetAtt": ["Grants", "Outputs.DeploymentRole"]}
        assert {"DEPLOYMENT_FAILURE", "DEPLOYMENT_STOP_ON_ALARM"} <= set(
            group["AutoRollbackConfiguration"]["Events"]
        )
        assert "Canary10Percent5Minutes" in json.dumps(group["DeploymentConfigName"])
        condition, shifted, at_once = group["AlarmConfiguration"]["Fn::If"]
        assert (condition, at_once) == ("IsShifted", {})
        alarms = [expanded[alarm]["Properties"] for alarm in ("ServerErrorsAlarm", "LatencyAlarm")]
        assert shifted == {"Enabled": True, "Alarms": [{"Name": alarm["AlarmName"]} for alarm in alarms]}
        policy = expanded[f"{name}Aliaslive"]["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"]
        assert policy["DeploymentGroupName"] == {"Ref": f"{name}DeploymentGroup"}
    assert "CodeDeployServiceRole" not in expanded


def named_in(value: Any) -> Iterator[str]:
    """The resources that a value refers to, as CloudFormation reads it."""
    if isinstance(value, list):
        for each in value:
            yield from named_in(each)
    elif isinstance(value, dict):
        for name, each in value.items():
            if name in ("Ref", "DependsOn"):
                yield from as_list(each)
            elif name == "Fn::GetAtt":
                yield each[0] if isinstance(each, list) else each.partition(".")[0]
            elif name == "Fn::Sub":
                yield from re.findall(r"\$\{([A-Za-z0-9]+)", as_list(each)[0])
                yield from named_in(as_list(each)[1:])
            else:
                yield from named_in(each)


@pytest.mark.parametrize("parameters", [SAFE, EVERYTHING, PROD | CANARY], ids=["least", "all", "canary"])
def test_no_resource_waits_for_itself(expand: Expand, parameters: Mapping[str, str]) -> None:
    """Of functions, aliases, alarms and the API each needs another; the linter does not follow what SAM makes."""
    expanded = expand(parameters)
    waits = {name: {*named_in(each)} & expanded.keys() for name, each in expanded.items()}

    while ready := {name for name, others in waits.items() if not others}:
        waits = {name: others - ready for name, others in waits.items() if name not in ready}

    assert waits == {}


def test_what_is_shifted_waits_for_no_alarm_when_it_goes_at_once() -> None:
    def condition(name: str, parameters: Mapping[str, str]) -> bool:
        return Evaluator(TEMPLATE, parameters, str, lambda name, _: name).condition(name)

    assert condition("IsShifted", PROD | CANARY)
    assert not condition("IsShifted", PROD)
    assert not condition("HasProvisionedConcurrency", PROD)
    assert condition("HasProvisionedConcurrency", EVERYTHING)
    assert condition("HasHostedZone", EVERYTHING)
    assert not condition("HasHostedZone", PROD | DOMAIN)


def versions(expanded: Mapping[str, Any]) -> set[str]:
    return set(expanded_of_type("AWS::Lambda::Version", expanded))


def test_a_new_layer_code_or_release_publishes_versions_and_nothing_else_does(expand: Expand) -> None:
    """A function whose handler stayed the same would otherwise go on with the package of yesterday."""
    before = versions(expand(SAFE))

    assert len(before) == len(FUNCTIONS)
    assert versions(expand(SAFE)) == before
    for layer in ("PracticeLayer", "DependenciesLayer"):
        assert not versions(expand(SAFE, **{layer: "another"})) & before
    changed = before - versions(expand(SAFE, GetSession="another"))
    assert [re.sub("Version.*", "", name) for name in changed] == ["GetSession"]
    first, second = (versions(expand(SAFE | {"Release": release})) for release in ("a" * 20, "b" * 20))
    assert not first & second
    # SAM sees neither: `make deploy` names a Release.
    assert versions(expand(SAFE | {"LogLevel": "DEBUG"})) == before
    assert versions(expand(SAFE, CryptographyLayer="another")) == before


def test_a_new_lock_of_the_layer_behind_a_condition_makes_a_new_layer_of_the_package(tmp_path: Path) -> None:
    command = [
        "make",
        "-C",
        str(ROOT / "layers"),
        "build-PracticeLayer",
        f"ARTIFACTS_DIR={tmp_path}",
        "PYTHON_VERSION=0",
        "RELEASE=",
    ]
    subprocess.run(command, check=True, capture_output=True)

    lock = (ROOT / "layers/cryptography/requirements.txt").read_text()
    assert (tmp_path / "python/practice/cryptography.txt").read_text() == lock
    assert (tmp_path / "python/practice/http/endpoint.py").exists()


def test_a_version_that_a_rollback_may_need_is_kept_with_its_layers(expand: Expand) -> None:
    kept = [
        r for r in expand(SAFE).values() if r["Type"] in ("AWS::Lambda::Version", "AWS::Lambda::LayerVersion")
    ]

    assert len(kept) == len(FUNCTIONS) + 3
    assert {resource["DeletionPolicy"] for resource in kept} == {"Retain"}


def test_a_snapshot_is_taken_of_every_function_when_they_are_asked_for(expand: Expand) -> None:
    functions = expanded_of_type("AWS::Lambda::Function", expand(SAFE))

    assert TEMPLATE["Parameters"]["SnapStart"]["Default"] == "None"
    assert functions.keys() == FUNCTIONS.keys()
    for function in functions.values():
        assert function["SnapStart"] == {"ApplyOn": {"Ref": "SnapStart"}}


def test_your_key_encrypts_all_that_is_kept_and_those_who_reach_it_may_use_it() -> None:
    key = {"Fn::If": ["HasKmsKey", {"Ref": "KmsKeyArn"}, {"Ref": "AWS::NoValue"}]}
    queues = of_type("AWS::SQS::Queue")
    bucket = RESOURCES["TransfersBucket"]["Properties"]["BucketEncryption"]

    assert RESOURCES["PracticeTable"]["Properties"]["SSESpecification"]["KMSMasterKeyId"] == key
    assert len(queues) > 10
    assert [queue["KmsMasterKeyId"] for queue in queues.values()] == [key] * len(queues)
    assert {name: s["KmsKeyId"] for name, s in of_type("AWS::SecretsManager::Secret").items()} == {
        "CursorSecret": key
    }
    assert [
        rule["ServerSideEncryptionByDefault"]["KMSMasterKeyID"]
        for rule in bucket["ServerSideEncryptionConfiguration"]
    ] == [key]

    resources = deployed(EVERYTHING).resources
    through = "['dynamodb.us-east-1', 's3.us-east-1', 'secretsmanager.us-east-1', 'sqs.us-east-1']"
    for role in ROLES:
        granted = grants(role, resources)
        with_key = {grant for grant in granted if grant.action.startswith("kms:")}
        reaches_data = any(not grant.action.startswith(("kms:", "logs:")) for grant in granted)

        assert {grant.action for grant in with_key} == (
            {"kms:Decrypt", "kms:GenerateDataKey"} if reaches_data else set()
        ), role
        for grant in with_key:
            assert grant.resource == EVERYTHING["KmsKeyArn"]
            assert through in grant.condition.replace(".amazonaws.com", "")


@pytest.mark.parametrize(
    ("name", "metrics", "threshold", "page"),
    [
        ("ServerErrorsAlarm", {"5xx", "Count"}, "ServerErrorPercent", "server-errors"),
        ("LatencyAlarm", {"Latency"}, "LatencyMilliseconds", "latency"),
    ],
)
def test_the_alarms_that_stop_a_deployment_watch_the_whole_api(
    name: str, metrics: set[str], threshold: str, page: str
) -> None:
    alarm = RESOURCES[name]["Properties"]
    watched = [each["MetricStat"]["Metric"] for each in alarm.get("Metrics", []) if "MetricStat" in each]
    watched = watched or [alarm]

    assert {metric["MetricName"] for metric in watched} == metrics
    for metric in watched:
        assert metric["Namespace"] == "AWS/ApiGateway"
        assert metric["Dimensions"] == [{"Name": "ApiId", "Value": {"Ref": "HttpApi"}}]
    assert alarm["Threshold"] == {"Ref": threshold}
    assert alarm["AlarmDescription"].endswith(f"See docs/runbook.md#{page}")


def test_a_domain_of_your_own_leads_to_the_api(expand: Expand) -> None:
    expanded = expand(EVERYTHING)
    named = {name: r for name, r in expanded.items() if name.startswith("Domain")}

    assert {name: r["Condition"] for name, r in named.items()} == {
        "Domain": "HasDomain",
        "DomainMapping": "HasDomain",
        "DomainRecord": "HasHostedZone",
    }
    mapping = named["DomainMapping"]["Properties"]
    assert expanded[mapping["Stage"]["Ref"]]["Type"] == "AWS::ApiGatewayV2::Stage"
    assert mapping["ApiId"] == {"Ref": "HttpApi"}
    assert mapping["DomainName"] == {"Ref": "Domain"}
    [configuration] = named["Domain"]["Properties"]["DomainNameConfigurations"]
    assert configuration["SecurityPolicy"] == "TLS_1_2"


def test_the_outputs_name_what_a_client_and_its_operator_need() -> None:
    outputs = TEMPLATE["Outputs"]
    dead_letters = [name for name in of_type("AWS::SQS::Queue") if name.endswith("DeadLetters")]

    assert {"ApiUrl", "DomainUrl", "TableName", "EventBusName", "IngestionQueueUrl"} <= outputs.keys()
    assert {name: outputs[f"{name}Url"]["Value"] for name in dead_letters} == {
        name: {"Ref": name} for name in dead_letters
    }
    assert all(output["Description"].endswith(".") for output in outputs.values())


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


def test_every_function_has_a_role_of_its_own(expand: Expand) -> None:
    functions = expanded_of_type("AWS::Lambda::Function", expand(SAFE))

    assert {name: function["Role"] for name, function in functions.items()} == {
        name: {"Fn::GetAtt": [f"{name}Role", "Arn"]} for name in FUNCTIONS
    }
    assert set(ROLES) == {f"{name}Role" for name in FUNCTIONS}


def test_no_policy_allows_every_action_or_every_resource() -> None:
    policies = [*POLICIES, *of_type("AWS::SQS::QueuePolicy").values()]
    granted = [statement for policy in policies for statement in statements(policy)]

    assert len(granted) > len(ROLES)
    for statement in granted:
        assert not [action for action in as_list(statement["Action"]) if "*" in action]
        if statement["Resource"] == "*":
            assert set(as_list(statement["Action"])) <= WITHOUT_RESOURCE.keys()
            continue
        for resource in as_list(statement["Resource"]):
            assert isinstance(resource, dict), resource
            # Files and connections have names that are not known before, so only their bucket or API can be named.
            named = re.sub(r"(\$\{TransfersBucket.Arn\}|/@connections)/\*", "", str(resource))
            assert "*" not in named, resource


def test_the_table_is_reached_only_by_keys_of_named_families() -> None:
    table = {str({"Fn::GetAtt": ["PracticeTable", "Arn"]}), str({"Ref": "TableArn"})}
    reaching = [
        statement
        for policy in POLICIES
        for statement in statements(policy)
        if any(
            str(resource) in table or "/index/" in str(resource)
            for resource in as_list(statement["Resource"])
        )
    ]

    assert len(reaching) >= 22
    for statement in reaching:
        keys = statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]
        families = {"USER#*", "CLASS#*", "AGENT#*", "IDS#*", "CONNECTION#*", "STANDINGS#*"}
        assert set(keys) <= families, statement
        assert keys, statement
        assert "dynamodb:Scan" not in as_list(statement["Action"])


def test_only_functions_that_ask_models_can_reach_providers() -> None:
    model = {"Fn::GetAtt": ["Grants", "Outputs.Model"]}
    attached = {"Fn::If": ["HasProviders", model, {"Ref": "AWS::NoValue"}]}
    reaching = {name for name, role in ROLES.items() if attached in role["ManagedPolicyArns"]}

    assert {"ChatRole", "RunSessionRole", "WorkTurnRole"} <= reaching
    assert not {name for name in reaching if name.startswith(("Get", "List", "Update", "Delete", "Create"))}


def test_the_table_is_backed_up_encrypted_and_kept() -> None:
    table = RESOURCES["PracticeTable"]
    properties = table["Properties"]

    assert (table["DeletionPolicy"], table["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
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
    assert refusals(SAFE | unsafe) == []


@pytest.mark.parametrize(
    ("impossible", "named"),
    [
        ({"DomainName": "api.example.com"}, "CertificateArn"),
        ({"CertificateArn": DOMAIN["CertificateArn"]}, "DomainName"),
        ({"HostedZoneId": "Z123"}, "DomainName"),
        ({"SnapStart": "PublishedVersions", "ProvisionedConcurrency": "1"}, "ProvisionedConcurrency"),
        ({"SnapStart": "PublishedVersions", "LambdaRuntime": "python3.11"}, "python3.12"),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_refused(impossible: dict[str, str], named: str) -> None:
    [refusal] = refusals(SAFE | impossible)

    assert named in refusal
    assert refusals(EVERYTHING) == []
    assert refusals(SAFE | {"SnapStart": "PublishedVersions"}) == []


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("JwksUrl", ["http://login.example.com/jwks"]),
        ("TokenSecretArn", ["the secret itself"]),
        ("CorsOrigins", ["https://learn.example.com,*"]),
        ("DomainName", ["https://api.example.com", "api.example.com/", "localhost"]),
        ("Release", ["v1", "abc", "ABCDEF0123456789"]),
        ("SnapStart", ["on"]),
        ("ProvisionedConcurrency", ["-1", "many"]),
        ("DeploymentPreference", ["Canary50Percent1Minute"]),
        ("DeletionProtection", ["no"]),
    ],
)
def test_a_value_that_a_parameter_does_not_allow_is_refused(name: str, values: list[str]) -> None:
    for value in values:
        [refusal] = refusals(SAFE | {name: value})
        assert refusal.startswith(f"{name} cannot be {value!r}")


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


@pytest.mark.parametrize("parameters", [SAFE, PROD, EVERYTHING], ids=["dev", "prod", "everything"])
def test_a_browser_may_call_the_api_as_the_contract_says(parameters: dict[str, str]) -> None:
    """In what SAM makes of the template: it lost all but the origins of a CorsConfiguration with `!Split` in it."""
    api = deployed(parameters).resources["HttpApi"]["Properties"]
    cors = api["Body"]["x-amazon-apigateway-cors"]

    assert "CorsConfiguration" not in api
    assert cors["allowOrigins"] == parameters.get("CorsOrigins", "*").split(",")
    assert cors["allowMethods"] == ["GET", "POST", "PUT", "PATCH", "DELETE"]
    assert cors["maxAge"] == 600
    assert set(cors["exposeHeaders"]) == {
        "ETag",
        "Location",
        "Retry-After",
        "RateLimit",
        "RateLimit-Policy",
        "x-request-id",
        "x-next-cursor",
    }
    assert set(cors["allowHeaders"]) == {
        "Authorization",
        "Content-Type",
        "If-Match",
        "If-None-Match",
        "Idempotency-Key",
        "Prefer",
    }


@pytest.mark.parametrize("parameters", [SAFE, PROD, EVERYTHING], ids=["dev", "prod", "everything"])
def test_sam_loses_no_property_of_a_function(parameters: dict[str, str]) -> None:
    made = deployed(parameters).resources

    for name, function in FUNCTIONS.items():
        properties = made[name]["Properties"]
        assert properties.get("RecursiveLoop") == function.get("RecursiveLoop"), name
        assert properties.get("Timeout") == function.get("Timeout", 15), name
        own = {*TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]}
        own |= {*function.get("Environment", {}).get("Variables", {})}
        assert properties["Environment"]["Variables"].keys() == own, name


@pytest.mark.parametrize("parameters", [SAFE, EVERYTHING], ids=["dev", "everything"])
def test_routes_triggers_and_permissions_go_to_the_alias(parameters: dict[str, str]) -> None:
    made = deployed(parameters).resources
    routes = [
        operation
        for path in made["HttpApi"]["Properties"]["Body"]["paths"].values()
        for operation in path.values()
    ]
    uris = [each["x-amazon-apigateway-integration"]["uri"] for each in routes]
    live = [
        each["Properties"]["IntegrationUri"]
        for each in made.values()
        if each["Type"] == "AWS::ApiGatewayV2::Integration"
    ]
    called = [
        *(
            each["Properties"]["FunctionName"]
            for each in made.values()
            if each["Type"] == "AWS::Lambda::Permission"
        ),
        *(
            each["Properties"]["FunctionName"]
            for each in made.values()
            if each["Type"] == "AWS::Lambda::EventSourceMapping"
        ),
    ]

    assert len(routes) == sum(
        event["Type"] == "HttpApi" for each in FUNCTIONS.values() for event in each.get("Events", {}).values()
    )
    assert len(live) == 7
    assert all(re.search(r"functions/\w+Aliaslive/invocations$", uri) for uri in (*uris, *live))
    assert all(str(name).endswith("Aliaslive") for name in called)


LONGEST_STACK = "s" * 30
ENTRY = '"claude-3-haiku-20240307":{"provider":"bedrock","id":"anthropic.claude-3-haiku-20240307-v1:0"},'
AWS_NAMES = {
    "AWS::SQS::Queue": f"https://sqs.ap-southeast-1.amazonaws.com/123456789012/{LONGEST_STACK}-CatalogueDeadLetters-0123456789ab",
    "AWS::SecretsManager::Secret": f"arn:aws:secretsmanager:ap-southeast-1:123456789012:secret:{LONGEST_STACK}-{'0' * 19}",
    "AWS::DynamoDB::Table": f"{LONGEST_STACK}-PracticeTable-0123456789ABC",
    "AWS::S3::Bucket": "b" * 63,
}
LONGEST_PATTERN = {"Stage": 16, "KnowledgeBaseId": 10, "EventBusName": 60}
"""Characters that the parameter's pattern allows; of a bus, what a name may reasonably have."""


def longest(name: str, parameter: Mapping[str, Any]) -> str:
    if allowed := parameter.get("AllowedValues"):
        return max(map(str, allowed), key=len)
    if name == "Models":
        return (ENTRY * 40)[: parameter["MaxLength"]]
    if name in ("TokenLeewaySeconds", "UserRequestsPerMinute", "HistoryTokens"):
        return "1000000"
    size = parameter.get("MaxLength") or LONGEST_PATTERN.get(name)
    return "x" * size if size else str(parameter["Default"])


def test_the_variables_of_every_function_fit_at_the_limit_of_every_parameter() -> None:
    """Lambda measures them as JSON, with its escapes, and takes 4 KB: with a longer `Models` no function was updated."""
    given = {name: longest(name, each) for name, each in TEMPLATE["Parameters"].items()}
    document = expanded_by_sam((ROOT / "template.yaml").read_text(), given)
    kinds = {name: each["Type"] for name, each in document["Resources"].items()}
    value = Evaluator(document, given, lambda name: AWS_NAMES.get(kinds[name], name), lambda name, _: name)

    in_use = {
        name: len(json.dumps(value(each["Properties"]["Environment"]["Variables"]), separators=(",", ":")))
        for name, each in document["Resources"].items()
        if each["Type"] == "AWS::Lambda::Function"
    }
    variables = json.dumps(
        [
            each["Environment"]
            for each in (TEMPLATE["Globals"]["Function"], *FUNCTIONS.values())
            if "Environment" in each
        ]
    )
    referred = {name for name in given if f'"Ref": "{name}"' in variables}
    unbounded = referred - {
        name
        for name, each in TEMPLATE["Parameters"].items()
        if each.keys() & {"MaxLength", "AllowedValues", "AllowedPattern", "MaxValue"}
    }

    assert {name: size for name, size in in_use.items() if size > 4096} == {}
    assert unbounded == set()


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
