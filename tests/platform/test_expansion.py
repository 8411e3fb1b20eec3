"""What is deployed of a template, what its roles allow, and how two templates are compared."""

from collections.abc import Callable
from typing import Any

import pytest

from tools.compare_templates import OPTIONS, SETS, differences
from tools.expansion import Deployed, Grant, deployed, grants, repeated

NESTED = """
Parameters: {QueueName: {Type: String}}
Conditions: {IsLong: !Equals [!Ref QueueName, Letters.QueueName]}
Resources:
  Lag:
    Type: AWS::CloudWatch::Alarm
    Condition: IsLong
    Properties: {AlarmDescription: Slow., Threshold: 5, Dimensions: [{Name: QueueName, Value: !Ref QueueName}]}
"""
TEMPLATE = """
Transform: AWS::Serverless-2016-10-31
Resources:
  Logs: {Type: AWS::Logs::LogGroup}
  Letters: {Type: AWS::SQS::Queue}
  Boundary:
    Type: AWS::IAM::ManagedPolicy
    Properties:
      PolicyDocument:
        Statement:
          - {Effect: Allow, Action: logs:PutLogEvents, Resource: !GetAtt Logs.Arn}
          - {Effect: Allow, Action: ["sqs:*"], Resource: "*"}
  Send:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/send/
      Handler: handler.lambda_handler
      Runtime: python3.13
      PermissionsBoundary: !Ref Boundary
      Policies:
        - Statement:
            - {Effect: Allow, Action: [sqs:SendMessage], Resource: !GetAtt Letters.Arn}
            - {Effect: Allow, Action: iam:PassRole, Resource: "*"}
  Watch:
    Type: AWS::CloudFormation::Stack
    Properties: {TemplateURL: stacks/watch.yaml, Parameters: {QueueName: !GetAtt Letters.QueueName}}
"""


def of(template: str = TEMPLATE, nested: str = NESTED) -> Deployed:
    return deployed({}, {"template.yaml": template, "stacks/watch.yaml": nested}.__getitem__)


def test_a_nested_stack_is_unfolded_with_the_values_it_is_given() -> None:
    whole = of()

    assert whole.stack_of == {"Lag": "Watch"}
    assert whole.resources["Lag"]["Properties"]["Dimensions"] == [
        {"Name": "QueueName", "Value": "Letters.QueueName"}
    ]


def test_an_output_of_a_nested_stack_has_the_value_that_the_stack_gives_it() -> None:
    outer = TEMPLATE.replace(
        "Resources:", "Outputs: {Watched: {Value: !GetAtt Watch.Outputs.Queue}}\nResources:", 1
    )

    whole = of(outer, NESTED + "Outputs: {Queue: {Value: !Ref QueueName}}\n")

    assert whole.outputs == {"Watched": "Letters.QueueName"}


def test_a_role_allows_what_its_policies_and_its_boundary_both_allow() -> None:
    """SAM attaches logs:* of every group; iam:PassRole is not within the boundary."""
    assert set(grants("SendRole", of().resources)) == {
        Grant("logs:PutLogEvents", "Logs.Arn"),
        Grant("sqs:SendMessage", "Letters.Arn"),
    }


def test_a_policy_of_aws_that_is_not_known_is_an_error() -> None:
    polling = "      Events: {Work: {Type: SQS, Properties: {Queue: !GetAtt Letters.Arn}}}\n  Watch:"

    with pytest.raises(ValueError, match="AWSLambdaSQSQueueExecutionRole: make the queue"):
        grants("SendRole", of(TEMPLATE.replace("  Watch:", polling, 1)).resources)


USERS, ALL_FAMILIES = frozenset({"USER#*"}), frozenset({"USER#*", "CLASS#*"})


@pytest.mark.parametrize(
    ("found", "unnecessary"),
    [
        ([Grant("a:Get", "T", USERS), Grant("a:Get", "T", USERS)], 1),
        ([Grant("a:Get", "T", USERS), Grant("a:Get", "T", ALL_FAMILIES)], 1),
        ([Grant("a:Get", "T"), Grant("a:Get", "T", USERS)], 1),
        ([Grant("a:Get", "T/x"), Grant("a:*", "T/*")], 1),
        ([Grant("a:Get", "T"), Grant("a:Get", "T", condition="c")], 1),
        ([Grant("a:Get", "T", USERS), Grant("a:Put", "T", USERS)], 0),
        ([Grant("a:Get", "T", USERS), Grant("a:Get", "T", frozenset({"CLASS#*"}))], 0),
        ([Grant("a:Get", "T"), Grant("a:Get", "U")], 0),
    ],
)
def test_a_grant_that_another_covers_is_repeated(found: list[Grant], unnecessary: int) -> None:
    assert len(repeated(found)) == unnecessary
    assert len(repeated(reversed(found))) == unnecessary


