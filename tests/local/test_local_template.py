"""What the local stack reads out of a template."""

from pathlib import Path

import pytest

from local.intrinsics import TemplateError
from local.patterns import check, matches
from local.stack import read_template
from local.template import Template

HEAD = """
Transform: AWS::Serverless-2016-10-31
Parameters:
  Names: {Type: CommaDelimitedList, Default: "a, b"}
  Size: {Type: Number, Default: 7}
Conditions:
  IsBig: !Equals [!Ref Size, 9]
  IsSmall: !Not [!Condition IsBig]
  Both: !And [!Condition IsSmall, !Or [!Condition IsBig, !Equals [x, x]]]
Mappings: {Colours: {sky: {day: blue}}}
Resources:
  Jobs: {Type: AWS::SQS::Queue, Properties: {QueueName: !Sub "${AWS::StackName}-jobs"}}
  Files: {Type: AWS::S3::Bucket}
  Gone: {Type: AWS::SQS::Queue, Condition: IsBig}
  Function:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/example
      Runtime: python3.13
      Handler: handler.lambda_handler
      Environment:
        Variables:
"""


def variable(tmp_path: Path, expression: str, **parameters: str) -> str:
    (tmp_path / "template.yaml").write_text(f"{HEAD}          VALUE: {expression}\n")
    return Template(tmp_path / "template.yaml", parameters).environment["VALUE"]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("!Ref Size", "7"),
        ("!Join ['-', !Ref Names]", "a-b"),
        ("!Select [1, !Split [',', 'x,y']]", "y"),
        ("!If [IsBig, big, small]", "small"),
        ("!If [Both, both, one]", "both"),
        ("!FindInMap [Colours, sky, day]", "blue"),
        ("!ImportValue elsewhere", "elsewhere"),
        ("true", "true"),
        ("!Ref Files", "practice-local-files"),
        ("!GetAtt Files.Arn", "arn:aws:s3:::practice-local-files"),
        ("!GetAtt Jobs.Arn", "arn:aws:sqs:us-east-1:000000000000:practice-local-jobs"),
        ("!Ref Jobs", "http://sqs.us-east-1.localhost/000000000000/practice-local-jobs"),
        (
            "!Sub '${Jobs.QueueName} ${Size} ${!Size} ${AWS::Region}'",
            "practice-local-jobs 7 ${Size} us-east-1",
        ),
        ("!Sub ['${Size} ${Own}', {Own: !Ref Size}]", "7 7"),
    ],
)
def test_expressions_have_local_values(tmp_path: Path, expression: str, value: str) -> None:
    assert variable(tmp_path, expression) == value


def test_a_parameter_given_replaces_its_default(tmp_path: Path) -> None:
    assert variable(tmp_path, "!If [IsBig, big, small]", Size="9") == "big"
    with pytest.raises(TemplateError, match="no parameter Sise"):
        variable(tmp_path, "1", Sise="9")


@pytest.mark.parametrize("expression", ["!Cidr [1]", "!If [Unknown, 1, 2]"])
def test_what_the_stack_does_not_know_is_named(tmp_path: Path, expression: str) -> None:
    with pytest.raises(TemplateError, match=r"Cidr|Unknown"):
        variable(tmp_path, expression)


def test_a_resource_whose_condition_is_false_is_not_there(tmp_path: Path) -> None:
    variable(tmp_path, "1")

    assert list(Template(tmp_path / "template.yaml").queues) == ["practice-local-jobs"]
    assert len(Template(tmp_path / "template.yaml", {"Size": "9"}).queues) == 2


@pytest.mark.parametrize(
    "nested",
    [
        "Type: AWS::CloudFormation::Stack, Properties: {TemplateURL: more/more.yaml",
        "Type: AWS::Serverless::Application, Properties: {Location: more/more.yaml",
    ],
)
def test_a_nested_stack_is_part_of_its_template(tmp_path: Path, nested: str) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "more.yaml").write_text(
        "Parameters: {Of: {Type: String}}\n"
        "Resources: {More: {Type: AWS::SQS::Queue, Properties: {QueueName: !Sub '${Of}-more'}}}\n"
        "Outputs: {Name: {Value: !GetAtt More.QueueName}}\n"
    )
    more = f"\n  Nested: {{{nested}, Parameters: {{Of: !Ref Files}}}}}}"

    assert variable(tmp_path, f"!GetAtt Nested.Outputs.Name{more}") == "practice-local-files-more"
    assert "practice-local-files-more" in Template(tmp_path / "template.yaml").queues


