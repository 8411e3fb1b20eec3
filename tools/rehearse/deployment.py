"""The stack on the emulator, by the real SAM CLI."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tools.build import ROOT, SAM, sam_environment
from tools.deploy import written
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
            str(self.template),
            "--no-confirm-changeset",
            "--no-progressbar",
            "--parameter-overrides",
            f"file://{overrides}",
        )
        self.__dict__.pop("resources", None)

    def delete(self) -> None:
        self._sam("delete", "--no-prompts")

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
            env=sam_environment() | self.emulator.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(
                f"{done.stdout}{done.stderr}\nsam {arguments[0]} of {self.name} failed: see {self.emulator.log}"
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

    @property
    def url(self) -> str:
        return f"{self.emulator.url}/_aws/execute-api/{self.physical('HttpApi')}/$default"

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
