"""Values for the fields of any model, by its schema: what is planted everywhere is planted in a new field too."""

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

Json = dict[str, Any]
Plant = Callable[[str, Json], Any]
"""What goes into a field, by its name and its rules; `...` leaves the choice to `filled`."""

A_MOMENT = "2026-01-07T05:31:56.120501Z"


def filled(model: type[BaseModel], plant: Plant) -> Json:
    """A body with every field in it, valid as far as `plant` is."""
    whole: Json
    [whole] = each_filled(model.model_json_schema(), plant)
    return whole


def each_filled(schema: Json, plant: Plant) -> list[Any]:
    """The same for each shape that a union may have, whatever its schema is of."""
    definitions = schema.get("$defs", {})
    return [_value("", shape, definitions, plant) for shape in schema.get("oneOf", [schema])]


def _value(name: str, given: Json, definitions: Json, plant: Plant) -> Any:
    rules = given
    while "$ref" in rules or "anyOf" in rules or "oneOf" in rules:
        if "$ref" in rules:
            rules = definitions[rules["$ref"].rpartition("/")[2]]
        else:
            choices: list[Json] = rules.get("anyOf") or rules["oneOf"]
            rules = next(choice for choice in choices if choice.get("type") != "null")
    if "const" in rules:
        return rules["const"]
    if "enum" in rules:
        return rules["enum"][0]
    if "properties" in rules:
        own = {each: _value(each, inner, definitions, plant) for each, inner in rules["properties"].items()}
        return own | (planted_object(plant, name) if rules.get("additionalProperties") else {})
    if rules.get("type") == "array":
        return [_value(name, rules["items"], definitions, plant)]
    if rules.get("type") == "object":
        return planted_object(plant, name)
    chosen = plant(name, rules)
    if chosen is not ...:
        return chosen
    if rules.get("format") == "date-time" or rules.get("pattern", "").startswith(r"^\d{4}"):
        return A_MOMENT
    if rules["type"] == "integer":
        return max(1, rules.get("minimum", 1))
    return {"string": "text", "number": 0.5, "boolean": True}[rules["type"]]


def planted_object(plant: Plant, name: str) -> Json:
    """A free-form object: its keys are texts too."""
    text = plant(name, {"type": "string"})
    word = "text" if text is ... else text
    return {word: [{f"{word}-inside": word}]}
