"""`python -m tools.deploy dev|prod [arguments for sam deploy]`: build a release and deploy it.

Parameters are those of samconfig.toml; PARAMETERS="Name=value ..." adds to them and wins. What the template's
Rules refuse is refused here before anything is built; CloudFormation refuses it again.
"""

import os
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Mapping

from local.intrinsics import Evaluator, TemplateError, parse
from tools.build import BUILD, ROOT, SAM, build, sam_environment


def main(stage: str, arguments: list[str], given: str = os.environ.get("PARAMETERS", "")) -> int:
    template = parse((ROOT / "template.yaml").read_text())
    chosen = parameters(stage, given)
    reasons = refusals(template, chosen)
    if reasons:
        print("\n".join(reasons), file=sys.stderr)
        return 1
    target = {name: declared["Default"] for name, declared in template["Parameters"].items()} | chosen
    build(BUILD, target["LambdaRuntime"].removeprefix("python"), target["LambdaArchitecture"], release=True)
    overrides = [f"{name}={value}" for name, value in chosen.items()]
    command = [*SAM, "deploy", "--config-env", stage, "--parameter-overrides", *overrides, *arguments]
    return subprocess.run(command, cwd=ROOT, env=sam_environment(), check=False).returncode


def parameters(stage: str, given: str) -> dict[str, str]:
    stages = tomllib.loads((ROOT / "samconfig.toml").read_text())
    if stage not in ("dev", "prod"):
        raise SystemExit(f"ENV is dev or prod, not {stage!r}")
    declared = stages[stage]["deploy"]["parameters"]["parameter_overrides"]
    pairs = [text.partition("=") for text in [*declared, *shlex.split(given)]]
    return {name: value for name, _, value in pairs}


def refusals(template: Mapping[str, object], chosen: Mapping[str, str]) -> list[str]:
    """Why CloudFormation would not start to deploy with these parameters."""
    try:
        value = Evaluator(template, chosen, str, lambda name, attribute: f"{name}.{attribute}")
    except TemplateError as error:
        return [str(error)]
    rules = template["Rules"]
    assert isinstance(rules, dict)
    return [
        assertion["AssertDescription"]
        for rule in rules.values()
        if value(rule.get("RuleCondition", True))
        for assertion in rule["Assertions"]
        if not value(assertion["Assert"])
    ]


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2:]))
