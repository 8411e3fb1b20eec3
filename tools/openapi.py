"""`python -m tools.openapi`: write openapi.json from the handlers, their schemas and their errors; `--check` compares.

An operation is an `Endpoint`. Its folder is the operationId, the types of its signature are the schemas, and the first
paragraph of its docstring is the summary. Each fact has one source: a limit is in its schema, an error at its handler.
"""

import ast
import importlib.util
import inspect
import json
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from types import UnionType
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

from practice.caller import Caller
from practice.errors import (
    BodyNotBase64,
    BodyNotUtf8,
    DailyBudgetSpent,
    IdempotencyKeyReused,
    NoModelAnswered,
    PracticeError,
    RequestInFlight,
    StorageFull,
    Unauthorized,
    VersionConflict,
)
from practice.http.endpoint import Endpoint
from practice.http.inputs import Preferences
from practice.http.replies import Reply, status_of
from practice.limits import IDEMPOTENCY_KEY_CHARACTERS, MAX_ID
from practice.schemas import turn_replies
from practice.schemas.usage import Usage
from practice.store.idempotency import IdempotentAttempt
from practice.table import ExpectedVersions, Versioned

Json = dict[str, Any]

ROOT: Final = Path(__file__).resolve().parent.parent
TARGET: Final = ROOT / "layers" / "practice" / "practice" / "openapi.json"
BASE: Final = "/user/practice"
VERSION: Final = "1.0.0"
DESCRIPTION: Final = """\
Practice sessions of learners: settings, models, responses and few-shot examples.

Every field of an object is always present. Ids are integers up to 2^53-1. Timestamps are RFC 3339 in UTC with six \
fractional digits. Texts are stored as sent. Another user's object behaves like an unknown one."""

TAGS: Final = {
    "sessions": "The workspace of a learner: a class, an agent, knowledge ids, settings and responses.",
    "settings": "Style, generation parameters and the selected examples of a session.",
    "models": "The models of a session.",
    "responses": "The text that a model produced for a prompt.",
    "few-shot-examples": "The learner's library of examples.",
    "turns": "One prompt to several models; every response is stored.",
    "judging": "Ratings of answers, votes between the answers of a turn, and the standings that votes add up to.",
    "account": "Export and import of all data of a learner, and what models cost.",
    "contract": "This document.",
}
NOUN_OF: Final = {
    "run": "turns",
    "chat": "turns",
    "rating": "judging",
    "blind": "judging",
    "vote": "judging",
    "standings": "judging",
    "export": "account",
    "import": "account",
    "usage": "account",
    "openapi.json": "contract",
}
METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")


def endpoints(functions: Path = ROOT / "functions") -> list[Endpoint]:
    """Every handler with a route, in the order of the document."""
    handlers = [load_handler(file.parent) for file in functions.glob("*/handler.py")]
    found = [handler for handler in handlers if isinstance(handler, Endpoint) and handler.path]
    tags = list(TAGS)
    return sorted(found, key=lambda each: (tags.index(tag_of(each)), each.path, METHODS.index(each.method)))


