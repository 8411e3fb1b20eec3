"""`python -m tools.deploy <stage> [arguments for sam deploy]`: build a release and deploy it.

A stage is a section of samconfig.toml. PARAMETERS="Name=value ..." overrides its parameters. The Rules and Parameters
of the template are checked before the build; CloudFormation checks them again.
"""

import argparse
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import botocore.session
from botocore.exceptions import BotoCoreError

from local.intrinsics import Evaluator, TemplateError, parse
from practice.turns.configuration import checked
from tools.build import BUILD, ROOT, SAM, build, sam_environment


def main(stage: str, arguments: list[str], given: str = os.environ.get("PARAMETERS", "")) -> int:
    template = parse((ROOT / "template.yaml").read_text())
    chosen = parameters(stage, given)
    reasons = refusals(template, chosen) or list(unready(chosen, arguments))
    if reasons:
        print("\n".join(reasons), file=sys.stderr)
        return 1
    target = {name: declared["Default"] for name, declared in template["Parameters"].items()} | chosen
    build(BUILD, target["LambdaRuntime"].removeprefix("python"), target["LambdaArchitecture"], release=True)
    chosen["Release"] = chosen.get("Release") or release(BUILD, chosen)
    # In a file, because on the command line sam splits values at spaces and quotes.
    overrides = BUILD.parent / "parameters.yaml"
    overrides.write_text(written(chosen))
    command = [
        *SAM,
        "deploy",
        "--config-env",
        stage,
        "--parameter-overrides",
        f"file://{overrides}",
        *arguments,
    ]
    return subprocess.run(command, cwd=ROOT, env=sam_environment(), check=False).returncode


def parameters(stage: str, given: str) -> dict[str, str]:
    stages = tomllib.loads((ROOT / "samconfig.toml").read_text())
    known = [name for name in stages if name not in ("version", "default")]
    if stage not in known:
        raise SystemExit(f"ENV is {' or '.join(known)} (sections of samconfig.toml), not {stage!r}")
    declared = stages[stage]["deploy"]["parameters"]["parameter_overrides"]
    pairs = [text.partition("=") for text in shlex.split(" ".join([*declared, given]))]
    chosen = {name: value for name, _, value in pairs}
    if chosen["Stage"] != stage:  # the rules for prod depend on it
        raise SystemExit(f"ENV={stage} deploys Stage={stage}, not {chosen['Stage']!r}")
    return chosen


def refusals(template: Mapping[str, Any], chosen: Mapping[str, str]) -> list[str]:
    """The reasons why CloudFormation rejects these parameters."""
    try:
        value = Evaluator(template, chosen, str, lambda name, attribute: f"{name}.{attribute}")
    except TemplateError as error:
        return [str(error)]
    declared: Mapping[str, Mapping[str, Any]] = template["Parameters"]
    misfits = [
        f"{name} cannot be {given!r}: {reason}"
        for name, given in chosen.items()
        for reason in misfit(declared[name], given)
    ]
    return misfits or [
        assertion["AssertDescription"]
        for rule in template["Rules"].values()
        if value(rule.get("RuleCondition", True))
        for assertion in rule["Assertions"]
        if not value(assertion["Assert"])
    ]


def unready(chosen: Mapping[str, str], arguments: list[str]) -> Iterator[str]:
    """What is missing beside the template's parameters, or wrong in one that the template cannot check."""
    try:
        checked(chosen.get("Models", "{}"))
    except ValueError as error:
        yield f"Models cannot be used: {error}"
    if chosen["Stage"] == "prod" and not chosen.get("AlarmTopicArn") and os.environ.get("ALARMS") != "none":
        yield "prod without AlarmTopicArn sends no alarms: add it to PARAMETERS, or confirm with ALARMS=none"
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--profile")
    parser.add_argument("--region")
    given = parser.parse_known_args(arguments)[0]
    try:
        session = botocore.session.Session(profile=given.profile)
        if not given.region and not session.get_config_variable("region"):
            yield "there is no region: set AWS_DEFAULT_REGION, or a region in the profile"
        if session.get_credentials() is None:
            yield "there are no credentials: set AWS_PROFILE, or run aws configure or aws sso login"
    except BotoCoreError as error:
        yield str(error)


def misfit(parameter: Mapping[str, Any], given: str) -> Iterator[str]:
    """The constraints of the declaration that the value violates."""
    allowed = [str(each) for each in parameter.get("AllowedValues", [given])]
    if given not in allowed:
        yield f"it must be one of {', '.join(allowed)}"
    if not re.fullmatch(parameter.get("AllowedPattern", r"[\s\S]*"), given):
        yield f"it must match {parameter['AllowedPattern']}"
    if not parameter.get("MinLength", 0) <= len(given) <= parameter.get("MaxLength", 4096):
        yield "its length is out of range"
    if parameter["Type"] == "Number":
        try:
            number = float(given)
        except ValueError:
            yield "it must be a number"
        else:
            if not parameter.get("MinValue", number) <= number <= parameter.get("MaxValue", number):
                yield "it is out of range"


def written(chosen: Mapping[str, str]) -> str:
    """A parameter file in YAML. sam removes quotes twice: from the values of a file, and from all values."""
    return json.dumps({name: quoted(quoted(value)) for name, value in chosen.items()}, indent=2)


def quoted(value: str) -> str:
    """The value in quotes, with a backslash before each inner space and quote, which sam removes."""
    escaped = re.sub(r"([ \"'])", r"\\\1", value)
    return f'"{escaped}"'


def release(folder: Path, chosen: Mapping[str, str]) -> str:
    """A release name: a hash over the build result and the parameters, because both determine a function."""
    digest = hashlib.sha256(repr(sorted(chosen.items())).encode())
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(repr((str(file.relative_to(folder)), file.stat().st_size)).encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:20]


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2:]))
