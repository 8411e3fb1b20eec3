"""The contract as it was generated: `openapi.json`, beside the package's rooms."""

import json
import re
from functools import lru_cache
from pathlib import Path


@lru_cache(maxsize=1)
def contract_text() -> str:
    return (Path(__file__).parent.parent / "openapi.json").read_text()


@lru_cache(maxsize=1)
def _routes() -> list[tuple[re.Pattern[str], list[str]]]:
    """A path that is spelled out comes before one with an id in the same place."""
    paths: dict[str, dict[str, object]] = json.loads(contract_text())["paths"]
    return [
        (
            re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path))),
            sorted(method.upper() for method in item),
        )
        for path, item in sorted(paths.items(), key=lambda each: each[0].count("{"))
    ]


def methods_of(path: str) -> list[str]:
    """The methods that the routes of a path take; none for an unknown path."""
    return next((methods for pattern, methods in _routes() if pattern.fullmatch(path)), [])
