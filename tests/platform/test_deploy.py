"""`make deploy` refuses what must not go out, and docs/deploy.md has every parameter."""

import json
import os
import re
import shlex
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from local.intrinsics import parse
from tools import deploy
from tools.build import ROOT, SAM

SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:token-AbCdEf"


@pytest.fixture(autouse=True)
def nothing_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*_: Any, **__: Any) -> None:
        pytest.fail("a refused deployment was built")

    monkeypatch.setattr(deploy, "build", build)
    for name in [each for each in os.environ if each.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "example")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")


def test_without_a_region_or_credentials_nothing_is_built(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = f"TokenSecretArn={SECRET}"
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert deploy.main("dev", [], given=given) == 1
    assert capsys.readouterr().err.startswith("there is no region: set AWS_DEFAULT_REGION")

    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert deploy.main("dev", ["--region", "eu-central-1"], given=given) == 1
    assert capsys.readouterr().err.startswith("there are no credentials: set AWS_PROFILE")

    assert deploy.main("dev", ["--region", "eu-central-1", "--profile", "unknown"], given=given) == 1
    assert capsys.readouterr().err == "The config profile (unknown) could not be found\n"


def test_prod_without_alarms_is_refused_unless_confirmed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = PROD.replace(TOPIC, "")
    assert deploy.main("prod", [], given=given) == 1
    assert capsys.readouterr().err == (
        "prod without AlarmTopicArn sends no alarms: add it to PARAMETERS, or confirm with ALARMS=none\n"
    )

    monkeypatch.setenv("ALARMS", "none")
    assert not list(deploy.unready(deploy.parameters("prod", given), []))


def test_models_that_mean_nothing_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    entry = {"m": {"provider": "echo", "one_of": ["top_k"]}}

    assert deploy.main("prod", [], given=f"{PROD} Models={shlex.quote(json.dumps(entry))}") == 1

    assert capsys.readouterr().err.startswith("Models cannot be used: m: one_of.0: ")


def test_prod_as_it_is_in_the_repository_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert deploy.main("prod", [], given="") == 1

    output = capsys.readouterr().err
    assert "TokenSecretArn" in output
    assert "TokenIssuer" in output
    assert "CorsOrigins" in output


def test_dev_without_a_secret_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert deploy.main("dev", [], given="") == 1
    assert "TokenSecretArn" in capsys.readouterr().err


def test_a_parameter_that_the_template_does_not_have_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert deploy.main("dev", [], given=f"TokenSecretArn={SECRET} Tokenissuer=x") == 1
    assert "Tokenissuer" in capsys.readouterr().err


def test_a_stage_without_a_section_is_refused() -> None:
    with pytest.raises(SystemExit, match="ENV is dev or prod"):
        deploy.main("staging", [], given="")


def test_a_section_that_is_added_is_a_further_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs/deploy.md").read_text()
    [section] = re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "samconfig.toml").write_text((ROOT / "samconfig.toml").read_text() + section)
    monkeypatch.setattr(deploy, "ROOT", tmp_path)

    chosen = deploy.parameters("staging", f"TokenSecretArn={SECRET}")

    assert chosen["Stage"] == "staging"
    assert deploy.refusals(parse((ROOT / "template.yaml").read_text()), chosen) == []


def test_parameters_given_win_over_those_of_the_stage() -> None:
    chosen = deploy.parameters("dev", f"LogLevel=INFO TokenSecretArn={SECRET} 'TokenUserClaim=user id'")

    assert chosen["LogLevel"] == "INFO"
    assert chosen["TokenUserClaim"] == "user id"
    assert chosen["Stage"] == "dev"


TOPIC = "AlarmTopicArn=arn:aws:sns:eu-central-1:123456789012:pager"
PROD = f"TokenSecretArn={SECRET} TokenIssuer=https://login.example.com CorsOrigins=https://learn.example.com {TOPIC}"


@pytest.mark.parametrize(
    ("unsafe", "named"),
    [
        ("TokenSecretArn=", "TokenSecretArn"),
        ("TokenIssuer=", "TokenIssuer"),
        ("CorsOrigins=*", "CorsOrigins"),
        ("DeletionProtection=false", "DeletionProtection"),
        ("JwksUrl=http://login.example.com/jwks", "JwksUrl"),
        ("LogRetentionDays=8", "LogRetentionDays"),
        ("UserRequestsPerMinute=0.5", "UserRequestsPerMinute"),
        ("TokenLeewaySeconds=301", "TokenLeewaySeconds"),
        ("HistoryTokens=4e3", "HistoryTokens"),
        ("SnapStart=PublishedVersions ProvisionedConcurrency=2", "SnapStart"),
    ],
)
def test_one_unsafe_parameter_is_enough_to_refuse_prod(
    unsafe: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deploy.main("prod", [], given=f"{PROD} {unsafe}") == 1
    [output] = capsys.readouterr().err.splitlines()
    assert named in output


def test_prod_cannot_go_out_under_another_name() -> None:
    with pytest.raises(SystemExit, match="ENV=prod deploys Stage=prod, not 'staging'"):
        deploy.main("prod", [], given=f"{PROD} Stage=staging CorsOrigins=*")


@dataclass
class Deployment:
    command: list[str]
    parameters: dict[str, str]


def unquoted(value: str) -> str:
    """As sam reads the values of a file."""
    assert value.startswith('"')
    assert value.endswith('"')
    return re.sub(r"\\([ \"'])", r"\1", value[1:-1])


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Deployment]:
    """What would be deployed; what is built is one file."""
    deployments: list[Deployment] = []

    def build(folder: Path, *_: Any, **__: Any) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "template.yaml").write_text("built")

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        [file] = [Path(each.removeprefix("file://")) for each in command if each.startswith("file://")]
        written = {name: unquoted(unquoted(value)) for name, value in json.loads(file.read_text()).items()}
        deployments.append(Deployment(command, written))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(deploy, "build", build)
    monkeypatch.setattr(deploy, "BUILD", tmp_path / "build")
    monkeypatch.setattr(subprocess, "run", run)
    return deployments


