"""`make deploy` refuses what must not go out, and docs/deploy.md tells every parameter."""

import re
import subprocess
import tomllib
from pathlib import Path
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
    chosen = deploy.parameters("dev", f"LogLevel=ERROR TokenSecretArn={SECRET} 'TokenUserClaim=user id'")

    assert chosen["LogLevel"] == "ERROR"
    assert chosen["TokenUserClaim"] == "user id"
    assert chosen["Stage"] == "dev"


PROD = f"TokenSecretArn={SECRET} TokenIssuer=https://login.example.com CorsOrigins=https://learn.example.com"


@pytest.mark.parametrize(
    ("unsafe", "named"),
    [
        ("TokenSecretArn=", "TokenSecretArn"),
        ("TokenIssuer=", "TokenIssuer"),
        ("CorsOrigins=*", "CorsOrigins"),
        ("DeletionProtection=false", "DeletionProtection"),
        ("JwksUrl=http://login.example.com/jwks", "JwksUrl"),
        ("LogRetentionDays=8", "LogRetentionDays"),
        ("SnapStart=PublishedVersions ProvisionedConcurrency=2", "SnapStart"),
    ],
)
def test_one_unsafe_parameter_is_enough_to_refuse_prod(
    unsafe: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deploy.main("prod", [], given=f"{PROD} {unsafe}") == 1
    [said] = capsys.readouterr().err.splitlines()
    assert named in said


def test_prod_cannot_go_out_under_another_name() -> None:
    with pytest.raises(SystemExit, match="ENV=prod deploys Stage=prod, not 'staging'"):
        deploy.main("prod", [], given=f"{PROD} Stage=staging CorsOrigins=*")


Command = list[str]


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Command]:
    """The commands that would deploy; what is built is one file."""
    commands: list[Command] = []

    def build(folder: Path, *_: Any, **__: Any) -> None:
        (folder / "template.yaml").write_text("built")

    def run(command: Command, **_: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(deploy, "build", build)
    monkeypatch.setattr(deploy, "BUILD", tmp_path)
    monkeypatch.setattr(subprocess, "run", run)
    return commands


def overrides(command: Command) -> dict[str, str]:
    after = command[command.index("--parameter-overrides") + 1 :]
    return dict(each.split("=", 1) for each in after if not each.startswith("--"))


def test_prod_goes_out_shifted_and_protected(deployed: list[Command]) -> None:
    assert deploy.main("prod", ["--no-confirm-changeset"], given=PROD) == 0

    [command] = deployed
    chosen = overrides(command)
    assert command[command.index("--config-env") + 1] == "prod"
    assert command[-1] == "--no-confirm-changeset"
    assert chosen["Stage"] == "prod"
    assert chosen["DeletionProtection"] == "true"
    assert chosen["DeploymentPreference"] == "Canary10Percent5Minutes"
    assert chosen["TokenSecretArn"] == SECRET


def test_a_release_is_named_after_what_is_built_and_its_parameters(
    deployed: list[Command], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SAM publishes no version for a parameter that changed, so the functions would go on with the old one."""
    secret = f"TokenSecretArn={SECRET}"
    for given in (secret, secret, f"{secret} LogLevel=ERROR", f"{secret} Release=0123456789abcdef"):
        deploy.main("dev", [], given=given)
    monkeypatch.setattr(
        deploy, "build", lambda folder, *_, **__: (folder / "template.yaml").write_text("other")
    )
    deploy.main("dev", [], given=secret)

    first, again, another_level, by_hand, another_build = (overrides(each)["Release"] for each in deployed)
    assert first == again
    assert len({first, another_level, another_build}) == 3
    assert by_hand == "0123456789abcdef"
    pattern = parse((ROOT / "template.yaml").read_text())["Parameters"]["Release"]["AllowedPattern"]
    assert all(re.fullmatch(pattern, name) for name in (first, another_level, another_build))


def test_the_stages_of_the_repository_lack_only_what_nobody_else_can_know() -> None:
    template = parse((ROOT / "template.yaml").read_text())
    stages = tomllib.loads((ROOT / "samconfig.toml").read_text())

    for stage in ("dev", "prod"):
        chosen = deploy.parameters(stage, PROD)
        assert deploy.refusals(template, chosen) == []
        assert stages[stage]["deploy"]["parameters"]["capabilities"] == "CAPABILITY_IAM"
    assert deploy.parameters("dev", "").get("DeploymentPreference", "AllAtOnce") == "AllAtOnce"


def test_the_documentation_tells_every_parameter_with_its_default() -> None:
    declared = parse((ROOT / "template.yaml").read_text())["Parameters"]
    table = re.findall(
        r"^\| `(\w+)` \| (?:`([^`]+)`|empty) \|", (ROOT / "docs/deploy.md").read_text(), re.MULTILINE
    )

    assert dict(table) == {name: str(parameter["Default"]) for name, parameter in declared.items()}
