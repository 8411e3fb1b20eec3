"""A rehearsal covers the whole template, and leaves nothing behind however it ends."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped]  # has no types

from local.intrinsics import parse
from local.stack import read_template
from tools.build import ROOT
from tools.expansion import expand
from tools.rehearse import adapt, stages
from tools.rehearse.__main__ import one_run_at_a_time
from tools.rehearse.deployment import Deployment
from tools.rehearse.emulator import PYTHON, emulator
from tools.rehearse.routes import make_routes

TEMPLATE = parse((ROOT / "template.yaml").read_text())
GIVEN_TO_BOTH = {"LambdaRuntime", "LambdaArchitecture"}
MADE_FOR_THE_RUN = {
    "ModelsParameter",
    "ModelsObject",
    "TokenSecretArn",
    "ProviderSecretArn",
    "CertificateArn",
    "LiveCertificateArn",
    "HostedZoneId",
    "KmsKeyArn",
    "AlarmTopicArn",
}
OF_THE_STAGE = {"Stage", "LogLevel", "LogRetentionDays", "DeletionProtection", "DeploymentPreference"}

installed = pytest.mark.skipif(not PYTHON.exists(), reason="make rehearse installs the emulator")


def test_prod_is_rehearsed_with_every_parameter() -> None:
    assert set(TEMPLATE["Parameters"]) == GIVEN_TO_BOTH | MADE_FOR_THE_RUN | OF_THE_STAGE | set(stages.PROD)


def test_every_kind_of_resource_that_is_left_out_is_documented() -> None:
    page = (ROOT / "docs" / "rehearsal.md").read_text()

    assert set(re.findall(r"`(AWS::\w+::\w+)`", page)) >= adapt.WITHOUT | adapt.NAMED


def test_the_template_is_left_as_it_is_but_for_what_the_emulator_lacks(tmp_path: Path) -> None:
    source = tmp_path / "template.yaml"
    source.write_text((ROOT / "template.yaml").read_text())
    for nested in (ROOT / "stacks").glob("*.yaml"):
        (tmp_path / "stacks").mkdir(exist_ok=True)
        (tmp_path / "stacks" / nested.name).write_text(nested.read_text())

    path, left_out = adapt.adapt(source, "http://127.0.0.1:4566")

    text = path.read_text()
    own_address = adapt.live_address("http://127.0.0.1:4566", "${LiveApi}")
    assert own_address in text
    original, adapted = yaml_parse(source.read_text()), json.loads(text.replace(own_address, adapt.LIVE_API))
    gone = set(original["Resources"]) - set(adapted["Resources"])
    assert gone <= set(left_out)
    assert {original["Resources"][name]["Type"] for name in gone} <= adapt.WITHOUT | {
        "AWS::CloudWatch::Alarm"
    }
    for name in gone:
        del original["Resources"][name]
    del original["Globals"]["Function"]["DeploymentPreference"]
    assert undone(adapted) == undone(original)


def undone(value: Any) -> Any:
    """Without the notations that the emulator needs, and one notation for what YAML and JSON write in two."""
    match value:
        case {"Fn::GetAtt": ["CursorSecret", "Id"]}:
            return {"Ref": "CursorSecret"}
        case {"Action": action, **rest}:
            actions = [action] if isinstance(action, str) else action
            return {"Action": [each for each in actions if each not in adapt.ALSO.values()], **undone(rest)}
        case {"TemplateURL": str(url), **rest}:
            return {"TemplateURL": url.replace(".rehearsal.json", ".yaml"), **undone(rest)}
        case dict():
            return {key: undone(each) for key, each in value.items()}
        case list():
            return [undone(each) for each in value]
    return value


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_port_in_use_is_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        environment = {**os.environ, "PORT": str(taken.getsockname()[1])}
        done = subprocess.run(
            [sys.executable, "-m", "tools.rehearse"],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    assert done.returncode == 1
    assert re.fullmatch(r"port \d+ is in use: [^\n]+ set PORT\n|another rehearsal runs[^\n]+\n", done.stderr)


def test_a_missing_emulator_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, port: int) -> None:
    monkeypatch.setattr("tools.rehearse.emulator.PYTHON", tmp_path / "absent")

    with (
        pytest.raises(SystemExit, match="the emulator is not installed: make rehearse installs it"),
        emulator(tmp_path, port, iam=False),
    ):
        pass


def test_a_second_run_is_one_line(tmp_path: Path) -> None:
    with (
        one_run_at_a_time(tmp_path),
        pytest.raises(SystemExit, match="another rehearsal runs in this checkout: wait for its end"),
        one_run_at_a_time(tmp_path),
    ):
        pass


@installed
def test_nothing_of_the_emulator_is_left(tmp_path: Path, port: int) -> None:
    def interrupted() -> None:
        with emulator(tmp_path, port, iam=False) as running:
            assert running.client("sts").get_caller_identity()["Account"]
            assert (tmp_path / "temporary").is_dir()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert [file.name for file in tmp_path.iterdir()] == ["emulator.log"]
    assert not listening(port)


@installed
def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path: Path, port: int) -> None:
    script = f"""