def load_handler(folder: Path) -> Any:
    """An Endpoint, or the handler of an event function."""
    spec = importlib.util.spec_from_file_location(f"functions.{folder.name}.handler", folder / "handler.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    handler = module.lambda_handler
    if isinstance(handler, Endpoint):
        handler.name = folder.name
    return handler


def tag_of(endpoint: Endpoint) -> str:
    words = [NOUN_OF.get(word, word) for word in endpoint.path.removeprefix(BASE).split("/")]
    tag = next((word for word in reversed(words) if word in TAGS), None)
    if tag is None:
        raise SystemExit(
            f"tools/openapi.py: no tag for {endpoint.route}: add its noun to TAGS, with a description, "
            f"or map one of its words ({', '.join(words[1:])}) to a tag in NOUN_OF"
        )
    return tag


def answered(endpoint: Endpoint) -> Any:
    """The type of the 2xx body, without that of a 202."""
    kinds = [kind for kind in get_args(endpoint.answer_model) if kind is not endpoint.accepted_model]
    return kinds[0] if get_origin(endpoint.answer_model) is UnionType and kinds else endpoint.answer_model


def is_model(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, BaseModel)


def ref(kind: str, name: str) -> Json:
    return {"$ref": f"#/components/{kind}/{name}"}


# Schemas


INT64: Final = {"format": "int64"}


class _Generator(GenerateJsonSchema):
    """Fields of a response body are required, titles that repeat a name are omitted, nullable types are short, and integers
    state their width, because generators for typed languages read an integer without a format as 32 bits.
    """

    def field_is_required(self, field: Any, total: bool) -> bool:
        return self.mode == "serialization" or super().field_is_required(field, total)

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def int_schema(self, schema: Any) -> Json:
        made = super().int_schema(schema)
        # Knowledge ids go up to 2^63, which exceeds 64 bits.
        return made | INT64 if 2**31 <= made.get("maximum", MAX_ID) < 2**63 else made

    def nullable_schema(self, schema: Any) -> Json:
        made = super().nullable_schema(schema)
        first, *others = made.get("anyOf", [{}])
        if others == [{"type": "null"}] and isinstance(first.get("type"), str) and "enum" not in first:
            return {**first, "type": [first["type"], "null"]}
        return made

    def model_schema(self, schema: Any) -> Json:
        made = super().model_schema(schema)
        docs = field_docs(schema["cls"])
        for name, field in made.get("properties", {}).items():
            if name in docs:
                field["description"] = docs[name]
        return made


def field_docs(model: type[BaseModel]) -> dict[str, str]:
    """The docstrings below the fields of a schema."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if base is BaseModel or not issubclass(base, BaseModel):
            continue
        [body] = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(body, ast.ClassDef)
        for field, after in zip(body.body, body.body[1:], strict=False):
            match field, after:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(doc))):
                    found[name] = inspect.cleandoc(doc)
    return found


class Schemas:
    """The JSON Schema of each type of a body, with one component per schema."""

    def __init__(self, found: Sequence[Endpoint]) -> None:
        self._queries = {each.query_model.__name__ for each in found if each.query_model}
        wanted: dict[tuple[Any, JsonSchemaMode], TypeAdapter[Any]] = {}
        for each in found:
            for model in filter(None, (each.query_model, each.body_model)):
                wanted[model, "validation"] = TypeAdapter(model)
            bodies = (BODY_OF[error] for error in each.refuses if error in BODY_OF)
            for type_ in (answered(each), each.accepted_model, *bodies):
                if type_ not in (None, str):
                    wanted[_key(type_), "serialization"] = TypeAdapter(type_)
        self._schemas, shared = TypeAdapter.json_schemas(
            [(key, mode, adapter) for (key, mode), adapter in wanted.items()],
            ref_template="#/components/schemas/{model}",
            schema_generator=_Generator,
        )
        self._components: Json = shared["$defs"]
        for component in self._components.values():
            component.pop("title", None)

    def body(self, model: type[BaseModel]) -> Json:
        return self._schemas[model, "validation"]

    def answer(self, type_: Any) -> Json:
        return (
            {"type": "object", "additionalProperties": True}
            if type_ is str
            else self._schemas[_key(type_), "serialization"]
        )

    def query(self, model: type[BaseModel]) -> Json:
        return self.resolved(self._schemas[model, "validation"])

    def resolved(self, schema: Json) -> Json:
        """The component behind a reference."""
        found: Json = self._components[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
        return found

    def components(self) -> Json:
        """The components without those of query strings, which are parameters."""
        kept = {name: model for name, model in self._components.items() if name not in self._queries}
        for model in kept.values():
            for field in model.get("properties", {}).values():
                field.pop("default", None)  # an absent field of a body means unchanged
        return kept


def _key(type_: Any) -> Any:
    return str(type_) if get_origin(type_) else type_


def example(schema: Json, schemas: Schemas) -> Any:
    """A sample in the style of the product's reference: 123, "<string>", true, the first enum value, one list item."""
    schema = schemas.resolved(schema)
    if "examples" in schema:
        return schema["examples"][0]
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return example(schema["anyOf"][0], schemas)
    kind = schema["type"][0] if isinstance(schema.get("type"), list) else schema.get("type")
    if kind == "object":
        return {name: example(each, schemas) for name, each in schema.get("properties", {}).items()}
    if kind == "array":
        return [example(schema["items"], schemas)]
    if kind == "string":
        return "2023-11-07T05:31:56Z" if schema.get("format") == "date-time" else "<string>"
    return True if kind == "boolean" else min(123, schema.get("maximum", 123))


# Answers


def header(description: str, type_: str = "string") -> Json:
    return {"description": description, "schema": {"type": type_}}


HEADERS: Final = {
    "ETag": header("Version of the object's own fields, for `If-Match`."),
    "Location": header("URL of the result."),
    "RateLimit": header(
        '`"daily-turns";r=0;t=3600`: what is left of each budget, and the seconds until a new day begins.'
    ),
    "RateLimit-Policy": header(
        '`"daily-turns";q=10;w=86400`: each budget of the day (`daily-turns`, `daily-tokens`, `daily-microdollars`; '
        "those of a class begin with `class-`)."
    ),
    "Retry-After": header("Seconds to wait before a retry.", "integer"),
    "WWW-Authenticate": header("`Bearer`."),
    "x-next-cursor": header("Value of `cursor` for the next page; absent on the last page."),
    "x-request-id": header("Id of the request in the logs."),
}


def answer(
    description: str,
    schema: Json | None,
    *headers: str,
    shown: Json | None = None,
    media_type: str = "application/json",
) -> Json:
    made: Json = {"description": description}
    if headers:
        made["headers"] = {name: ref("headers", name) for name in headers}
    if schema is not None:
        made["content"] = {media_type: {"schema": schema} | ({"examples": shown} if shown else {})}
    return made


def an_object(description: str, **properties: Json) -> Json:
    described = {"description": description} if description else {}
    return {"type": "object", **described, "properties": properties, "required": list(properties)}


def refusal(errors: Sequence[type[PracticeError]]) -> Json:
    """One status with its possible `detail` texts."""
    details = list(dict.fromkeys(error.detail for error in errors))
    headers = {name for error in errors for name in HEADERS_OF.get(error, ())}
    described = " or ".join(f"`{detail}`" for detail in details)
    if len(errors) == 1 and errors[0].__doc__:
        described += ". " + inspect.cleandoc(errors[0].__doc__)
    body = an_object("", detail={"type": "string", "enum": details})
    if len(errors) == 1 and errors[0] in BODY_OF:
        body = ref("schemas", BODY_OF[errors[0]].__name__)
    return answer(described, body, *sorted(headers), "x-request-id")


HEADERS_OF: Final[Mapping[type[PracticeError], tuple[str, ...]]] = {
    Unauthorized: ("WWW-Authenticate",),
    VersionConflict: ("ETag",),
    RequestInFlight: ("Retry-After",),
}

BODY_OF: Final[Mapping[type[PracticeError], type[BaseModel]]] = {
    NoModelAnswered: turn_replies.NoModelAnsweredBody
}
"""Bodies of errors that contain more than `detail`."""

EITHER: Final = {"anyOf": [ref("schemas", "Error"), ref("schemas", "GatewayError")]}
INVALID: Final = ref("schemas", "HTTPValidationError")
SPENT: Final = an_object("", detail={"type": "string", "enum": [DailyBudgetSpent.detail]})
KEY_REUSED: Final = an_object("", detail={"type": "string", "enum": [IdempotencyKeyReused.detail]})

ANSWERS: Final = {
    "Invalid": answer("The request is invalid.", INVALID, "x-request-id"),
    "InvalidOrReused": answer(
        "The request is invalid, or its `Idempotency-Key` was used with a different request.",
        {"anyOf": [INVALID, KEY_REUSED]},
        "x-request-id",
    ),
    "TooLarge": answer("The request exceeds the size limit of the gateway.", ref("schemas", "GatewayError")),
    "TooMany": answer(
        "Too many requests of this user (`too many requests`), or of all users together.",
        EITHER,
        "Retry-After",
    ),
    "TooManyOrSpent": answer(
        "A budget of the day is spent (`daily_budget_spent`), with what is left in `RateLimit`; or there are too many "
        "requests of this user (`too many requests`), or of all users together.",
        {"anyOf": [SPENT, EITHER]},
        "RateLimit",
        "RateLimit-Policy",
        "Retry-After",
    ),
    "InternalError": answer("An internal error.", EITHER),
    "Unavailable": answer("A temporary failure: retry the request.", EITHER, "Retry-After"),
}
ERRORS: Final = {
    "Error": an_object("An error with a stable text.", detail={"type": "string"}),
    "GatewayError": an_object("An error of the gateway.", message={"type": ["string", "null"]}),
    "HTTPValidationError": an_object(
        "All problems of path, query and body.",
        detail={"type": "array", "minItems": 1, "items": ref("schemas", "ValidationError")},
    ),
    "ValidationError": an_object(
        "",
        type={"type": "string"},
        loc={"type": "array", "items": {"type": ["string", "integer"]}},
        msg={"type": "string"},
    ),
}


def answers_of(endpoint: Endpoint, schemas: Schemas, found: Sequence[Endpoint]) -> Json:
    made = {endpoint.status: success(answered(endpoint), endpoint, schemas, found)}
    if endpoint.accepted_model:
        made[HTTPStatus.ACCEPTED] = success(endpoint.accepted_model, endpoint, schemas, found)
    for status, errors in refusals_of(endpoint).items():
        made[status] = refusal(errors) if errors[1:] else ref("responses", errors[0].__name__)
    if endpoint.path_parameters or endpoint.query_model or endpoint.body_model or endpoint.takes:
        made[HTTPStatus.UNPROCESSABLE_ENTITY] = ref("responses", "Invalid")
    if endpoint.takes_a(IdempotentAttempt):
        made[HTTPStatus.UNPROCESSABLE_ENTITY] = ref("responses", "InvalidOrReused")
    if endpoint.query_model:
        made[HTTPStatus.REQUEST_URI_TOO_LONG] = ref("responses", "TooLarge")
    if endpoint.body_model or endpoint.takes:
        made[HTTPStatus.REQUEST_ENTITY_TOO_LARGE] = ref("responses", "TooLarge")
    if is_conditional_read(endpoint):
        made[HTTPStatus.NOT_MODIFIED] = success(None, endpoint, schemas, found)
    is_budgeted = DailyBudgetSpent in endpoint.refuses
    made[HTTPStatus.TOO_MANY_REQUESTS] = ref("responses", "TooManyOrSpent" if is_budgeted else "TooMany")
    made[HTTPStatus.INTERNAL_SERVER_ERROR] = ref("responses", "InternalError")
    made[HTTPStatus.SERVICE_UNAVAILABLE] = ref("responses", "Unavailable")
    return {str(int(status)): made[status] for status in sorted(made)}


def is_conditional_read(endpoint: Endpoint) -> bool:
    return endpoint.method == "GET" and get_origin(endpoint.answer_type) is Versioned


def refusals_of(endpoint: Endpoint) -> dict[HTTPStatus, list[type[PracticeError]]]:
    """The errors that the handler declares, and those of its parameters."""
    refused = [*endpoint.refuses]
    if endpoint.takes_a(Caller):
        refused.append(Unauthorized)
        if endpoint.method in ("POST", "PUT", "PATCH"):
            refused.append(StorageFull)
    if endpoint.body_model:
        refused += [BodyNotUtf8, BodyNotBase64]
    if endpoint.takes_a(ExpectedVersions):
        refused.append(VersionConflict)
    if endpoint.takes_a(IdempotentAttempt):
        refused.append(RequestInFlight)
    found: dict[HTTPStatus, list[type[PracticeError]]] = {}
    for error in dict.fromkeys(refused):
        found.setdefault(status_of(error), []).append(error)
    return found


def success(made_of: Any, endpoint: Endpoint, schemas: Schemas, found: Sequence[Endpoint]) -> Json:
    wrapped_in = get_origin(endpoint.answer_type)
    headers = ["x-request-id"]
    if wrapped_in is Versioned:
        headers.append("ETag")
    if wrapped_in is Reply and endpoint.query_model and "cursor" in endpoint.query_model.model_fields:
        headers.append("x-next-cursor")
    if made_of is Usage:
        headers += ["RateLimit", "RateLimit-Policy"]
    is_accepted = made_of is not None and made_of is endpoint.accepted_model
    if is_accepted or endpoint.takes_a(Preferences):
        headers.append("Location")
    if made_of is None:
        return answer("Done.", None, *sorted(headers))
    shown = {"example": ref("examples", made_of.__name__)} if is_model(made_of) else None
    done = (
        inspect.cleandoc(made_of.__doc__ or "Accepted: `Location` is the URL of the result.")
        if is_accepted
        else None
    )
    media_type = "application/json" if is_model(made_of) else endpoint.gives
    schema = schemas.answer(made_of) if media_type == "application/json" else {"type": "string"}
    made = answer(done or "Done.", schema, *sorted(headers), shown=shown, media_type=media_type)
    if links := links_of(made_of, endpoint, found):
        made["links"] = links
    return made


def links_of(made_of: Any, endpoint: Endpoint, found: Iterable[Endpoint]) -> Json:
    """Links from a created object, or the first of a list, to every operation that takes its id."""
    at = "$response.body#"
    if get_origin(made_of) is list:
        made_of, at = get_args(made_of)[0], f"{at}/0"
    elif endpoint.method != "POST" and made_of is not endpoint.accepted_model:
        return {}
    if not is_model(made_of):
        return {}
    ids = [name for name in made_of.model_fields if name.endswith("_id")]
    new = next((name for name in ids if name not in endpoint.path_parameters), None)
    return {
        each.name: {
            "operationId": each.name,
            "parameters": {name: f"{at}/{name}" for name in each.path_parameters},
        }
        for each in found
        if new in each.path_parameters and set(each.path_parameters) <= set(ids)
    }


# Operations


def operation(endpoint: Endpoint, schemas: Schemas, found: Sequence[Endpoint]) -> Json:
    summary, _, description = inspect.cleandoc(endpoint.__doc__ or "").partition("\n\n")
    made: Json = {
        "operationId": endpoint.name,
        "tags": [tag_of(endpoint)],
        "summary": " ".join(summary.replace("`", "").split()),
    }
    if description:
        made["description"] = description
    if not endpoint.takes_a(Caller):
        made["security"] = []
    if parameters := list(parameters_of(endpoint, schemas)):
        made["parameters"] = parameters
    if endpoint.body_model:
        shown = {"example": ref("examples", endpoint.body_model.__name__)}
        content = {"schema": schemas.body(endpoint.body_model), "examples": shown}
        made["requestBody"] = {"required": True, "content": {"application/json": content}}
    if endpoint.takes:
        made["requestBody"] = {"content": {endpoint.takes: {"schema": {"type": "string"}}}}
    made["responses"] = answers_of(endpoint, schemas, found)
    return made


def parameters_of(endpoint: Endpoint, schemas: Schemas) -> Iterator[Json]:
    for name in endpoint.path_parameters:
        yield ref("parameters", name)
    if endpoint.query_model:
        model = schemas.query(endpoint.query_model)
        for name, schema in model.get("properties", {}).items():
            yield query_parameter(name, dict(schema), required=name in model.get("required", ()))
    if endpoint.takes_a(ExpectedVersions):
        yield ref("parameters", "If-Match")
    if is_conditional_read(endpoint):
        yield ref("parameters", "If-None-Match")
    if endpoint.takes_a(IdempotentAttempt):
        yield ref("parameters", "Idempotency-Key")
    if endpoint.takes_a(Preferences):
        yield ref("parameters", "Prefer")


def query_parameter(name: str, schema: Json, *, required: bool) -> Json:
    """A query string has no null, so a nullable parameter is optional."""
    made: Json = {"name": name, "in": "query"}
    if required:
        made["required"] = True
    if "description" in schema:
        made["description"] = schema.pop("description")
    if isinstance(schema.get("type"), list):
        schema["type"] = schema["type"][0]
    if schema.get("default", ...) in (None, []):
        del schema["default"]
    if schema.get("type") == "array":
        schema.pop("uniqueItems", None)  # the set removes duplicates
        made |= {"style": "form", "explode": False}
    return made | {"schema": schema}


def shared_parameters(found: Iterable[Endpoint]) -> Json:
    ids = dict.fromkeys(name for each in found for name in each.path_parameters)
    made: Json = {
        name: {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "integer", "minimum": 1} | INT64,
        }
        for name in ids
    }
    made["If-Match"] = {
        "name": "If-Match",
        "in": "header",
        "description": 'ETags of the versions that may be changed, as `"3"` or a list; `*` for any.',
        "schema": {"type": "string"},
    }
    made["If-None-Match"] = {
        "name": "If-None-Match",
        "in": "header",
        "description": "An ETag that the client has: 304 while it is the version of the object's own fields.",
        "schema": {"type": "string"},
    }
    made["Idempotency-Key"] = {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "A key chosen by the client: a request that is repeated within 24 hours takes effect once.",
        "schema": {"type": "string", "minLength": 1, "maxLength": IDEMPOTENCY_KEY_CHARACTERS},
    }
    made["Prefer"] = {
        "name": "Prefer",
        "in": "header",
        "description": "`respond-async`: respond 202 immediately, and work in the background.",
        "schema": {"type": "string"},
    }
    return made


