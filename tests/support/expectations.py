"""Where the contract itself contradicts a check of schemathesis: which answer is right, where, and by which sentence.

schemathesis asks this module about each failure that it finds. A schema cannot say everything: that a cursor must be one
of ours, that a version is the current one, that an array is counted without its duplicates. Such answers are right if they
are what the quoted sentence says, in the operations named; whatever else fails stays a failure.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast
from zlib import crc32

import schemathesis
from jsonschema import Draft202012Validator, ValidationError
from pydantic import TypeAdapter
from pydantic import ValidationError as Uncoercible
from schemathesis import Case, DeserializationContext, HookContext, Response, SerializationContext
from schemathesis.core import NOT_SET
from schemathesis.core.failures import Failure

from practice.http.contract import contract_text
from practice.limits import IDEMPOTENCY_KEY_CHARACTERS

Json = dict[str, Any]
AnyCase = Case[Any]
Holds = Callable[[AnyCase, Response], bool]

CONTRACT: Final[Json] = json.loads(contract_text())
OPERATIONS: Final[dict[tuple[str, str], Json]] = {
    (method.upper(), path): operation
    for path, item in CONTRACT["paths"].items()
    for method, operation in item.items()
}
REQUESTS: Final = Path(os.environ["FUZZ_REQUESTS"])
POSITIVE, NEGATIVE = "positive_data_acceptance", "negative_data_rejection"


@dataclass(frozen=True)
class Expectation:
    check: str
    operations: frozenset[str]
    quote: str
    holds: Holds


@dataclass(frozen=True)
class ExpectedProblem:
    """One entry of a 422."""

    check: str
    operations: frozenset[str]
    quote: str
    fits: Callable[[AnyCase, Json], bool]


def where(member: Callable[[str, Json], bool]) -> frozenset[str]:
    return frozenset(each["operationId"] for (method, _), each in OPERATIONS.items() if member(method, each))


def parameters(operation: Json) -> Iterator[Json]:
    for each in operation.get("parameters", ()):
        yield CONTRACT["components"]["parameters"][each["$ref"].split("/")[-1]] if "$ref" in each else each


def takes(name: str) -> frozenset[str]:
    return where(lambda _, operation: name in {each["name"] for each in parameters(operation)})


# What is sent, what is answered


def detail(response: Response) -> object:
    return response.json()["detail"]


def problems(response: Response) -> list[Json]:
    """Of a 422 that lists them."""
    found = detail(response) if response.status_code == 422 else None
    return found if isinstance(found, list) else []


def refuses(status: int, *details: str) -> Holds:
    return lambda _, response: response.status_code == status and detail(response) in details


def a_page_that_cannot_be(case: AnyCase, problem: Json) -> bool:
    """A made-up cursor; or more than may be expanded."""
    if problem["type"] == "cursor_invalid":
        return "cursor" in case.query and problem["loc"] == ["query", "cursor"]
    return (
        problem["type"] == "less_than_equal"
        and problem["loc"] == ["query", "size"]
        and "expand" in case.query
    )


def a_blank_prompt(case: AnyCase, problem: Json) -> bool:
    return problem["type"] == "string_blank" and not cast("Json", case.body)["prompt_text"].strip()


def two_texts_too_long(_: AnyCase, problem: Json) -> bool:
    return (problem["type"], problem["loc"]) == ("too_long", ["body"])


def not_one_choice(case: AnyCase, problem: Json) -> bool:
    """Several of the fields, or none; or an answer that the turn does not have."""
    chosen = [
        name for name in ("label", "response_id", "tie") if cast("Json", case.body).get(name) is not None
    ]
    if problem["type"] == "one_choice":
        return len(chosen) != 1
    unknown = {"label_unknown": ["label"], "response_unknown": ["response_id"]}
    return chosen == unknown.get(problem["type"])


def days_too_many(case: AnyCase, problem: Json) -> bool:
    """Or from a day after the last."""
    return problem["type"] in ("too_many_days", "date_range") and "from" in case.query


def an_unstorable_object(case: AnyCase, problem: Json) -> bool:
    """In what is free-form a schema names no depth, no bytes, and no text that is refused."""
    kind, (root, *rest) = problem["type"], problem["loc"]
    free_form = ("style_params", "generation_params", "meta", "token_usage")
    if root != "body" or not rest or rest[0] not in free_form:
        return False
    sent = json.dumps(case.body)
    return (kind == "string_nul" and "\\u0000" in sent) or kind in ("too_deep", "too_long", "finite_number")


def another_client_was_faster(case: AnyCase, response: Response) -> bool:
    sent, current = case.headers.get("If-Match", ""), response.headers.get("etag", [""])[0]
    return response.status_code == 412 and bool(current) and current not in sent and sent.strip() != "*"


# What is wrong with a request by the letter of the schema, and taken all the same


def only(accepted: Callable[[ValidationError], bool]) -> Holds:
    """Whether the request breaks its schema, and nowhere but where that is accepted."""

    def holds(case: AnyCase, _: Response) -> bool:
        found = list(violations(case))
        return bool(found) and all(is_accepted(each, accepted) for each in found)

    return holds


def violations(case: AnyCase) -> Iterator[ValidationError]:
    operation = OPERATIONS[case.method, case.path]
    if "requestBody" in operation:
        body = None if case.body is NOT_SET else case.body
        yield from broken(body, operation["requestBody"]["content"]["application/json"]["schema"])
    sent: Mapping[str, Mapping[str, Any]] = {
        "query": case.query or {},
        "path": case.path_parameters or {},
        "header": case.headers or {},
    }
    for each in parameters(operation):
        if each["name"] in sent[each["in"]]:
            yield from broken(sent[each["in"]][each["name"]], each["schema"])


def broken(value: object, schema: Json) -> Iterator[ValidationError]:
    yield from Draft202012Validator(schema | {"components": CONTRACT["components"]}).iter_errors(value)


def is_accepted(error: ValidationError, accepted: Callable[[ValidationError], bool]) -> bool:
    if error.validator != "anyOf":
        return accepted(error)
    branches: dict[object, list[ValidationError]] = {}
    for inner in error.context or ():
        branches.setdefault(inner.relative_schema_path[0], []).append(inner)
    return any(all(is_accepted(each, accepted) for each in branch) for branch in branches.values())


COERCED: Final[dict[str, TypeAdapter[Any]]] = {
    "integer": TypeAdapter(int),
    "number": TypeAdapter(float),
    "boolean": TypeAdapter(bool),
}


def is_coerced(error: ValidationError) -> bool:
    if error.validator != "type" or isinstance(error.instance, dict | list):
        return False
    wanted: Any = error.validator_value
    for kind in COERCED.keys() & ({wanted} if isinstance(wanted, str) else set(wanted)):
        try:
            COERCED[kind].validate_python(error.instance)
        except Uncoercible:
            continue
        return True
    return False


CONDITIONAL = takes("If-Match")
PAGED = takes("cursor")
REPEATABLE = takes("Idempotency-Key")
WITH_BODY = where(lambda _, operation: "requestBody" in operation)

EXPECTATIONS: Final = (
    Expectation(
        POSITIVE, CONDITIONAL, "412 `precondition_failed` with the current ETag.", another_client_was_faster
    ),
    Expectation(
        POSITIVE,
        REPEATABLE,
        "another body: 422 `idempotency_key_reused`",
        refuses(422, "idempotency_key_reused"),
    ),
    Expectation(
        POSITIVE,
        frozenset({"create_session"}),
        "400 `class_id_required` (missing, null, 0), `class_not_active`, `class_has_no_models`",
        refuses(400, "class_id_required"),
    ),
    Expectation(
        POSITIVE,
        frozenset({"add_model"}),
        "400 `model_not_allowed_for_class`",
        refuses(400, "model_not_allowed_for_class"),
    ),
    Expectation(
        POSITIVE,
        frozenset({"run_session", "chat"}),
        "unknown names are ignored unless none is left: 400 `requested model_names not found in this session` "
        "(`... not configured for this class` for run)",
        refuses(
            400,
            "requested model_names not found in this session",
            "requested model_names not configured for this class",
        ),
    ),
    Expectation(
        POSITIVE,
        frozenset({"chat"}),
        "Also refused: 400 `session_has_no_class_id`, `class_not_active`, `class_has_no_models`: a walk may delete "
        "every model of a session, or take its class away",
        refuses(400, "session_has_no_class_id", "class_has_no_models"),
    ),
    Expectation(
        POSITIVE,
        frozenset({"add_model"}),
        "400 `model_not_allowed_for_class`, `session_has_no_class_id`, `class_not_active`",
        refuses(400, "session_has_no_class_id"),
    ),
    Expectation(
        NEGATIVE,
        frozenset(each["operationId"] for each in OPERATIONS.values()),
        'Coercion is pydantic\'s lax mode (`"5"`, `5.0`, for an int), for path ids too',
        only(is_coerced),
    ),
)

EXPECTED_PROBLEMS: Final = (
    ExpectedProblem(
        POSITIVE,
        PAGED,
        "a bad one, or `page` beside it, is 422. [...] `expand=settings,responses` embeds them (size then at most, and by "
        "default, 20)",
        a_page_that_cannot_be,
    ),
    ExpectedProblem(
        POSITIVE,
        WITH_BODY,
        "NUL and lone surrogates are 422. `NaN`/`Infinity` are 422. [...] 64 KB and depth 32 per free-form object",
        an_unstorable_object,
    ),
    ExpectedProblem(
        POSITIVE,
        frozenset({"put_vote"}),
        "exactly one of `label`, `response_id`, `tie` [...] 422 for an unknown label or foreign response",
        not_one_choice,
    ),
    ExpectedProblem(
        POSITIVE, frozenset({"get_usage"}), "UTC days, at most 92, default the last 30", days_too_many
    ),
    ExpectedProblem(
        POSITIVE, frozenset({"run_session", "chat"}), "`prompt_text` (not blank: 422)", a_blank_prompt
    ),
    ExpectedProblem(
        POSITIVE,
        frozenset({"create_example", "update_example"}),
        "an example's two texts 32 KB together",
        two_texts_too_long,
    ),
    ExpectedProblem(
        POSITIVE,
        frozenset({"create_import"}),
        "Imports an export: no schema describes which text is one",
        lambda _, problem: problem["loc"][0] == "body",
    ),
    ExpectedProblem(
        "unsupported_method",
        frozenset({"run_session"}),
        'Coercion is pydantic\'s lax mode (`"5"`, `5.0`, for an int), for path ids too: PATCH /sessions/run names a '
        "session, whose id is no integer",
        lambda _, problem: problem["loc"] == ["path", "session_id"],
    ),
)


@schemathesis.serializer("application/x-ndjson")
def lines(context: SerializationContext, value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


@schemathesis.deserializer("application/x-ndjson")
def text_of(context: DeserializationContext, response: Response) -> str:
    """Every line must be JSON."""
    for line in response.content.splitlines():
        json.loads(line)
    return response.content.decode()


@schemathesis.hook
def map_case(context: HookContext, case: AnyCase) -> AnyCase:
    """Made-up versions never match, and made-up keys repeat: one in eight keeps them, the others get through the door."""
    for name in ("If-Match", "Idempotency-Key"):
        value = case.headers.get(name)
        if value is not None and len(value) <= IDEMPOTENCY_KEY_CHARACTERS and drawn(value, case.body) % 8:
            del case.headers[name]
    return case


def drawn(*things: object) -> int:
    """A number that is the same in every run with the same seed."""
    return crc32(repr(things).encode("utf-8", "surrogatepass"))


@schemathesis.hook
def after_call(context: HookContext, case: AnyCase, response: Response) -> None:
    """A byte for each request: how many there were."""
    with REQUESTS.open("ab") as file:
        file.write(b".")


@schemathesis.hook
def filter_failure(context: HookContext, failure: Failure, case: AnyCase, response: Response) -> bool:
    """False for what the contract says: the answer is expected, or each of the problems that it lists."""
    operation = case.operation.definition.raw["operationId"]
    if any(
        each.holds(case, response)
        for each in EXPECTATIONS
        if each.check in failure.checks and operation in each.operations
    ):
        return False
    expected = [
        each for each in EXPECTED_PROBLEMS if each.check in failure.checks and operation in each.operations
    ]
    found = problems(response)
    return not found or any(not any(each.fits(case, problem) for each in expected) for problem in found)
