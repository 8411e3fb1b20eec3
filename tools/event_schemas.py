"""`python -m tools.event_schemas`: write docs/events/*.json from the schemas of the events; `--check` compares.

There is one JSON Schema for the detail of each inbound and outbound event, and one for the messages of the ingestion queue.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from practice.events import catalogue, ingestion, outbound, users

ROOT: Final = Path(__file__).resolve().parent.parent
TARGET: Final = ROOT / "docs" / "events"
TAKEN: Final[tuple[type[BaseModel], ...]] = (
    catalogue.ClassUpdated,
    catalogue.AgentUpdated,
    catalogue.AgentDeleted,
    users.UserErased,
    users.TokensRevoked,
    ingestion.IngestedResponse,
)


def schemas() -> Iterator[tuple[str, dict[str, Any]]]:
    for taken in TAKEN:
        yield taken.__name__, _schema(taken.model_json_schema(mode="validation"))
    for event in outbound.EVENTS:
        yield event.__name__, _schema(event.model_json_schema(mode="serialization"))


def _schema(made: dict[str, Any]) -> dict[str, Any]:
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


def main(arguments: list[str]) -> int:
    wanted = {f"{name}.json": json.dumps(schema, indent=2) + "\n" for name, schema in schemas()}
    TARGET.mkdir(exist_ok=True)
    stale = {path.name for path in TARGET.glob("*.json")} - wanted.keys()
    stale |= {
        name
        for name, text in wanted.items()
        if not (TARGET / name).exists() or (TARGET / name).read_text() != text
    }
    if "--check" in arguments:
        for name in sorted(stale):
            print(f"docs/events/{name} is outdated: run `make openapi`", file=sys.stderr)
        return 1 if stale else 0
    for name in stale - wanted.keys():
        (TARGET / name).unlink()
    for name, text in wanted.items():
        (TARGET / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
