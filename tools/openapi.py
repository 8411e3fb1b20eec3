"""`python -m tools.openapi`: writes openapi.json from the handlers, their models and what they refuse; `--check` compares.

An operation is an `Endpoint`: its folder is the operationId, the models of its signature are the schemas, the first
paragraph of its docstring is the summary. Nothing is said twice: a limit is changed in its model, a refusal at its handler.
"""

import ast
import importlib.util
import inspect
import json
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, get_origin

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

from practice.api import Endpoint, Reply
from practice.errors import BodyNotBase64, BodyNotUtf8, PracticeError
from practice.limits import IDEMPOTENCY_KEY_CHARACTERS
from practice.preconditions import Versioned

Json = dict[str, Any]

ROOT: Final = Path(__file__).resolve().parent.parent
TARGET: Final = ROOT / "layers" / "practice" / "practice" / "openapi.json"
BASE: Final = "/user/practice"
VERSION: Final = "1.0.0"

TAGS: Final = {
    "sessions": "What a learner practises on: a class, an agent, knowledge; with settings and responses.",
    "settings": "Style, generation parameters and the selected examples of a session.",
    "models": "The models that answer in a session.",
    "responses": "What a model answered to a prompt.",
    "few-shot-examples": "The learner's library of examples.",
    "turns": "One prompt to several models, every answer kept.",
    "account": "Everything of a learner, out and in.",
    "contract": "This document.",
}
NOUN_OF_VERB: Final = {
    "run": "turns",
    "chat": "turns",
    "export": "account",
    "import": "account",
    "openapi.json": "contract",
}
METHODS: Final = ("GET", "POST", "PATCH", "DELETE")


def endpoints(functions: Path = ROOT / "functions") -> list[Endpoint]:
    """Every handler that has a route, in the order of the document."""
    found = [handler for folder in sorted(functions.iterdir()) if (handler := load(folder)) is not None]
    return sorted(
        found, key=lambda each: (list(TAGS).index(tag_of(each)), each.path, METHODS.index(each.method))
    )


