"""`python -m tools.python_client`: write clients/python/practice_client from the contracts; `--check` compares.

Returned objects and events become frozen dataclasses. An operation becomes a method whose keyword arguments are its query
parameters and the fields of its body, as does an action of the live API that begins or follows a turn. The shared code is
written by hand: transport.py, live.py and errors.py.
"""

import json
import subprocess
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from keyword import iskeyword
from pathlib import Path
from typing import Any, Final

from tools.openapi import TARGET as CONTRACT

Json = Mapping[str, Any]

ROOT: Final = Path(__file__).resolve().parent.parent
LIVE_CONTRACT: Final = ROOT / "asyncapi.json"
TARGET: Final = ROOT / "clients" / "python" / "practice_client"
WRITTEN_BY: Final = "Written by `make openapi` from openapi.json."
ACTIONS: Final = ("chat", "run", "follow")
SCALARS: Final = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
SENT_AS: Final = {"If-Match": "if_match", "Idempotency-Key": "idempotency_key", "Prefer": "prefer"}
FROM_HEADER: Final = {"ETag": "etag", "x-next-cursor": "next_cursor"}
ALWAYS_READ: Final = "ValidationError"
"""errors.py builds it from a 422."""


@dataclass(frozen=True)
class Method:
    """One operation in Python terms."""

    name: str
    verb: str
    path: str
    doc: str
    path_ids: list[str]
    query: dict[str, str]
    body: dict[str, str]
    """Name and type of each argument; an argument with the default UNSET is optional."""
    is_text: bool
    """Whether the body is a text instead of JSON."""
    has_body: bool
    headers: list[str]
    answers: dict[str, str]
    """Type by status."""
    item: str | None
    """The item type of a list with a cursor."""
    order: str
    """The documented order of its pages."""


class Client:
    """openapi.json as the source of a client."""

    def __init__(self, contract: Json) -> None:
        self.contract = contract
        self.schemas: Json = contract["components"]["schemas"]
        self.beside: dict[str, set[str]] = {}
        """By object: the fields that come in headers of its HTTP response."""
        self.used = {ALWAYS_READ}
        self.methods = [
            self._method(path, verb, operation)
            for path, item in contract["paths"].items()
            for verb, operation in item.items()
        ]

    def resolved(self, part: Json) -> Json:
        """The name behind a `$ref`."""
        while "$ref" in part:
            _, _, kind, name = part["$ref"].split("/")
            part = self.contract["components"][kind][name]
        return part

    def type_of(self, schema: Json, *, sent: bool = False) -> str:
        """The annotation. An argument may be of any type with the same JSON."""
        if "$ref" in schema:
            name: str = schema["$ref"].rpartition("/")[2]
            if sent and "properties" in self.schemas[name]:
                return "Mapping[str, Any]"
            self.used.add(name)
            return name
        if "anyOf" in schema:
            return " | ".join(dict.fromkeys(self.type_of(each, sent=sent) for each in schema["anyOf"]))
        if "enum" in schema:
            return f"Literal[{', '.join(map(json.dumps, schema['enum']))}]"
        if "const" in schema:
            return f"Literal[{json.dumps(schema['const'])}]"
        if isinstance(schema["type"], list):
            return " | ".join(self.type_of({**schema, "type": each}, sent=sent) for each in schema["type"])
        if schema["type"] == "array":
            return f"{'Sequence' if sent else 'list'}[{self.type_of(schema['items'], sent=sent)}]"
        if schema["type"] == "object":
            return "Mapping[str, Any]" if sent else "dict[str, Any]"
        if schema.get("format") == "date-time":
            return "datetime"
        return SCALARS[schema["type"]]

    def _method(self, path: str, verb: str, operation: Json) -> Method:
        parameters = [self.resolved(each) for each in operation.get("parameters", ())]
        content = operation.get("requestBody", {}).get("content", {})
        body = self.resolved(content["application/json"]["schema"]) if "application/json" in content else {}
        answers = {}
        item, order = None, ""
        for status, given in operation["responses"].items():
            if status.startswith("2"):
                answers[status] = self._answer(self.resolved(given))
        if any(each["name"] == "cursor" for each in parameters):
            item, order = self._list(self.resolved(operation["responses"]["200"]))
        return Method(
            name=operation["operationId"],
            verb=verb.upper(),
            path=path,
            doc="\n\n".join(filter(None, (operation["summary"], operation.get("description")))),
            path_ids=[each["name"] for each in parameters if each["in"] == "path"],
            query={
                each["name"]: _argument(
                    self.type_of(each["schema"], sent=True), is_needed=each.get("required", False)
                )
                for each in parameters
                if each["in"] == "query"
            },
            body={
                name: _argument(self.type_of(field, sent=True), is_needed=name in body.get("required", ()))
                for name, field in body.get("properties", {}).items()
            },
            is_text=bool(content) and not body,
            has_body=bool(body),
            headers=[SENT_AS[each["name"]] for each in parameters if each["name"] in SENT_AS],
            answers=answers,
            item=item,
            order=order,
        )

    def _answer(self, answer: Json) -> str:
        content = answer.get("content", {})
        if not content:
            return "None"
        [kind] = content.values()
        made = self.type_of(kind["schema"])
        beside = {FROM_HEADER[name] for name in answer.get("headers", {}) if name in FROM_HEADER}
        if made in self.schemas:
            self.beside.setdefault(made, set()).update(beside)
        elif "next_cursor" in beside:
            return made.replace("list[", "Items[", 1)
        return made

    def _list(self, answer: Json) -> tuple[str | None, str]:
        schema = self.resolved(answer["content"]["application/json"]["schema"])
        listed = schema if schema["type"] == "array" else schema["properties"].get("items")
        return self.type_of(listed["items"]) if listed else None, schema.get("description", "")

    def models(self, known: Collection[str] = ()) -> list[str]:
        """The definition of every named type that is not known, by name."""
        made = dict.fromkeys(known, "")
        while waiting := self.used - made.keys():
            for name in waiting:
                schema = self.schemas[name]
                is_object = "properties" in schema
                made[name] = self._object(name, schema) if is_object else f"{name} = {self.type_of(schema)}\n"
        return [made[name] for name in sorted(made) if made[name]]

    def _object(self, name: str, schema: Json) -> str:
        lines = ["@dataclass(frozen=True, slots=True, kw_only=True)", f"class {name}:"]
        if "description" in schema:
            lines += [_doc(schema["description"], "    "), ""]
        for field, described in schema["properties"].items():
            lines.append(f"    {_name(field)}: {self.type_of(described)}")
            if "description" in described:
                lines.append(f'    """{described["description"]}"""')
        for extra in sorted(self.beside.get(name, ())):
            lines.append(f"    {extra}: str | None = field(default=None, compare=False)")
        return "\n".join(lines) + "\n"


