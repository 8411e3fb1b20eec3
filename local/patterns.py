"""EventBridge's event patterns, which filters of queue and stream triggers are written in too."""

from collections.abc import Mapping
from typing import Any

from local.intrinsics import TemplateError

ABSENT = object()
OPERATORS = {"anything-but", "equals-ignore-case", "exists", "prefix", "suffix"}


def check(pattern: Any) -> None:
    """TemplateError when the pattern asks for what `matches` does not know."""
    if isinstance(pattern, Mapping):
        for name, wanted in pattern.items():
            for part in wanted if name == "$or" else [wanted]:
                check(part)
    elif isinstance(pattern, list):
        for choice in pattern:
            if isinstance(choice, Mapping) and (len(choice) != 1 or not OPERATORS & choice.keys()):
                raise TemplateError(f"the pattern {dict(choice)} is not known to the local stack")


def matches(pattern: Mapping[str, Any], event: Any) -> bool:
    """Whether every field of the pattern finds one of its values in the event."""
    if not isinstance(event, Mapping):
        return False
    for name, wanted in pattern.items():
        if name == "$or":
            if not any(matches(alternative, event) for alternative in wanted):
                return False
        elif isinstance(wanted, Mapping):
            if not matches(wanted, event.get(name)):
                return False
        elif not _one_of(wanted, event.get(name, ABSENT)):
            return False
    return True


def _one_of(wanted: list[Any], found: Any) -> bool:
    values = found if isinstance(found, list) else [found]
    return any(_fits(choice, value) for choice in wanted for value in values)


def _fits(choice: Any, value: Any) -> bool:
    if not isinstance(choice, Mapping):
        return value is not ABSENT and value == choice and isinstance(value, bool) == isinstance(choice, bool)
    [(operator, operand)] = choice.items()
    if operator == "exists":
        return (value is not ABSENT) is bool(operand)
    if value is ABSENT:
        return False
    if operator == "prefix":
        return isinstance(value, str) and value.startswith(operand)
    if operator == "suffix":
        return isinstance(value, str) and value.endswith(operand)
    if operator == "equals-ignore-case":
        return isinstance(value, str) and value.lower() == operand.lower()
    unwanted = operand if isinstance(operand, list) else [operand]
    return not any(_fits(other, value) for other in unwanted)