def load(folder: Path) -> Endpoint | None:
    """None for what is no function, and for functions that events start."""
    file = folder / "handler.py"
    if not file.exists():
        return None
    spec = importlib.util.spec_from_file_location(f"functions.{folder.name}.handler", file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    handler = module.lambda_handler
    return handler if isinstance(handler, Endpoint) and handler.path else None


def tag_of(endpoint: Endpoint) -> str:
    words = [word for word in endpoint.path.removeprefix(BASE).split("/") if word and word[0] != "{"]
    words = [NOUN_OF_VERB.get(word, word) for word in words]
    return next(word for word in reversed(words) if word in TAGS)


# Schemas


class _Schemas(GenerateJsonSchema):
    """Every field of an answer is always there; titles that only repeat a name are left out."""

    def field_is_required(self, field: Any, total: bool) -> bool:
        return self.mode == "serialization" or super().field_is_required(field, total)

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def model_schema(self, schema: Any) -> Json:
        made = super().model_schema(schema)
        for name, text in field_docs(schema["cls"]).items():
            if name in made.get("properties", {}):
                made["properties"][name].setdefault("description", text)
        return {name: value for name, value in made.items() if name != "title"}

    def enum_schema(self, schema: Any) -> Json:
        made = super().enum_schema(schema)
        return {name: value for name, value in made.items() if name != "title"}


def field_docs(model: type[BaseModel]) -> dict[str, str]:
    """The docstrings below the fields of a model."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if base is BaseModel or not issubclass(base, BaseModel):
            continue
        [body] = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(body, ast.ClassDef)
        for field, after in zip(body.body, body.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                    found[field.target.id] = inspect.cleandoc(str(after.value.value))
    return found


class Schemas:
    """The schema of each type that goes over the wire, one component for each model."""

    def __init__(self, endpoints_: Iterable[Endpoint]) -> None:
        wanted: dict[tuple[Any, JsonSchemaMode], TypeAdapter[Any]] = {}
        for each in endpoints_:
            for model in (each.query_model, each.body_model):
                if model:
                    wanted[model, "validation"] = TypeAdapter(model)
            if each.answer_model not in (None, str):
                key = self._key(each.answer_model)
                wanted[key, "serialization"] = TypeAdapter(each.answer_model)
        self._schemas, shared = TypeAdapter.json_schemas(
            [(key, mode, adapter) for (key, mode), adapter in wanted.items()],
            ref_template="#/components/schemas/{model}",
            schema_generator=_Schemas,
        )
        self.components: Json = shared.get("$defs", {})

    def body(self, model: type[BaseModel]) -> Json:
        return self._schemas[model, "validation"]

    def answer(self, type_: Any) -> Json:
        return self._schemas[self._key(type_), "serialization"] if type_ is not str else {"type": "object"}

    def query(self, model: type[BaseModel]) -> Json:
        return self.resolved(self._schemas[model, "validation"])

    def resolved(self, schema: Json) -> Json:
        """A copy of the component that a reference names."""
        if "$ref" in schema:
            return dict(self.components[schema["$ref"].rpartition("/")[2]])
        return schema

    @staticmethod
    def _key(type_: Any) -> Any:
        return str(type_) if get_origin(type_) else type_


# Examples: every object as the product's own reference shows it


def example(schema: Json, schemas: Schemas) -> Any:
    """123, "<string>", true, the first of an enumeration, one element in a list, nothing in a free-form object."""
    schema = schemas.resolved(schema)
    if "examples" in schema:
        return schema["examples"][0]
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return example(schema["anyOf"][0], schemas)
    kind = schema.get("type")
    if kind == "object":
        return {name: example(each, schemas) for name, each in schema.get("properties", {}).items()}
    if kind == "array":
        return [example(schema["items"], schemas)]
    if kind == "string":
        return "2023-11-07T05:31:56Z" if schema.get("format") == "date-time" else "<string>"
    if kind == "boolean":
        return True
    return min(123, schema.get("maximum", 123))


# Operations


def header(description: str, schema: Json | None = None) -> Json:
    return {"description": description, "schema": schema or {"type": "string"}}


HEADERS: Final = {
    "ETag": header("The version of the object's own fields, strong; for `If-Match`."),
    "Location": header("Where the result will be found."),
    "Retry-After": header("Seconds to wait.", {"type": "integer", "minimum": 0}),
    "x-next-cursor": header("Continues the list, as the query parameter `cursor`; absent at its end."),
    "x-request-id": header("Names the request in the logs."),
}

ERROR_SCHEMAS: Final = {
    "Error": {
        "type": "object",
        "description": "A refusal; `detail` is a stable text.",
        "properties": {"detail": {"type": "string"}},
        "required": ["detail"],
    },
    "GatewayError": {
        "type": "object",
        "description": "The gateway's own refusal.",
        "properties": {"message": {"type": ["string", "null"]}},
        "required": ["message"],
    },
    "HTTPValidationError": {
        "type": "object",
        "description": "What is wrong with path, query and body, in that order.",
        "properties": {
            "detail": {
                "type": "array",
                "minItems": 1,
                "items": {"$ref": "#/components/schemas/ValidationError"},
            }
        },
        "required": ["detail"],
    },
    "ValidationError": {
        "type": "object",
        "properties": {
            "type": {"type": "string"},
            "loc": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}},
            "msg": {"type": "string"},
        },
        "required": ["type", "loc", "msg"],
    },
}


def ref(kind: str, name: str) -> Json:
    return {"$ref": f"#/components/{kind}/{name}"}


def response(
    description: str, schema: Json | None = None, *headers: str, examples: Json | None = None
) -> Json:
    made: Json = {"description": description}
    if headers:
        made["headers"] = {name: ref("headers", name) for name in headers}
    if schema:
        made["content"] = {
            "application/json": {"schema": schema} | ({"examples": examples} if examples else {})
        }
    return made


def details(texts: Iterable[str]) -> Json:
    return {
        "type": "object",
        "properties": {"detail": {"type": "string", "enum": list(texts)}},
        "required": ["detail"],
    }


EITHER: Final = {"anyOf": [ref("schemas", "Error"), ref("schemas", "GatewayError")]}

RESPONSES: Final = {
    "Unauthorized": response(
        "No valid token.", details(["unauthorized"]), "WWW-Authenticate", "x-request-id"
    ),
    "PreconditionFailed": response(
        "Somebody was faster; `ETag` is the version that stands now.",
        details(["precondition_failed"]),
        "ETag",
        "x-request-id",
    ),
    "TooLarge": response("The request is larger than the gateway takes.", ref("schemas", "GatewayError")),
    "Invalid": response("The request does not fit.", ref("schemas", "HTTPValidationError"), "x-request-id"),
    "TooMany": response("Too many requests.", EITHER, "Retry-After"),
    "InternalError": response("A fault of the service; its cause is in the log.", EITHER),
    "Unavailable": response(
        "The store throttles or does not answer; nothing is wrong with the request.", EITHER, "Retry-After"
    ),
    "StorageFull": response(
        "The user's storage is full: reads and deletes go on.", details(["storage_full"]), "x-request-id"
    ),
}


def operation(endpoint: Endpoint, schemas: Schemas, links: Json) -> Json:
    summary, _, description = inspect.cleandoc(endpoint.__doc__ or "").partition("\n\n")
    made: Json = {
        "operationId": endpoint.name,
        "tags": [tag_of(endpoint)],
        "summary": " ".join(summary.split()),
    }
    if description:
        made["description"] = description
    if parameters := list(parameters_of(endpoint, schemas)):
        made["parameters"] = parameters
    if endpoint.body_model:
        content: Json = {"schema": schemas.body(endpoint.body_model)}
        content["examples"] = {"example": ref("examples", endpoint.body_model.__name__)}
        made["requestBody"] = {"required": True, "content": {"application/json": content}}
    made["responses"] = responses_of(endpoint, schemas)
    if links:
        made["responses"][str(int(endpoint.status))]["links"] = links
    if not endpoint.caller_name:
        made["security"] = []
    return made


def parameters_of(endpoint: Endpoint, schemas: Schemas) -> Iterator[Json]:
    for name in endpoint.path_parameters:
        yield ref("parameters", name)
    if endpoint.query_model:
        model = schemas.query(endpoint.query_model)
        for name, schema in model.get("properties", {}).items():
            yield query_parameter(name, schema, required=name in model.get("required", ()))
    if endpoint.if_match_name:
        yield ref("parameters", "If-Match")
    if is_idempotent(endpoint):
        yield ref("parameters", "Idempotency-Key")


def query_parameter(name: str, schema: Json, *, required: bool) -> Json:
    """In a query string there is no null: what may be null may be left out."""
    made: Json = {"name": name, "in": "query"}
    schema = {key: value for key, value in schema.items() if key != "default" or value not in (None, [])}
    if required:
        made["required"] = True
    if "description" in schema:
        made["description"] = schema.pop("description")
    if "anyOf" in schema:
        [only] = [each for each in schema.pop("anyOf") if each != {"type": "null"}]
        schema = only | schema
    if schema.get("type") == "array":
        made |= {"style": "form", "explode": False}
    return made | {"schema": schema}


def is_idempotent(endpoint: Endpoint) -> bool:
    return bool(getattr(endpoint, "is_idempotent", False))


def responses_of(endpoint: Endpoint, schemas: Schemas) -> Json:
    made = {str(int(endpoint.status)): success(endpoint, schemas)}
    refused = by_status(endpoint)
    for status, texts in refused.items():
        made[str(int(status))] = response(
            " or ".join(f"`{text}`" for text in texts), details(texts), "x-request-id"
        )
    if endpoint.path_parameters or endpoint.query_model or endpoint.body_model or is_idempotent(endpoint):
        made["422"] = ref("responses", "Invalid")
    if endpoint.caller_name:
        made["401"] = ref("responses", "Unauthorized")
        made["503"] = ref("responses", "Unavailable")
        if endpoint.method != "GET" and endpoint.method != "DELETE":
            made["507"] = ref("responses", "StorageFull")
    if endpoint.body_model:
        made["413"] = ref("responses", "TooLarge")
    if endpoint.if_match_name:
        made["412"] = ref("responses", "PreconditionFailed")
    made["429"] = ref("responses", "TooMany")
    made["500"] = ref("responses", "InternalError")
    return dict(sorted(made.items()))


def by_status(endpoint: Endpoint) -> dict[HTTPStatus, list[str]]:
    refusals: list[type[PracticeError]] = list(endpoint.refuses)
    if endpoint.body_model:
        refusals += [BodyNotUtf8, BodyNotBase64]
    found: dict[HTTPStatus, list[str]] = {}
    for each in refusals:
        texts = found.setdefault(each.status, [])
        if each.detail not in texts:
            texts.append(each.detail)
    return found


def success(endpoint: Endpoint, schemas: Schemas) -> Json:
    headers = ["x-request-id"]
    if get_origin(endpoint.answer_type) is Versioned:
        headers.insert(0, "ETag")
    answer = endpoint.answer_model
    if answer is None:
        return response("Done; there is nothing to say.", None, *headers)
    if get_origin(answer) is list and get_origin(endpoint.answer_type) is Reply:
        headers.append("x-next-cursor")
    examples = None
    if isinstance(answer, type) and issubclass(answer, BaseModel):
        examples = {"example": ref("examples", answer.__name__)}
    return response("Successful response.", schemas.answer(answer), *headers, examples=examples)


# The document


def document() -> Json:
    found = endpoints()
    schemas = Schemas(found)
    examples: Json = {}
    for each in found:
        if each.body_model:
            examples[each.body_model.__name__] = {"value": example(schemas.body(each.body_model), schemas)}
        if isinstance(each.answer_model, type) and issubclass(each.answer_model, BaseModel):
            examples[each.answer_model.__name__] = {
                "value": example(schemas.answer(each.answer_model), schemas)
            }
    paths: Json = {}
    for each in found:
        paths.setdefault(each.path, {})[each.method.lower()] = operation(each, schemas, links_of(each, found))
    used = {tag_of(each) for each in found}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Practice API", "version": VERSION, "description": DESCRIPTION},
        "servers": [{"url": "/"}],
        "security": [{"HTTPBearer": []}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items() if name in used],
        "paths": paths,
        "components": {
            "securitySchemes": {"HTTPBearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            "parameters": shared_parameters(found),
            "headers": HEADERS | {"WWW-Authenticate": header("`Bearer`.")},
            "responses": RESPONSES,
            "schemas": dict(sorted({**used_schemas(schemas, found), **ERROR_SCHEMAS}.items())),
            "examples": dict(sorted(examples.items())),
        },
    }


DESCRIPTION: Final = (
    "Practice sessions of learners: settings, models, responses and few-shot examples.\n\n"
    "Every field of an object is always present. Ids are integers up to 2^53-1. Timestamps are RFC 3339 in UTC with six "
    "fractional digits. In a body, an absent field is unchanged. Somebody else's object answers like one that does not exist."
)


def used_schemas(schemas: Schemas, found: Iterable[Endpoint]) -> Json:
    """Without the query models, which became parameters."""
    queries = {each.query_model.__name__ for each in found if each.query_model}
    return {name: schema for name, schema in schemas.components.items() if name not in queries}


def shared_parameters(found: Iterable[Endpoint]) -> Json:
    made: Json = {}
    for each in found:
        for name in each.path_parameters:
            schema = {"type": "integer", "minimum": 1}
            made[name] = {"name": name, "in": "path", "required": True, "schema": schema}
    made["If-Match"] = {
        "name": "If-Match",
        "in": "header",
        "description": 'ETags of the versions that may be changed, `"1"` or a list; `*` for any.',
        "schema": {"type": "string"},
    }
    made["Idempotency-Key"] = {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "Chosen by the client: within 24 hours the same request with the same key is done once.",
        "schema": {"type": "string", "minLength": 1, "maxLength": IDEMPOTENCY_KEY_CHARACTERS},
    }
    return made


def links_of(endpoint: Endpoint, found: Iterable[Endpoint]) -> Json:
    """From what a POST made to every operation that takes its id."""
    answer = endpoint.answer_model
    if endpoint.method != "POST" or not (isinstance(answer, type) and issubclass(answer, BaseModel)):
        return {}
    given = [name for name in answer.model_fields if name.endswith("_id")]
    made: Json = {}
    for each in found:
        needed = each.path_parameters
        if needed and needed[0] == given[0]:
            made[each.name] = {
                "operationId": each.name,
                "parameters": {name: f"$response.body#/{name}" for name in needed if name in given},
            }
    return made


def text(contract: Mapping[str, Any]) -> str:
    """One line for each operation and each component: short to send, and a change is one line of a diff."""
    return "\n".join(_lines(contract, 0)) + "\n"


def _lines(value: Mapping[str, Any], depth: int) -> Iterator[str]:
    yield "{"
    entries = list(value.items())
    for n, (name, inner) in enumerate(entries):
        comma = "," if n < len(entries) - 1 else ""
        if isinstance(inner, dict) and inner and depth < 2 and name not in ("info", "securitySchemes"):
            first, *rest = _lines(inner, depth + 1)
            yield f"{json.dumps(name)}:{first}"
            yield from rest[:-1]
            yield rest[-1] + comma
        else:
            yield f"{json.dumps(name)}:{json.dumps(inner, ensure_ascii=False, separators=(',', ':'))}{comma}"
    yield "}"


def main(arguments: list[str]) -> int:
    made = text(document())
    if arguments == ["--check"]:
        if TARGET.read_text() != made:
            print("openapi.json is not what the code says: run make openapi", file=sys.stderr)
            return 1
        return 0
    if arguments:
        print("usage: python -m tools.openapi [--check]", file=sys.stderr)
        return 2
    TARGET.write_text(made)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