def _argument(type_: str, *, is_needed: bool) -> str:
    if is_needed:
        return type_
    value, null = type_.removesuffix(" | None"), " | None" if type_.endswith(" | None") else ""
    return f"{value} | Unset{null} = UNSET"


def _method_text(method: Method) -> str:
    arguments = [f"{name}: int" for name in method.path_ids]
    named = [f"{_name(name)}: {type_}" for name, type_ in (method.query | method.body).items()]
    assert len(method.query) + len(method.body) == len(named), f"{method.name}: duplicate argument name"
    if method.is_text:
        named.append("text: str | None = None")
    named += [f"{name}: str | None = None" for name in method.headers]
    kinds = ", ".join(f"{status}: {type_}" for status, type_ in method.answers.items())
    passed = [json.dumps(method.verb), _path(method), f"{{{kinds}}}"]
    if method.query:
        passed.append(f"query={_dictionary(method.query)}")
    if method.has_body:
        passed.append(f"body={_dictionary(method.body)}")
    if method.is_text:
        passed.append("body=text")
    passed += [f"{name}={name}" for name in method.headers]
    returned = " | ".join(dict.fromkeys(method.answers.values()))
    call = f"self._request({', '.join(passed)})"
    does = (
        f"        {call}" if returned == "None" else f"        made: {returned} = {call}\n        return made"
    )
    return f"{_signature(method.name, arguments, named, returned)}\n{_doc(method.doc)}\n{does}\n"


def _iterator_text(method: Method) -> str:
    """The iterator that accompanies a method for one page."""
    filters = {name: type_ for name, type_ in method.query.items() if name not in ("page", "cursor")}
    arguments = [f"{name}: int" for name in method.path_ids]
    named = [f"{name}: {type_}" for name, type_ in filters.items()]
    signature = _signature(
        method.name.replace("list_", "iterate_"), arguments, named, f"Iterator[{method.item}]"
    )
    doc = f"All items of `{method.name}`, read in pages of `size`."
    if method.order:
        doc += f"\n\nEach page: {method.order}"
    call = f"self._walk({_path(method)}, {method.answers['200']}, {_dictionary(filters)})"
    return f"{signature}\n{_doc(doc)}\n        return {call}\n"


def _signature(name: str, arguments: list[str], named: list[str], returned: str) -> str:
    taken = ", ".join(["self", *arguments, *(["*", *named] if named else [])])
    return f"    def {name}({taken}) -> {returned}:"


def _doc(text: str, indent: str = " " * 8) -> str:
    closed = f'"""{text}\n"""' if "\n" in text else f'"""{text}"""'
    return "\n".join((indent + line).rstrip() for line in closed.splitlines())


