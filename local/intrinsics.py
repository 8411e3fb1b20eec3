"""Templates as the SAM translator makes them, and their intrinsic functions with local values."""

import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import samtranslator  # type: ignore[import-untyped]  # has no types
import yaml
from samtranslator.yaml_helper import (  # type: ignore[import-untyped]  # has no types
    intrinsics_multi_constructor,
)

ACCOUNT = "000000000000"
REGION = "us-east-1"
STACK = "practice-local"

NO_VALUE = object()
PSEUDO_PARAMETERS: Mapping[str, Any] = {
    "AWS::AccountId": ACCOUNT,
    "AWS::NoValue": NO_VALUE,
    "AWS::NotificationARNs": [],
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::StackId": f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{STACK}/local",
    "AWS::StackName": STACK,
    "AWS::URLSuffix": "amazonaws.com",
}


class TemplateError(Exception):
    """The template says something the local stack cannot serve."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # libyaml's, if it is installed
    """Ten times as fast as the loader that SAM uses."""


_Loader.add_multi_constructor("!", intrinsics_multi_constructor)


def parse(text: str) -> dict[str, Any]:
    document: Any = yaml.load(text, _Loader)  # noqa: S506 (a safe loader)
    if not isinstance(document, dict) or not isinstance(document.get("Resources"), dict):
        raise TemplateError("not a CloudFormation template: it has no Resources")
    return dict(document)


def translate(path: Path, parameters: Mapping[str, str]) -> dict[str, Any]:
    """The CloudFormation template that SAM deploys, its functions' code at the S3 key that was their folder.

    The translator takes a second to load, so the latest translation of each file is kept beside it.
    """
    text = path.read_text(encoding="utf-8")
    given = repr((samtranslator.__version__, sorted(parameters.items()), text))
    key = hashlib.sha256(given.encode()).hexdigest()
    kept = path.parent / ".tools" / "translated" / f"{path.stem}.json"
    with suppress(OSError, ValueError, LookupError):
        found = json.loads(kept.read_text())
        if found["key"] == key:
            return dict(found["template"])
    document = parse(text)
    if "Transform" in document:
        for resource in document["Resources"].values():
            properties = resource.get("Properties") or {}
            for name in {"CodeUri", "ContentUri"} & properties.keys():
                properties[name] = f"s3://local/{properties[name]}"
        document = transform(document, parameters)
    with suppress(OSError):  # a folder that cannot be written: translated again at the next start
        kept.parent.mkdir(parents=True, exist_ok=True)
        fresh = kept.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps({"key": key, "template": document}))
        fresh.replace(kept)
    return document


def transform(document: dict[str, Any], parameters: Mapping[str, str]) -> dict[str, Any]:
    """The template that SAM hands to CloudFormation. The code of its functions is in S3 already. Raises TemplateError."""
    from samtranslator.model.exceptions import (  # type: ignore[import-untyped]  # has no types
        InvalidDocumentException,
    )
    from samtranslator.public.translator import (  # type: ignore[import-untyped]  # has no types
        ManagedPolicyLoader,
    )
    from samtranslator.translator import transform as sam  # type: ignore[import-untyped]  # has no types

    # It warns of features that it does not have here, and asks the environment for the region.
    logging.getLogger("samtranslator").setLevel(logging.ERROR)
    try:
        with patch.dict(os.environ, AWS_DEFAULT_REGION=REGION):
            translated = sam.transform(document, dict(parameters), ManagedPolicyLoader(None))
    except InvalidDocumentException as error:
        raise TemplateError(f"SAM refuses the template: {error.causes[0].message}") from error
    plain: dict[str, Any] = json.loads(json.dumps(translated))
    return plain


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
        declared: Mapping[str, Any] = document.get("Parameters") or {}
        if unknown := sorted(overrides.keys() - declared.keys()):
            raise TemplateError(f"the template has no parameter {', '.join(unknown)}")
        given = {name: _parameter(each, overrides.get(name)) for name, each in declared.items()}
        self._parameters: Mapping[str, Any] = {**PSEUDO_PARAMETERS, **given}

    def __call__(self, value: Any) -> Any:
        if isinstance(value, list):
            return [item for item in map(self, value) if item is not NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            [(name, argument)] = value.items()
            if name == "Ref" or name.startswith("Fn::"):
                return self._call(name, argument)
            if name == "Condition" and isinstance(argument, str):
                return self.condition(argument)
        resolved = {key: self(item) for key, item in value.items()}
        return {key: item for key, item in resolved.items() if item is not NO_VALUE}

    def condition(self, name: str) -> bool:
        if name not in self._conditions:
            raise TemplateError(f"the template has no condition {name}")
        return bool(self(self._conditions[name]))

    def condition_of(self, resource: Mapping[str, Any]) -> bool:
        return "Condition" not in resource or self.condition(resource["Condition"])

    def _call(self, function: str, argument: Any) -> Any:
        match function.removeprefix("Fn::"), argument:
            case "Ref", str(name):
                return self._parameters[name] if name in self._parameters else self._reference(name)
            case "GetAtt", [name, attribute]:
                return self._attribute(name, attribute)
            case "Sub", str(text):
                return self._substitute(text, {})
            case "Sub", [text, names]:
                return self._substitute(text, names)
            case "If", [name, when_true, when_false]:
                return self(when_true if self.condition(name) else when_false)
            case "Equals", [left, right]:
                return str(self(left)) == str(self(right))
            case "Not", [condition]:
                return not self(condition)
            case "And", conditions:
                return all(map(self, conditions))
            case "Or", conditions:
                return any(map(self, conditions))
            case "Join", [separator, parts]:
                return str(separator).join(map(str, self(parts)))
            case "Split", [separator, text]:
                return str(self(text)).split(separator)
            case "Select", [index, items]:
                return self(items)[int(self(index))]
            case "FindInMap", [name, first, second]:
                return self._mappings[self(name)][self(first)][self(second)]
            case "ImportValue", name:
                return self(name)
        raise TemplateError(f"{function} is not known to the local stack")

    def _substitute(self, text: str, names: Mapping[str, Any]) -> str:
        def value_of(match: re.Match[str]) -> str:
            name = match.group(1)
            if name.startswith("!"):
                return "${" + name[1:] + "}"
            if name in names:
                return str(self(names[name]))
            return str(self._attribute(*name.split(".", 1)) if "." in name else self._call("Ref", name))

        return re.sub(r"\$\{([^{}]+)\}", value_of, text)


def _parameter(declared: Mapping[str, Any], override: str | None) -> Any:
    value = declared.get("Default", "") if override is None else override
    kind = str(declared.get("Type", "String"))
    if kind == "CommaDelimitedList" or kind.startswith("List<"):
        return [part.strip() for part in str(value).split(",")] if value != "" else []
    return str(value)
