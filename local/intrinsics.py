"""CloudFormation's intrinsic functions, evaluated for the local stack."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import yaml

ACCOUNT = "000000000000"
REGION = "us-east-1"
STACK = "practice-local"

PSEUDO_PARAMETERS = {
    "AWS::AccountId": ACCOUNT,
    "AWS::NotificationARNs": [],
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::StackId": f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{STACK}/local",
    "AWS::StackName": STACK,
    "AWS::URLSuffix": "amazonaws.com",
}
NO_VALUE = object()


class TemplateError(Exception):
    """The template says something the local stack cannot serve."""


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short tags, which become their long form."""


def _short_tag(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _short_tag)


def parse(text: str) -> dict[str, Any]:
    document = yaml.load(text, _Loader)  # noqa: S506 (a SafeLoader with more tags)
    if not isinstance(document, dict) or not isinstance(document.get("Resources"), dict):
        raise TemplateError("not a CloudFormation template: it has no Resources")
    return document


class Evaluator:
    """Values of a template with its parameters, conditions and resources filled in."""

    def __init__(
        self,
        document: Mapping[str, Any],
        overrides: Mapping[str, str],
        reference: Callable[[str], Any],
        attribute: Callable[[str, str], Any],
    ) -> None:
        self._conditions: Mapping[str, Any] = document.get("Conditions") or {}
        self._mappings: Mapping[str, Any] = document.get("Mappings") or {}
        self._reference = reference
        self._attribute = attribute
        self._parameters = {
            name: _parameter(declared, overrides.get(name))
            for name, declared in (document.get("Parameters") or {}).items()
        }
        if unknown := sorted(overrides.keys() - self._parameters.keys()):
            raise TemplateError(f"the template has no parameter {', '.join(unknown)}")

    def __call__(self, value: Any) -> Any:
        if isinstance(value, list):
            return [item for item in map(self, value) if item is not NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            [(name, argument)] = value.items()
            if name == "Ref":
                return self._ref(argument)
            if name == "Condition" and isinstance(argument, str):
                return self.condition(argument)
            if name.startswith("Fn::"):
                function = getattr(self, "_fn_" + name.removeprefix("Fn::").lower(), None)
                if function is None:
                    raise TemplateError(f"{name} is not known to the local stack")
                return function(argument)
        resolved = {key: self(item) for key, item in value.items()}
        return {key: item for key, item in resolved.items() if item is not NO_VALUE}

    def condition(self, name: str) -> bool:
        if name not in self._conditions:
            raise TemplateError(f"the template has no condition {name}")
        return bool(self(self._conditions[name]))

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return NO_VALUE
        if name in PSEUDO_PARAMETERS:
            return PSEUDO_PARAMETERS[name]
        if name in self._parameters:
            return self._parameters[name]
        return self._reference(name)

    def _fn_getatt(self, argument: list[str]) -> Any:
        return self._attribute(argument[0], argument[1])

    def _fn_sub(self, argument: Any) -> str:
        text, names = (argument, {}) if isinstance(argument, str) else argument

        def value_of(match: re.Match[str]) -> str:
            name = match.group(1)
            if name.startswith("!"):
                return "${" + name[1:] + "}"
            if name in names:
                return str(self(names[name]))
            if "." in name:
                return str(self._attribute(*name.split(".", 1)))
            return str(self._ref(name))

        return re.sub(r"\$\{([^{}]+)\}", value_of, text)

    def _fn_if(self, argument: list[Any]) -> Any:
        name, when_true, when_false = argument
        return self(when_true if self.condition(name) else when_false)

    def _fn_equals(self, argument: list[Any]) -> bool:
        left, right = self(argument)
        return str(left) == str(right)

    def _fn_not(self, argument: list[Any]) -> bool:
        return not self(argument[0])

    def _fn_and(self, argument: list[Any]) -> bool:
        return all(self(item) for item in argument)

    def _fn_or(self, argument: list[Any]) -> bool:
        return any(self(item) for item in argument)

    def _fn_join(self, argument: list[Any]) -> str:
        separator, parts = argument
        return str(separator).join(str(part) for part in self(parts))

    def _fn_split(self, argument: list[Any]) -> list[str]:
        separator, text = argument
        return str(self(text)).split(separator)

    def _fn_select(self, argument: list[Any]) -> Any:
        index, items = argument
        return self(items)[int(self(index))]

    def _fn_findinmap(self, argument: list[Any]) -> Any:
        name, first, second = self(argument)
        return self._mappings[name][first][second]

    def _fn_importvalue(self, argument: Any) -> Any:
        return self(argument)


def _parameter(declared: Mapping[str, Any], override: str | None) -> Any:
    value = declared.get("Default", "") if override is None else override
    kind = str(declared.get("Type", "String"))
    if kind == "CommaDelimitedList" or kind.startswith("List<"):
        return [part.strip() for part in str(value).split(",")] if value != "" else []
    return str(value)
