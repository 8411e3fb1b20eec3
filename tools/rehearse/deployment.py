"""The stack on the emulator, by the real SAM CLI."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError, WaiterError

from tools.build import ROOT, SAM, sam_environment
from tools.deploy import written
from tools.deployed import ALIAS
from tools.rehearse.adapt import live_address, with_release
from tools.rehearse.emulator import REGION, Emulator
from tools.rehearse.routes import make_routes


@dataclass(frozen=True)
class Deployment:
    emulator: Emulator
    stage: str
    template: Path

    @property
    def name(self) -> str:
        return f"practice-api-{self.stage}"

    def deploy(self, parameters: Mapping[str, str]) -> None:
        """Create or update it, as `make deploy` does. Fails with all that sam printed."""
        overrides = self.template.with_name(f"{self.name}.yaml")
        overrides.write_text(written(parameters))
        self._sam(
            "deploy",
            "--template-file",
            str(with_release(self.template, parameters.get("Release", ""))),
            "--no-confirm-changeset",
            "--no-progressbar",
            "--parameter-overrides",
            f"file://{overrides}",
        )
        self.__dict__.pop("resources", None)

    def delete(self) -> None:
        """By CloudFormation: `sam delete` does not take the address of a nested template in the emulator for one of S3."""
        client = self.emulator.client("cloudformation")
        client.delete_stack(StackName=self.name)
        try:
            client.get_waiter("stack_delete_complete").wait(StackName=self.name, WaiterConfig={"Delay": 1})
        except WaiterError as error:
            raise SystemExit(
                f"the deletion of {self.name} failed, {self._first_failure() or error}"
            ) from error

    def _sam(self, *arguments: str) -> None:
        done = subprocess.run(
            [
                *SAM,
                *arguments,
                "--config-file",
                str(ROOT / "samconfig.toml"),
                "--config-env",
                self.stage,
                "--region",
                REGION,
            ],
            cwd=ROOT,
            env=_without_aws(sam_environment()) | self.emulator.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            log = self.emulator.log.with_name(f"sam-{arguments[0]}.log")
            log.write_text(done.stdout + done.stderr)
            why = self._first_failure() or f"exit status {done.returncode}"
            raise SystemExit(
                f"sam {arguments[0]} of {self.name} failed, {why}: see {log} and {self.emulator.log}"
            )

    def _first_failure(self) -> str:
        client = self.emulator.client("cloudformation")
        try:
            pages = client.get_paginator("describe_stack_events").paginate(StackName=self.name)
            events = [event for page in pages for event in page["StackEvents"]]
        except ClientError:
            return ""  # sam did not come so far
        failures = [each for each in reversed(events) if each["ResourceStatus"].endswith("_FAILED")]
        return next(
            (f"{each['LogicalResourceId']}: {each.get('ResourceStatusReason')}" for each in failures), ""
        )

    @cached_property
    def resources(self) -> dict[str, tuple[str, str]]:
        """Type and physical id by logical id."""
        pages = self.emulator.client("cloudformation").get_paginator("list_stack_resources")
        return {
            each["LogicalResourceId"]: (each["ResourceType"], each["PhysicalResourceId"])
            for page in pages.paginate(StackName=self.name)
            for each in page["StackResourceSummaries"]
        }

    def physical(self, logical_id: str) -> str:
        return self.resources[logical_id][1]

    def described(self) -> dict[str, Any]:
        [stack] = self.emulator.client("cloudformation").describe_stacks(StackName=self.name)["Stacks"]
        return dict(stack)

    def environment(self, function: str) -> dict[str, str]:
        """The variables of a function."""
        name = self.physical(function)
        answer = self.emulator.client("lambda").get_function_configuration(FunctionName=name)
        return dict(answer["Environment"]["Variables"])

    def secret(self) -> str:
        """The secret that signs tokens."""
        client = self.emulator.client("secretsmanager")
        return str(client.get_secret_value(SecretId=self.parameters["TokenSecretArn"])["SecretString"])

    def versions(self) -> dict[str, str]:
        """What the alias of each function points to."""
        client = self.emulator.client("lambda")
        return {
            name: client.get_alias(FunctionName=physical, Name=ALIAS)["FunctionVersion"]
            for name, (kind, physical) in self.resources.items()
            if kind == "AWS::Lambda::Function"
        }

    def left(self) -> list[str]:
        """What a deleted stack leaves beside its table, its versions of layers, and what was there before."""
        client = self.emulator.client
        left = [each["FunctionName"] for each in client("lambda").list_functions()["Functions"]]
        left += client("sqs").list_queues().get("QueueUrls", [])
        left += [each["Name"] for each in client("apigatewayv2").get_apis()["Items"]]
        left += [each["RoleName"] for each in client("iam").list_roles()["Roles"]]
        left += [each["Name"] for each in client("s3").list_buckets()["Buckets"]]
        return sorted(name for name in left if self.name in name)

    @property
    def url(self) -> str:
        return f"{self.emulator.url}/_aws/execute-api/{self.physical('HttpApi')}/$default"

    @property
    def live_url(self) -> str:
        return live_address(self.emulator.url.replace("http", "ws", 1), self.physical("LiveApi"))

    def processed(self) -> dict[str, Any]:
        """The template after the SAM transform."""
        body = self.emulator.client("cloudformation").get_template(
            StackName=self.name, TemplateStage="Processed"
        )["TemplateBody"]
        return dict(body) if isinstance(body, dict) else dict(json.loads(body))

    @property
    def parameters(self) -> dict[str, str]:
        return {each["ParameterKey"]: each["ParameterValue"] for each in self.described()["Parameters"]}

    def make_routes(self) -> set[str]:
        """Returns the routes' keys."""
        api = self.processed()["Resources"]["HttpApi"]["Properties"]
        return make_routes(
            self.emulator.client("apigatewayv2"),
            self.physical("HttpApi"),
            api["Body"],
            self.physical,
            self.parameters,
        )


def _without_aws(environment: Mapping[str, str]) -> dict[str, str]:
    """Nothing of what the shell says about AWS, such as the endpoint of one service, leads away from the emulator."""
    return {name: value for name, value in environment.items() if not name.startswith("AWS_")}
