"""What a template deploys: the SAM translator expands it, nested stacks are unfolded and every intrinsic is evaluated.

Names and ARNs that AWS assigns are logical ids here: `TurnQueue`, `TurnQueue.QueueName`. A function's code is uploaded
under the function's logical id, or under the name that `uploaded` gives it.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, Final, NamedTuple

from local.intrinsics import Evaluator, parse, transform

ROOT: Final = Path(__file__).resolve().parent.parent
TEMPLATE: Final = "template.yaml"
NESTED: Final = "AWS::CloudFormation::Stack"
LEADING_KEYS: Final = "dynamodb:LeadingKeys"

AWS_MANAGED: Final[Mapping[str, Mapping[str, Any]]] = {
    "AWSLambdaBasicExecutionRole": {
        "Statement": [
            {
                "Effect": "Allow",
                "Action": ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"],
                "Resource": "*",
            }
        ]
    }
}
"""The policies of AWS that SAM attaches to the roles that it makes, as the AWS Managed Policy Reference prints them."""

Read = Callable[[str], str]
"""The text of a file, by its path in the repository."""


class Deployed(NamedTuple):
    resources: dict[str, Any]
    """Those whose conditions hold, of the stack and of the stacks nested in it."""
    outputs: dict[str, Any]
    stack_of: dict[str, str]
    """The nested stack that a resource is in; a resource of the stack itself has none."""


def of_working_tree(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def expand(
    text: str, parameters: Mapping[str, str], uploaded: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The template that SAM hands to CloudFormation."""
    given = tuple(sorted((uploaded or {}).items()))
    expanded: dict[str, Any] = json.loads(_expanded(text, tuple(sorted(parameters.items())), given))
    return expanded


@cache
def _expanded(
    text: str, parameters: tuple[tuple[str, str], ...], uploaded: tuple[tuple[str, str], ...]
) -> str:
    """As JSON: a quarter of a second for each set of parameters."""
    document = parse(text)
    for name, resource in document["Resources"].items():
        for key in ("CodeUri", "ContentUri"):
            if key in resource.get("Properties", {}):
                resource["Properties"][key] = f"s3://bucket/{dict(uploaded).get(name, name)}"
    return json.dumps(transform(document, dict(parameters)))


def deployed(
    parameters: Mapping[str, str],
    read: Read = of_working_tree,
    name: str = TEMPLATE,
    attribute: Callable[[str, str], str] = "{}.{}".format,
) -> Deployed:
    document = expand(read(name), parameters)

    @cache
    def nested(logical_id: str) -> Deployed:
        properties = document["Resources"][logical_id]["Properties"]
        path = PurePosixPath(name).parent / properties["TemplateURL"]
        given = {key: str(value(each)) for key, each in properties["Parameters"].items()}
        return deployed(given, read, str(path), attribute)

    def value_of(logical_id: str, part: str) -> Any:
        if part.startswith("Outputs."):
            return nested(logical_id).outputs[part.removeprefix("Outputs.")]
        return attribute(logical_id, part)

    value = Evaluator(document, parameters, str, value_of)
    whole = Deployed(
        {
            logical_id: {key: value(part) for key, part in resource.items() if key != "Condition"}
            for logical_id, resource in document["Resources"].items()
            if "Condition" not in resource or value.condition(resource["Condition"])
        },
        {
            key: value(output["Value"])
            for key, output in document.get("Outputs", {}).items()
            if "Condition" not in output or value.condition(output["Condition"])
        },
        {},
    )
    for logical_id in [key for key, each in whole.resources.items() if each["Type"] == NESTED]:
        inner = nested(logical_id)
        if both := whole.resources.keys() & inner.resources.keys():
            raise ValueError(f"{logical_id} has resources of the stack around it: {', '.join(both)}")
        whole.resources.update(inner.resources)
        whole.stack_of.update(dict.fromkeys(inner.resources, logical_id))
    return whole


