"""The built template as the emulator can deploy it. docs/rehearsal.md lists what is left out, and why: a test compares."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped]  # has no types

Template = dict[str, Any]

WITHOUT = frozenset({"AWS::Events::Archive", "AWS::CloudWatch::Dashboard"})
"""Types of resources that the emulator does not make."""
ALSO = {
    "sqs:SendMessage": "sqs:SendMessageBatch",
    "bedrock:InvokeModel": "bedrock:Converse",
    "bedrock:InvokeModelWithResponseStream": "bedrock:ConverseStream",
}
"""Actions that AWS has no name of its own for, and the emulator has."""
NAMED = frozenset({"AWS::SecretsManager::Secret"})
"""Types whose `Ref` is an ARN in AWS and a name in the emulator."""

LIVE_API = "https://${LiveApi}.execute-api.${AWS::Region}.${AWS::URLSuffix}/live"
"""The URL of the live API, to which functions send messages."""


def live_address(url: str, api: str) -> str:
    return f"{url}/_aws/execute-api/{api}/live"


def adapt(source: Path, url: str) -> tuple[Path, list[str]]:
    """Write the template beside `source`, whose relative paths it keeps. Returns it and the resources left out.

    `url` is the emulator's.
    """
    template: Template = yaml_parse(source.read_text())
    left_out = list(_without(template))
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::CloudFormation::Stack":
            nested = source.parent / resource["Properties"]["TemplateURL"]
            path, more = adapt(nested, url)
            resource["Properties"]["TemplateURL"] = str(path.relative_to(source.parent))
            left_out += more
    # CodeDeploy: aliases move at once.
    template.get("Globals", {}).get("Function", {}).pop("DeploymentPreference", None)
    _allow_more(template)
    secrets = [name for name, each in template["Resources"].items() if each["Type"] in NAMED]
    adapted = source.with_name(f"{source.stem}.rehearsal.json")
    text = json.dumps(_arns(template, secrets), indent=1, default=str)
    adapted.write_text(text.replace(LIVE_API, live_address(url, "${LiveApi}")))
    return adapted, left_out


def _without(template: Template) -> Iterator[str]:
    resources = template["Resources"]
    for name, resource in list(resources.items()):
        has_expression = any("Expression" in each for each in resource["Properties"].get("Metrics", []))
        if resource["Type"] in WITHOUT or has_expression:
            del resources[name]
            yield name


def _allow_more(value: Any) -> None:
    if isinstance(value, dict):
        actions = value.get("Action")
        listed = [actions] if isinstance(actions, str) else actions
        if isinstance(listed, list) and (more := [ALSO[each] for each in listed if each in ALSO]):
            value["Action"] = [*listed, *more]
        for each in value.values():
            _allow_more(each)
    elif isinstance(value, list):
        for each in value:
            _allow_more(each)


def _arns(value: Any, secrets: list[str]) -> Any:
    """`Ref` of a secret is its ARN; the emulator gives its name, and has the ARN as an attribute."""
    if isinstance(value, Mapping):
        if list(value) == ["Ref"] and value["Ref"] in secrets:
            return {"Fn::GetAtt": [value["Ref"], "Id"]}
        return {name: _arns(each, secrets) for name, each in value.items()}
    if isinstance(value, list):
        return [_arns(each, secrets) for each in value]
    return value


def with_release(source: Path, release: str) -> Path:
    """The adapted template for a deployment: the emulator's SAM transform has no value of a parameter, and so no new version
    for another `Release`.
    """
    template: Template = json.loads(source.read_text())
    for resource in template["Resources"].values():
        if resource["Properties"].get("AutoPublishCodeSha256") == {"Ref": "Release"}:
            resource["Properties"]["AutoPublishCodeSha256"] = release
            if not release:
                del resource["Properties"]["AutoPublishCodeSha256"]
    released = source.with_name(f"{source.stem}.release.json")
    released.write_text(json.dumps(template, indent=1))
    return released
