"""`python -m tools.asyncapi`: write asyncapi.json from the schemas of the live API's messages; `--check` compares.

AsyncAPI 3: one channel, an operation for each action that a client sends and one for what it is sent.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from practice import limits
from practice.live.handshake import BEARER, PROTOCOL
from practice.schemas.live import ClientMessage, ServerMessage

Json = dict[str, Any]

ROOT: Final = Path(__file__).resolve().parent.parent
TARGET: Final = ROOT / "asyncapi.json"
VERSION: Final = "1.0.0"
DESCRIPTION: Final = f"""\
Turns, shown while they are written. A message is JSON text of at most {limits.LIVE_MESSAGE_BYTES // 1024} KB. A larger one \
closes the connection with 1009, a binary one with 1003.

The token comes in the header `Authorization: Bearer <token>`, or for browsers in the subprotocols \
`{PROTOCOL}, {BEARER}<token>`, answered with `{PROTOCOL}`. A handshake that is refused is answered \
with 401, 403 (origin), 429 or 503.

The `id` of a client's message is in every message about it. Deltas come in order without a gap, and those since the last \
`answer.restarted` are the stored text, joined."""

SENT: Final[tuple[type[BaseModel], ...]] = get_args(ClientMessage)
RECEIVED: Final[tuple[type[BaseModel], ...]] = get_args(ServerMessage)


def document() -> Json:
    _, schemas = models_json_schema(
        [(model, "validation") for model in SENT] + [(model, "serialization") for model in RECEIVED],
        ref_template="#/components/schemas/{model}",
    )
    components = {name: _without_titles(schema) for name, schema in sorted(schemas["$defs"].items())}
    for name in _reached(components, [model.__name__ for model in RECEIVED]):
        # pydantic lists what has a default as optional; every field of what is sent is there.
        if "properties" in components[name]:
            components[name]["required"] = list(components[name]["properties"])
    channel = "#/channels/live"
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Practice live API", "version": VERSION, "description": DESCRIPTION},
        "defaultContentType": "application/json",
        "servers": {
            "local": {"host": "127.0.0.1:3000", "pathname": "/live", "protocol": "ws"},
            "deployed": {
                "host": "{host}",
                "pathname": "/live",
                "protocol": "wss",
                "description": "The output LiveUrl of the stack; at a custom domain without the path.",
                "variables": {"host": {"default": "example.execute-api.us-east-1.amazonaws.com"}},
                "security": [{"$ref": "#/components/securitySchemes/bearer"}],
            },
        },
        "channels": {
            "live": {
                "address": "/",
                "messages": {
                    model.__name__: {"$ref": f"#/components/messages/{model.__name__}"}
                    for model in (*SENT, *RECEIVED)
                },
                "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
            }
        },
        "operations": {
            **{
                action_of(model): {
                    "action": "receive",
                    "channel": {"$ref": channel},
                    "summary": _summary(model),
                    "messages": [{"$ref": f"{channel}/messages/{model.__name__}"}],
                }
                for model in SENT
            },
            "events": {
                "action": "send",
                "channel": {"$ref": channel},
                "summary": "What happens in the turns that a client runs or follows.",
                "messages": [{"$ref": f"{channel}/messages/{model.__name__}"} for model in RECEIVED],
            },
        },
        "components": {
            "messages": {
                model.__name__: {
                    "name": action_of(model) if model in SENT else type_of(model),
                    "summary": _summary(model),
                    "payload": {"$ref": f"#/components/schemas/{model.__name__}"},
                }
                for model in (*SENT, *RECEIVED)
            },
            "schemas": components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def _without_titles(schema: Json) -> Json:
    """pydantic derives them from the names of fields."""
    kept: Json = {}
    for name, value in schema.items():
        if name == "properties":
            kept[name] = {field: _without_titles(each) for field, each in value.items()}
        elif isinstance(value, dict):
            kept[name] = _without_titles(value)
        elif isinstance(value, list):
            kept[name] = [_without_titles(each) if isinstance(each, dict) else each for each in value]
        elif name != "title":
            kept[name] = value
    return kept


def _reached(components: Json, names: list[str]) -> set[str]:
    """Those names, and the schemas that theirs refer to."""
    found: set[str] = set()
    while names:
        name = names.pop()
        if name not in found:
            found.add(name)
            names += re.findall(r"#/components/schemas/(\w+)", json.dumps(components[name]))
    return found


def action_of(model: type[BaseModel]) -> str:
    return str(get_args(model.model_fields["action"].annotation)[0])


def type_of(model: type[BaseModel]) -> str:
    return str(model.model_fields["type"].default)


def _summary(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").partition("\n")[0]


def main(arguments: list[str]) -> int:
    text = json.dumps(document(), indent=2, ensure_ascii=False) + "\n"
    if "--check" in arguments:
        if not TARGET.exists() or TARGET.read_text(encoding="utf-8") != text:
            print("asyncapi.json is outdated: run `make openapi`", file=sys.stderr)
            return 1
        return 0
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
