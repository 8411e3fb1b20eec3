"""`make deploy` refuses what must not go out, and docs/deploy.md tells every parameter."""

import re
from typing import Any

import pytest

from local.intrinsics import parse
from tools import deploy
from tools.build import ROOT

SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:token-AbCdEf"


@pytest.fixture(autouse=True)
def nothing_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*_: Any, **__: Any) -> None:
        pytest.fail("a refused deployment was built")

    monkeypatch.setattr(deploy, "build", build)


def test_prod_as_it_is_in_the_repository_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert deploy.main("prod", [], given="") == 1

    said = capsys.readouterr().err
    assert "TokenSecretArn" in said
    assert "TokenIssuer" in said
    assert "CorsOrigins" in said


def test_dev_without_a_secret_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert deploy.main("dev", [], given="") == 1
    assert "TokenSecretArn" in capsys.readouterr().err


def test_a_parameter_that_the_template_does_not_have_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert deploy.main("dev", [], given=f"TokenSecretArn={SECRET} Tokenissuer=x") == 1
    assert "Tokenissuer" in capsys.readouterr().err


def test_another_stage_is_refused() -> None:
    with pytest.raises(SystemExit, match="ENV is dev or prod"):
        deploy.main("staging", [], given="")


def test_parameters_given_win_over_those_of_the_stage() -> None:
    chosen = deploy.parameters("dev", f"LogLevel=INFO TokenSecretArn={SECRET} 'TokenUserClaim=user id'")

    assert chosen["LogLevel"] == "INFO"
    assert chosen["TokenUserClaim"] == "user id"
    assert chosen["Stage"] == "dev"


def test_the_documentation_tells_every_parameter_with_its_default() -> None:
    declared = parse((ROOT / "template.yaml").read_text())["Parameters"]
    table = re.findall(
        r"^\| `(\w+)` \| (?:`([^`]+)`|empty) \|", (ROOT / "docs/deploy.md").read_text(), re.MULTILINE
    )

    assert dict(table) == {name: str(parameter["Default"]) for name, parameter in declared.items()}
