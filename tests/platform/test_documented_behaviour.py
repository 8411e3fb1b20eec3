"""What AWS documents and no stand-in of it does: `docs/rehearsal.md` has a page of AWS and a test of ours for each."""

import re
from pathlib import Path

from tests.support.learners import Learner
from tools.compare_templates import OPTIONS
from tools.expansion import deployed

ROOT = Path(__file__).parents[2]
INTEGRATION_SECONDS = 30
"""https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html"""


def test_each_behaviour_of_the_page_has_a_page_of_aws_and_a_test() -> None:
    section = (
        (ROOT / "docs/rehearsal.md").read_text().partition("## Documented by AWS")[2].partition("\n## ")[0]
    )
    rows = [line.split("|")[1:-1] for line in section.splitlines() if line.startswith("| ")][1:]
    tests = {name for path in ROOT.glob("tests/**/test_*.py") for name in _names_in(path)}

    assert len(rows) >= 12
    for behaviour, page, held in rows:
        assert "https://docs.aws.amazon.com/" in page, behaviour
        named = re.findall(r"`(test_\w+)`", held)
        assert named, behaviour
        assert not set(named) - tests, behaviour


def _names_in(path: Path) -> list[str]:
    return re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)


def test_a_function_behind_a_route_ends_before_its_integration_does() -> None:
    resources = deployed(OPTIONS).resources
    called = [
        each["Properties"]["FunctionName"].partition("Alias")[0]
        for each in resources.values()
        if each["Type"] == "AWS::Lambda::Permission"
        and each["Properties"]["Principal"] == "apigateway.amazonaws.com"
    ]
    assert len(called) > 30
    assert [name for name in called if resources[name]["Properties"]["Timeout"] >= INTEGRATION_SECONDS] == []


def test_the_stage_puts_nothing_before_the_path() -> None:
    stages = [
        each["Properties"]["StageName"]
        for each in deployed(OPTIONS).resources.values()
        if each["Type"] == "AWS::ApiGatewayV2::Stage"
    ]
    assert "$default" in stages


def test_headers_that_the_gateway_joins_are_read_as_a_list_or_refused(ada: Learner) -> None:
    session = ada.open_session()
    path = f"/sessions/{session['session_id']}"
    tag = ada.get(path).etag

    assert ada.get(path, headers={"authorization": f"Bearer {ada.token},Bearer {ada.token}"}).status == 401
    assert ada.get(path, headers={"if-none-match": f'"another",{tag}'}).status == 304
    assert ada.patch(path, {"title": "Fugues"}, headers={"if-match": f'"another",{tag}'}).status == 200
    assert ada.patch(path, {"title": "Canons"}, headers={"if-match": '"one","two"'}).status == 412