import pathlib, threading
from tools.rehearse.emulator import emulator
with emulator(pathlib.Path({str(tmp_path)!r}), {port}, iam=False):
    print("ready", flush=True)
    threading.Event().wait()
"""
    run = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert run.stdout is not None
        assert run.stdout.readline() == b"ready\n"
        (tmp_path / "temporary" / "left").touch()
    finally:
        run.send_signal(signal.SIGKILL)
        run.communicate()
    deadline = time.monotonic() + 60
    while listening(port) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not listening(port)

    with emulator(tmp_path, port, iam=False):
        assert not (tmp_path / "temporary" / "left").exists()


HALF = {
    "AWSTemplateFormatVersion": "2010-09-09",
    "Parameters": {"Stage": {"Type": "String"}},
    "Resources": {
        "First": {"Type": "AWS::SQS::Queue", "Properties": {}},
        "Refused": {
            "Type": "AWS::CloudWatch::Alarm",
            "DependsOn": "First",
            "Properties": {
                "ComparisonOperator": "GreaterThanThreshold",
                "EvaluationPeriods": 1,
                "Threshold": 1,
                "Metrics": [{"Id": "sum", "Expression": "1 + 1"}],
            },
        },
    },
}
"""The emulator refuses an alarm with an expression."""


@installed
def test_half_a_deployment_is_one_line_and_leaves_its_logs(tmp_path: Path, port: int) -> None:
    template = tmp_path / "build" / "template.yaml"
    template.parent.mkdir()
    template.write_text(json.dumps(HALF))

    with pytest.raises(SystemExit) as ended, emulator(tmp_path, port, iam=False) as running:
        Deployment(running, "dev", template).deploy({"Stage": "dev"})

    log = tmp_path / "sam-deploy.log"
    line = (
        rf"sam deploy of practice-api-dev failed, Refused: [^\n]+: see {log} and {tmp_path / 'emulator.log'}"
    )
    assert re.fullmatch(line, str(ended.value))
    assert {file.name for file in tmp_path.iterdir()} == {"build", "emulator.log", log.name}
    assert not listening(port)


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Routes:
    """The calls of API Gateway that make routes."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def get_routes(self, **_: str) -> dict[str, Any]:
        return {"Items": []}

    def create_integration(self, **_: str) -> dict[str, str]:
        return {"IntegrationId": "1"}

    def create_route(self, RouteKey: str, **_: str) -> None:  # noqa: N803 - as boto3 names it
        self.keys.append(RouteKey)

    def update_api(self, **_: object) -> None: ...


def test_every_route_of_the_translated_template_is_made() -> None:
    client, body = Routes(), expand((ROOT / "template.yaml").read_text(), {})["Resources"]["HttpApi"]
    parameters = {"CorsOrigins": "https://learn.example.com"}

    made = make_routes(client, "api", body["Properties"]["Body"], str, parameters)

    assert made == set(client.keys) == {route.key for route in read_template().routes}