EMPTY = """
Parameters: {QueueName: {Type: String}}
Resources: {Nothing: {Type: AWS::CloudFormation::WaitConditionHandle}}
"""
Change = Callable[[str, str], tuple[str, str]]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda t, n: (t, n), []),
        (lambda t, n: (t, n.replace("Slow.", "It is slow.")), ["Lag: Properties.AlarmDescription reworded"]),
        (lambda t, n: (t, n.replace("5", "6")), ["Lag: Properties.Threshold: 5 -> 6"]),
        (
            lambda t, n: (t.replace('"sqs:*"', "sqs:DeleteQueue"), n),
            ["SendRole: no longer allows sqs:SendMessage on Letters.Arn"],
        ),
        (
            lambda t, n: (t.replace("sqs:SendMessage", "sqs:SendMessage, sqs:DeleteQueue"), n),
            ["SendRole: now allows sqs:DeleteQueue on Letters.Arn"],
        ),
        (
            lambda t, n: (t.replace("sqs:SendMessage", "sqs:SendMessage, sqs:SendMessage"), n),
            ["SendRole: now repeats sqs:SendMessage on Letters.Arn"],
        ),
        (lambda t, n: (t.replace("Handler: handler", "Handler: other"), n), ["Send: Properties.Handler"]),
        (
            lambda t, n: (
                t + "  Lag:" + n.partition("  Lag:")[2].replace("    Condition: IsLong\n", ""),
                EMPTY,
            ),
            ["Lag: Properties.Dimensions[0].Value", "Lag: moved out of stack Watch", "Nothing: added"],
        ),
    ],
)
def test_two_templates_are_compared_by_what_they_deploy(change: Change, expected: list[str]) -> None:
    changed = of(*change(TEMPLATE.replace("!Ref QueueName", "x"), NESTED))
    found = [f"{name}: {what}" for name, what in differences(of(), changed)]

    assert len(found) == len(expected), found
    for one, start in zip(found, expected, strict=True):
        assert one.startswith(start)


@pytest.mark.parametrize("parameters", SETS.values(), ids=SETS)
def test_no_role_repeats_what_it_is_granted_already(parameters: Any) -> None:
    """What a shared policy grants is not granted again; to grant the same more widely is not to repeat it."""
    resources = deployed(parameters).resources
    for name, resource in resources.items():
        if resource["Type"] == "AWS::IAM::Role" and name != "DeploymentRole":
            alone = {
                **resources,
                name: {**resource, "Properties": {**resource["Properties"], "ManagedPolicyArns": []}},
            }
            own = grants(name, alone)
            assert not set(own) & set(repeated(grants(name, resources))), name


def test_no_function_writes_to_a_log_group_but_its_own() -> None:
    resources = deployed(OPTIONS).resources
    roles = [f"{name}Role" for name, each in resources.items() if each["Type"] == "AWS::Lambda::Function"]

    for role in roles:
        logs = {grant for grant in grants(role, resources) if grant.action.startswith("logs:")}
        assert logs == {
            Grant("logs:CreateLogStream", "FunctionLogs.Arn"),
            Grant("logs:PutLogEvents", "FunctionLogs.Arn"),
        }, role
    assert len(roles) > 40


def test_codedeploy_may_shift_the_aliases_of_the_stack_and_read_alarms() -> None:
    functions = "arn:aws:lambda:us-east-1:000000000000:function:practice-local-*"
    assert set(grants("DeploymentRole", deployed(OPTIONS).resources)) == {
        Grant("lambda:GetAlias", functions),
        Grant("lambda:UpdateAlias", functions),
        Grant("lambda:GetProvisionedConcurrencyConfig", functions),
        Grant("cloudwatch:DescribeAlarms", "arn:aws:cloudwatch:us-east-1:000000000000:alarm:*"),
    }


MODEL_SOURCES = {"ModelsParameter": "/practice/models", "ModelsObject": "s3://configuration/models.json"}


def test_who_knows_where_models_are_configured_may_read_that_and_nothing_beside_it() -> None:
    resources = deployed({**OPTIONS, **MODEL_SOURCES}).resources
    read = {
        Grant("ssm:GetParameter", "arn:aws:ssm:us-east-1:000000000000:parameter/practice/models"),
        Grant("s3:GetObject", "arn:aws:s3:::configuration/models.json"),
    }
    for name, each in resources.items():
        if each["Type"] == "AWS::Lambda::Function":
            asks = "MODELS_PARAMETER" in each["Properties"]["Environment"]["Variables"]
            granted = set(grants(f"{name}Role", resources))
            assert granted & read == (read if asks else set()), name
            assert not any(grant.action.startswith("ssm:") for grant in granted - read), name


def test_the_boundary_takes_nothing_but_logs_from_what_a_role_is_granted() -> None:
    """It narrows the managed policy for logs, and an action that it forgets would be denied on AWS alone."""

    def without_logs(resources: dict[str, Any]) -> set[Grant]:
        return {grant for grant in grants(name, resources) if not grant.action.startswith("logs:")}

    resources = deployed({**OPTIONS, **MODEL_SOURCES}).resources
    bounded = [
        name
        for name, each in resources.items()
        if each["Type"] == "AWS::IAM::Role" and "PermissionsBoundary" in each["Properties"]
    ]
    assert bounded
    for name in bounded:
        properties = {**resources[name]["Properties"]}
        del properties["PermissionsBoundary"]
        unbounded = {**resources, name: {**resources[name], "Properties": properties}}
        assert without_logs(resources) == without_logs(unbounded), name