def test_a_template_is_translated_again_when_it_or_a_parameter_changes(tmp_path: Path) -> None:
    assert variable(tmp_path, "first") == variable(tmp_path, "first") == "first"
    assert variable(tmp_path, "second") == "second"
    assert variable(tmp_path, "!Ref Size", Size="8") == "8"

    [kept] = (tmp_path / ".tools" / "translated").iterdir()
    kept.write_text("{")
    assert variable(tmp_path, "second") == "second"


def test_a_template_that_sam_refuses_is_refused_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match="Runtime and Handler"):
        variable(tmp_path, "1\n  Other: {Type: AWS::Serverless::Function, Properties: {CodeUri: x}}")


def test_cors_that_does_not_survive_the_translation_is_refused(tmp_path: Path) -> None:
    """SAM takes an intrinsic function in CorsConfiguration for the whole object."""
    cors = "{AllowOrigins: !Split [',', 'https://a.example'], AllowMethods: [GET]}"
    route = "Events: {Get: {Type: HttpApi, Properties: {ApiId: !Ref Api, Path: /, Method: GET}}}"
    with pytest.raises(TemplateError, match="SAM loses the CORS"):
        variable(
            tmp_path,
            f"1\n      {route}\n  Api: {{Type: AWS::Serverless::HttpApi, Properties: {{CorsConfiguration: {cors}}}}}",
        )


def test_the_template_of_this_repository_can_be_served() -> None:
    template = read_template()

    assert len({route.key for route in template.routes}) == len(template.routes)
    assert "PATCH /user/practice/sessions/{session_id}" in {route.key for route in template.routes}
    assert ("chat", "live_chat") in {(route.path, route.function) for route in template.live_routes}
    assert len(template.environment["TABLE_NAME"]) >= 11
    assert template.environment["TOKEN_SECRET_ARN"].startswith("arn:aws:secretsmanager:")


EVENT = {"source": "school", "detail": {"kind": "ClassUpdated", "size": 3, "tags": ["a", "b"], "none": None}}


@pytest.mark.parametrize(
    ("pattern", "taken"),
    [
        ({"source": ["school"]}, True),
        ({"source": ["other", "school"]}, True),
        ({"source": ["other"]}, False),
        ({"source": ["school"], "detail": {"size": [3]}}, True),
        ({"detail": {"size": ["3"]}}, False),
        ({"detail": {"tags": ["b"]}}, True),
        ({"detail": {"none": [None]}}, True),
        ({"detail": {"absent": [None]}}, False),
        ({"detail": {"absent": [{"exists": False}]}}, True),
        ({"detail": {"kind": [{"exists": True}]}}, True),
        ({"detail": {"kind": [{"prefix": "Class"}]}}, True),
        ({"detail": {"kind": [{"suffix": "Deleted"}]}}, False),
        ({"detail": {"kind": [{"equals-ignore-case": "classupdated"}]}}, True),
        ({"detail": {"kind": [{"anything-but": ["ClassUpdated"]}]}}, False),
        ({"detail": {"kind": [{"anything-but": {"prefix": "Agent"}}]}}, True),
        ({"$or": [{"source": ["other"]}, {"detail": {"size": [3]}}]}, True),
        ({"source": {"deeper": ["school"]}}, False),
    ],
)
def test_patterns_take_the_events_that_eventbridge_would_match(
    pattern: dict[str, object], taken: bool
) -> None:
    assert matches(pattern, EVENT) is taken


def test_a_pattern_with_an_unknown_operator_is_refused() -> None:
    with pytest.raises(TemplateError, match="cidr"):
        check({"source": ["a"], "detail": {"address": [{"cidr": "10.0.0.0/24"}]}})