def _path(method: Method) -> str:
    return ("f" if method.path_ids else "") + json.dumps(method.path)


def _dictionary(names: Mapping[str, str]) -> str:
    return "{" + ", ".join(f'"{name}": {_name(name)}' for name in names) + "}"


def _name(name: str) -> str:
    return f"{name}_" if iskeyword(name) else name


MODELS_HEAD: Final = f'''"""The objects that the API returns. {WRITTEN_BY}

`etag` and `next_cursor` with a default come from headers: they are set when the object itself was requested.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
'''


LIVE_HEAD: Final = '''"""The events of the live API, and its actions. Written by `make openapi` from asyncapi.json."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from practice_client.models import {known}
from practice_client.transport import UNSET, Unset, given

'''
ACTIONS_HEAD: Final = """
class Actions:
    def _events(self, action: Mapping[str, Any]) -> AsyncGenerator[TurnEvent]:
        raise NotImplementedError  # of Live, which has the connection

"""


def live_messages(contract: Json, known: Collection[str]) -> str:
    """The module of the live API. `known` are the types that models.py defines."""
    client = Client({"paths": {}, **contract})
    client.used.clear()
    events = {
        schema["properties"]["type"]["const"]: name
        for name, schema in client.schemas.items()
        if {"type", "turn_id"} <= schema.get("properties", {}).keys()
    }
    client.used.update(events.values())
    actions = {
        schema["properties"]["action"]["const"]: schema
        for schema in client.schemas.values()
        if "action" in schema.get("properties", {})
    }
    methods = "\n".join(_action_text(client, name, actions[name]) for name in ACTIONS)
    models = client.models(known)
    return "\n".join(
        [
            LIVE_HEAD.format(known=", ".join(sorted(known))),
            *models,
            f"TurnEvent = {' | '.join(events.values())}",
            f"EVENTS: Final[Mapping[str, type[TurnEvent]]] = {_kinds(events)}\n",
            ACTIONS_HEAD + methods,
        ]
    )


def _kinds(events: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{json.dumps(kind)}: {name}" for kind, name in events.items()) + "}"


def _action_text(client: Client, name: str, schema: Json) -> str:
    arguments = {
        field: _argument(client.type_of(described, sent=True), is_needed=field in schema["required"])
        for field, described in schema["properties"].items()
        if field not in ("action", "id")
    }
    ids = [field for field in ("session_id", "turn_id") if field in arguments]
    named = [f"{field}: {type_}" for field, type_ in arguments.items() if field not in ids]
    signature = _signature(name, [f"{field}: int" for field in ids], named, "AsyncGenerator[TurnEvent]")
    sent = f'{{"action": "{name}", {_dictionary(arguments)[1:]}'
    return f"{signature}\n{_doc(schema['description'])}\n        return self._events(given({sent}))\n"


def files(contract: Json, live_contract: Json) -> dict[str, str]:
    """The generated modules by name, formatted like the rest of the repository."""
    client = Client(contract)
    models = "\n\n".join([MODELS_HEAD, *client.models()])
    methods = "\n".join(
        text
        for method in client.methods
        for text in (_method_text(method), *([_iterator_text(method)] if method.item else []))
    )
    head = f'''"""One method for each operation. {WRITTEN_BY}"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from practice_client.models import {", ".join(sorted(client.used))}
from practice_client.transport import UNSET, Items, Transport, Unset


class Client(Transport):
'''
    live = live_messages(live_contract, sorted(client.used))
    return {
        "models.py": _formatted(models, "models.py"),
        "client.py": _formatted(head + methods, "client.py"),
        "live_messages.py": _formatted(live, "live_messages.py"),
    }


def _formatted(text: str, name: str) -> str:
    for arguments in (["check", "--quiet", "--fix-only", "--select", "F401,I"], ["format"]):
        command = [sys.executable, "-m", "ruff", *arguments, "--stdin-filename", str(TARGET / name), "-"]
        text = subprocess.run(
            command, input=text, check=True, capture_output=True, text=True, cwd=ROOT
        ).stdout
    return text


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        print("usage: python -m tools.python_client [--check]", file=sys.stderr)
        return 2
    made = files(json.loads(CONTRACT.read_text()), json.loads(LIVE_CONTRACT.read_text()))
    if not arguments:
        for name, text in made.items():
            (TARGET / name).write_text(text)
        return 0
    stale = [
        name
        for name, text in made.items()
        if not (TARGET / name).exists() or (TARGET / name).read_text() != text
    ]
    for name in stale:
        print(
            f"{(TARGET / name).relative_to(ROOT)} is outdated: run `make openapi`",
            file=sys.stderr,
        )
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