def shared_answers(found: Iterable[Endpoint]) -> Json:
    alone = {each[0] for endpoint in found for each in refusals_of(endpoint).values() if not each[1:]}
    return ANSWERS | {error.__name__: refusal([error]) for error in alone - {DailyBudgetSpent}}


def shared_examples(found: Iterable[Endpoint], schemas: Schemas) -> Json:
    made: Json = {}
    for each in found:
        if each.body_model:
            made[each.body_model.__name__] = {"value": example(schemas.body(each.body_model), schemas)}
        for model in filter(is_model, (answered(each), each.accepted_model)):
            made[model.__name__] = {"value": example(schemas.answer(model), schemas)}
    return made


# The document


BEARER: Final = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "A JSON Web Token with the user's id; for the local stack, `make token` prints one.",
}


def document() -> Json:
    found = endpoints()
    schemas = Schemas(found)
    paths: Json = {}
    for each in found:
        paths.setdefault(each.path, {})[each.method.lower()] = operation(each, schemas, found)
    used = {tag_of(each) for each in found}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Practice API", "version": VERSION, "description": DESCRIPTION},
        "servers": [{"url": "/"}],
        "security": [{"HTTPBearer": []}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items() if name in used],
        "paths": paths,
        "components": {
            "securitySchemes": {"HTTPBearer": BEARER},
            "parameters": shared_parameters(found),
            "headers": HEADERS,
            "responses": _sorted(shared_answers(found)),
            "schemas": _sorted(schemas.components() | ERRORS),
            "examples": _sorted(shared_examples(found, schemas)),
        },
    }


def _sorted(components: Json) -> Json:
    return dict(sorted(components.items()))


def contract_text() -> str:
    """One line for each operation and component: compact, and a change is one line of a diff."""
    deep = {"paths": 2, "components": 2}
    return _block({name: _text(part, deep.get(name, 0)) for name, part in document().items()}) + "\n"


def _text(value: Any, deep: int) -> str:
    if not deep:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return _block({name: _text(inner, deep - 1) for name, inner in value.items()})


def _block(entries: Mapping[str, str]) -> str:
    return "{\n" + ",\n".join(f"{json.dumps(name)}:{text}" for name, text in entries.items()) + "\n}"


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        print("usage: python -m tools.openapi [--check]", file=sys.stderr)
        return 2
    made = contract_text()
    if not arguments:
        TARGET.write_text(made)
    elif TARGET.read_text() != made:
        print("openapi.json is outdated: run `make openapi`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