def test_prod_goes_out_shifted_and_protected(deployed: list[Deployment]) -> None:
    assert deploy.main("prod", ["--no-confirm-changeset"], given=PROD) == 0

    [deployment] = deployed
    command, chosen = deployment.command, deployment.parameters
    assert command[command.index("--config-env") + 1] == "prod"
    assert command[-1] == "--no-confirm-changeset"
    assert chosen["Stage"] == "prod"
    assert chosen["DeletionProtection"] == "true"
    assert chosen["DeploymentPreference"] == "Canary10Percent5Minutes"
    assert chosen["TokenSecretArn"] == SECRET


def test_a_release_is_named_after_what_is_built_and_its_parameters(
    deployed: list[Deployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SAM publishes no version for a parameter that changed, so the functions would go on with the old one."""
    secret = f"TokenSecretArn={SECRET}"
    for given in (secret, secret, f"{secret} LogLevel=INFO", f"{secret} Release=0123456789abcdef"):
        deploy.main("dev", [], given=given)
    monkeypatch.setattr(
        deploy, "build", lambda folder, *_, **__: (folder / "template.yaml").write_text("other")
    )
    deploy.main("dev", [], given=secret)

    first, again, another_level, by_hand, another_build = (each.parameters["Release"] for each in deployed)
    assert first == again
    assert len({first, another_level, another_build}) == 3
    assert by_hand == "0123456789abcdef"
    pattern = parse((ROOT / "template.yaml").read_text())["Parameters"]["Release"]["AllowedPattern"]
    assert all(re.fullmatch(pattern, name) for name in (first, another_level, another_build))


MODELS = r'{"*": {"provider": "openai", "base_url": "https://a b/v1", "id": "a \\ and a \""}}'


def test_a_value_with_blanks_and_quotes_arrives_whole(deployed: list[Deployment]) -> None:
    deploy.main(
        "dev", [], given=f"TokenSecretArn={SECRET} 'TokenUserClaim=user id' TokenIssuer= 'Models={MODELS}'"
    )

    [deployment] = deployed
    assert deployment.parameters["TokenUserClaim"] == "user id"
    assert deployment.parameters["TokenIssuer"] == ""
    assert deployment.parameters["Models"] == MODELS


@pytest.mark.skipif(not Path(SAM[0]).exists(), reason="sam is not installed: make check installs it")
def test_sam_reads_the_parameters_as_they_were_given(tmp_path: Path) -> None:
    chosen = {"Empty": "", "Blank": "user id", "Number": "0123456789", "Quoted": "'a'", "Models": MODELS}
    (tmp_path / "parameters.yaml").write_text(deploy.written(chosen))
    program = (
        "import json, sys; from samcli.cli.types import CfnParameterOverridesType as Type;"
        "print(json.dumps(Type().convert((sys.argv[1],), None, None)))"
    )

    done = subprocess.run(
        [SAM[0], "-c", program, f"file://{tmp_path}/parameters.yaml"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert json.loads(done.stdout) == chosen


def test_a_deployment_without_make_leaves_no_release_behind() -> None:
    """A stack keeps what is not named: the name of a release that is over would hold its functions back."""
    for stage, sections in tomllib.loads((ROOT / "samconfig.toml").read_text()).items():
        if stage != "version":
            assert 'Release=""' in sections["deploy"]["parameters"]["parameter_overrides"], stage


def test_the_stages_of_the_repository_lack_only_what_each_deployment_has_of_its_own() -> None:
    template = parse((ROOT / "template.yaml").read_text())
    stages = tomllib.loads((ROOT / "samconfig.toml").read_text())

    for stage in ("dev", "prod"):
        chosen = deploy.parameters(stage, PROD)
        assert deploy.refusals(template, chosen) == []
        assert (
            stages[stage]["deploy"]["parameters"]["capabilities"] == "CAPABILITY_IAM CAPABILITY_AUTO_EXPAND"
        )
    assert deploy.parameters("dev", "").get("DeploymentPreference", "AllAtOnce") == "AllAtOnce"


def test_the_documentation_has_every_parameter_with_its_default() -> None:
    declared = parse((ROOT / "template.yaml").read_text())["Parameters"]
    table = re.findall(
        r"^\| `(\w+)` \| (?:`([^`]+)`|empty) \|", (ROOT / "docs/deploy.md").read_text(), re.MULTILINE
    )

    assert dict(table) == {name: str(parameter["Default"]) for name, parameter in declared.items()}