class Grant(NamedTuple):
    """One action on one resource. All keys of a request must be among the families of one grant."""

    action: str
    resource: str
    families: frozenset[str] = frozenset({"*"})
    condition: str = ""
    """What else must hold."""

    def __str__(self) -> str:
        families = "" if self.families == {"*"} else f" {' '.join(sorted(self.families))}"
        return f"{self.action} on {self.resource}{families}{' if ' if self.condition else ''}{self.condition}"

    def covers(self, other: "Grant") -> bool:
        return (
            fnmatchcase(other.action, self.action)
            and fnmatchcase(other.resource, self.resource)
            and all(any(fnmatchcase(one, each) for each in self.families) for one in other.families)
            and self.condition in ("", other.condition)
        )


def grants(role: str, resources: Mapping[str, Any]) -> list[Grant]:
    """What the policies of a role allow within its permissions boundary."""
    properties = resources[role]["Properties"]
    policies = [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
    policies += [_managed(name, resources) for name in properties.get("ManagedPolicyArns", [])]
    policies += [
        each["Properties"]["PolicyDocument"]
        for each in resources.values()
        if each["Type"] == "AWS::IAM::ManagedPolicy" and role in each["Properties"].get("Roles", [])
    ]
    allowed = [grant for policy in policies for grant in _grants(policy)]
    if "PermissionsBoundary" not in properties:
        return allowed
    boundary = list(_grants(_managed(properties["PermissionsBoundary"], resources)))
    return [both for grant in allowed for limit in boundary if (both := _intersection(grant, limit))]


def repeated(found: Iterable[Grant]) -> list[Grant]:
    """The grants that another one makes unnecessary."""
    rest, unnecessary = list(found), []
    for grant in list(rest):
        rest.remove(grant)
        if any(other.covers(grant) for other in rest):
            unnecessary.append(grant)
        else:
            rest.append(grant)
    return unnecessary


def effective(found: Iterable[Grant]) -> set[Grant]:
    """Without repetitions."""
    found = list(found)
    return {grant for grant in found if not any(other != grant and other.covers(grant) for other in found)}


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _managed(name: str, resources: Mapping[str, Any]) -> Mapping[str, Any]:
    if name in resources:
        return dict(resources[name]["Properties"]["PolicyDocument"])
    name = name.rpartition("/")[2]
    if name not in AWS_MANAGED:
        # AWSLambdaSQSQueueExecutionRole, which SAM adds for a queue, reads every queue of the account.
        raise ValueError(
            f"{name}: make the queue or stream an AWS::Lambda::EventSourceMapping, or add the policy to"
            " AWS_MANAGED if it grants no more than needed"
        )
    return AWS_MANAGED[name]


def _grants(policy: Mapping[str, Any]) -> Iterator[Grant]:
    for statement in policy["Statement"]:
        if statement["Effect"] != "Allow":
            raise ValueError(f"only what is allowed can be evaluated: {statement}")
        condition = dict(statement.get("Condition", {}))
        keys = condition.pop("ForAllValues:StringLike", {LEADING_KEYS: ["*"]})
        if keys.keys() != {LEADING_KEYS}:
            raise ValueError(f"not a condition on keys: {keys}")
        for action in as_list(statement["Action"]):
            for resource in as_list(statement["Resource"]):
                yield Grant(
                    action,
                    resource,
                    frozenset(as_list(keys[LEADING_KEYS])),
                    str(condition) if condition else "",
                )


def _intersection(grant: Grant, limit: Grant) -> Grant | None:
    if limit.families != {"*"} or limit.condition:
        raise ValueError(f"a boundary is by action and resource: {limit}")
    action, resource = _narrower(grant.action, limit.action), _narrower(grant.resource, limit.resource)
    return grant._replace(action=action, resource=resource) if action and resource else None


def _narrower(one: str, other: str) -> str | None:
    if fnmatchcase(one, other):
        return one
    return other if fnmatchcase(other, one) else None
