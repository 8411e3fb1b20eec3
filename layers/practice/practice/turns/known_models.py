"""Limits of common public models, whoever serves them. The deployment's configuration overrides each."""

import re
from typing import Any, Final

_CLAUDE: Final = {"max_temperature": 1.0}
_CLAUDE_4: Final = {"max_temperature": 1.0, "one_of": ["temperature", "top_p"]}
_REASONING: Final = {"cap_name": "max_completion_tokens", "omits": ["temperature", "top_p"]}

KNOWN: Final[dict[str, dict[str, Any]]] = {
    "claude-3-haiku": {"max_output_tokens": 4096, **_CLAUDE},
    "claude-3-sonnet": {"max_output_tokens": 4096, **_CLAUDE},
    "claude-3-opus": {"max_output_tokens": 4096, **_CLAUDE},
    "claude-3-5-haiku": {"max_output_tokens": 8192, **_CLAUDE},
    "claude-3-5-sonnet": {"max_output_tokens": 8192, **_CLAUDE},
    "claude-3-7-sonnet": {"max_output_tokens": 64_000, **_CLAUDE},
    "claude-sonnet-4": {"max_output_tokens": 64_000, **_CLAUDE},
    "claude-opus-4": {"max_output_tokens": 32_000, **_CLAUDE},
    "claude-opus-4-1": {"max_output_tokens": 32_000, **_CLAUDE_4},
    "claude-haiku-4-5": {"max_output_tokens": 64_000, **_CLAUDE_4},
    "claude-sonnet-4-5": {"max_output_tokens": 64_000, **_CLAUDE_4},
    "claude-opus-4-5": {"max_output_tokens": 64_000, **_CLAUDE_4},
    "gpt-3.5-turbo": {"max_output_tokens": 4096},
    "gpt-4": {"max_output_tokens": 8192},
    "gpt-4-turbo": {"max_output_tokens": 4096},
    "gpt-4o": {"max_output_tokens": 16_384},
    "gpt-4o-mini": {"max_output_tokens": 16_384},
    "gpt-4.1": {"max_output_tokens": 32_768},
    "gpt-4.1-mini": {"max_output_tokens": 32_768},
    "gpt-4.1-nano": {"max_output_tokens": 32_768},
    "gpt-5": {"max_output_tokens": 128_000, **_REASONING},
    "gpt-5-mini": {"max_output_tokens": 128_000, **_REASONING},
    "gpt-5-nano": {"max_output_tokens": 128_000, **_REASONING},
    "o1": {"max_output_tokens": 100_000, **_REASONING},
    "o3": {"max_output_tokens": 100_000, **_REASONING},
    "o3-mini": {"max_output_tokens": 100_000, **_REASONING},
    "o4-mini": {"max_output_tokens": 100_000, **_REASONING},
    "nova-micro": {"max_output_tokens": 5000, **_CLAUDE},
    "nova-lite": {"max_output_tokens": 5000, **_CLAUDE},
    "nova-pro": {"max_output_tokens": 5000, **_CLAUDE},
    "gemini-1.5-flash": {"max_output_tokens": 8192},
    "gemini-1.5-pro": {"max_output_tokens": 8192},
    "gemini-2.0-flash": {"max_output_tokens": 8192},
    "gemini-2.5-flash": {"max_output_tokens": 65_536},
    "gemini-2.5-pro": {"max_output_tokens": 65_536},
}


def limits_of(name: str) -> dict[str, Any]:
    """By the longest known name that stands in this one as whole words: `us.anthropic.claude-3-haiku-20240307-v1:0`."""
    found = [
        known for known in KNOWN if re.search(rf"(?<![a-z0-9]){re.escape(known)}(?![a-z0-9])", name.lower())
    ]
    return KNOWN[max(found, key=len)] if found else {}
