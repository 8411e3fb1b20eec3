"""What the local stack reads out of a template."""

from pathlib import Path

import pytest

from local.intrinsics import TemplateError
from local.patterns import check, matches
from local.stack import read_template
from local.template import Template

HEAD = """
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


def test_the_template_of_this_repository_can_be_served() -> None:
    template = read_template()

    assert len({route.key for route in template.routes}) == len(template.routes)
    assert "PATCH /user/practice/sessions/{session_id}" in {route.key for route in template.routes}
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
