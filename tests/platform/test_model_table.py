"""The table of models: every name follows the row of its own family and version."""

import json
import subprocess
import sys
from typing import Any

import pytest

from practice.turns import model_table
from practice.turns.model_table import known

SAMPLING = ["temperature", "top_p"]
TABLE = json.loads(model_table.FILE.read_text())
ROWS = [(family["family"], row) for family in TABLE["families"] for row in family["rows"]]


@pytest.mark.parametrize(
    ("name", "like"),
    [
        ("us.anthropic.claude-opus-4-7", "claude-opus-4-7"),
        ("eu.anthropic.claude-haiku-4-5-20251001-v1:0", "claude-haiku-4-5"),
        ("apac.anthropic.claude-sonnet-4-20250514-v1:0", "claude-sonnet-4"),
        ("global.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4.5"),
        (
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-opus-4-7",
            "claude-opus-4-7",
        ),
        (
            "arn:aws:bedrock:eu-west-1::foundation-model/anthropic.claude-3-haiku-20240307-v1:0",
            "claude-3-haiku",
        ),
        ("anthropic.claude-3-haiku-20240307-v1:0:200k", "claude-3-haiku"),
        ("claude-3-5-haiku@20241022", "claude-3-5-haiku"),
        ("claude-3-7-sonnet-latest", "claude-3-7-sonnet"),
        ("anthropic/claude-opus-4.1", "claude-opus-4-1"),
        ("openai/gpt-4.1-mini-2025-04-14", "gpt-4.1-mini"),
        ("gpt-4-0613", "gpt-4"),
        ("gpt-4-1106-preview", "gpt-4-turbo"),
        ("openrouter/openai/o4-mini", "o4-mini"),
        ("gpt-35-turbo", "gpt-3.5-turbo"),
        ("us.amazon.nova-lite-v1:0", "nova-lite"),
        ("amazon.nova-2-lite-v1:0", "nova-2-lite"),
        ("us.meta.llama3-1-8b-instruct-v1:0", "meta.llama3-1-8b"),
        ("meta-llama/Llama-3.1-8B-Instruct", "llama-3.1"),
        ("llama3.1:8b", "llama-3.1"),
        ("mistral.mistral-large-2407-v1:0", "mistral-large-2407"),
        ("Qwen/Qwen3-8B", "qwen3"),
        ("models/gemini-2.5-flash", "gemini-2.5-flash"),
    ],
)
def test_prefixes_paths_and_snapshots_lead_to_the_models_own_row(name: str, like: str) -> None:
    found, expected = known(name), known(like)
    found.pop("prices", None)
    expected.pop("prices", None)

    assert found == expected
    assert found


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("gpt-4o-2024-05-13", {"max_output_tokens": 4096}),
        ("gpt-4o", {"max_output_tokens": 16_384}),
        ("anthropic.claude-3-5-sonnet-20240620-v1:0", {"max_output_tokens": 4096}),
        ("anthropic.claude-3-5-sonnet-20241022-v2:0", {"max_output_tokens": 8192}),
        ("claude-3-haiku-20240307", {"max_output_tokens": 4096, "max_temperature": 1.0}),
        ("gpt-4", {"context_window": 8192}),
        ("claude-sonnet-4-5", {"one_of": SAMPLING}),
        ("claude-opus-4-6", {"one_of": SAMPLING}),
        ("claude-opus-4-7", {"omits": SAMPLING}),
        ("claude-haiku-5-5", {"omits": SAMPLING}),
        ("gpt-5-mini", {"cap_name": "max_completion_tokens", "thinking_tokens": 25_000}),
        ("gpt-5.4", {"thinking_omits": SAMPLING}),
        ("o1-mini", {"omits": [*SAMPLING, "stop", "presence_penalty", "frequency_penalty", "system"]}),
        ("amazon.titan-text-express-v1", {"omits": ["system"]}),
        ("mistral.mistral-7b-instruct-v0:2", {"omits": ["system"]}),
        ("deepseek-reasoner", {"thinking_tokens": 32_768}),
        ("deepseek-r1-distill-llama-8b", {"thinking_tokens": 8192}),
        ("qwen3-235b-a22b-instruct-2507", {"context_window": 262_144}),
    ],
)
def test_a_model_has_the_facts_of_its_row(name: str, fields: dict[str, Any]) -> None:
    found = known(name)

    assert {key: found.get(key) for key in fields} == fields


@pytest.mark.parametrize(
    ("newer", "newest_known"),
    [
        ("us.anthropic.claude-opus-6-20270301-v1:0", "claude-opus-5-5"),
        ("claude-opus-4-9", "claude-opus-4-8"),
        ("claude-sonnet-7", "claude-sonnet-5-5"),
        ("claude-haiku-9", "claude-haiku-5-5"),
        ("gpt-5.9", "gpt-5.6"),
        ("gpt-7-mini", "gpt-5.4-mini"),
        ("gpt-9-zenith", "gpt-6"),
        ("o7", "o3"),
        ("o9-mini-2027-01-01", "o4-mini"),
        ("amazon.nova-3-pro-v1:0", "nova-2-pro"),
        ("gemini-4-flash", "gemini-3.8-flash"),
        ("meta.llama5-8b-instruct-v1:0", "meta.llama4"),
        ("mistral-large-2701", "mistral-large-2512"),
        ("claude-zenith-1", "claude"),
    ],
)
def test_a_newer_version_follows_the_newest_rule_of_its_family(newer: str, newest_known: str) -> None:
    rule = known(newest_known)
    rule.pop("prices", None)

    assert known(newer) == rule, "without its prices, which are not known"


@pytest.mark.parametrize(
    "name", ["", "house-model", "echo", "solo1", "foo3", "supernova-lite9", "not-a-model"]
)
def test_of_another_name_nothing_is_known(name: str) -> None:
    assert known(name) == {}


@pytest.mark.parametrize(
    ("name", "prices"),
    [
        ("claude-opus-4-7", ("5", "25")),
        ("global.anthropic.claude-opus-4-7", ("5", "25")),
        ("us.anthropic.claude-opus-4-7", ("5.5", "27.5")),
        ("anthropic.claude-3-haiku-20240307-v1:0", ("0.25", "1.25")),
        ("gpt-4o-mini-2024-07-18", ("0.15", "0.6")),
        ("meta.llama3-1-8b-instruct-v1:0", ("0.22", "0.22")),
        ("gpt-5-pro", None),
        ("gpt-5.7", None),
        ("llama3.1:8b", None),
    ],
)
def test_prices_are_those_of_the_model_itself_or_unknown(name: str, prices: tuple[str, str] | None) -> None:
    found = known(name).get("prices")

    assert (found and (found["prompt"], found["completion"])) == prices


@pytest.mark.parametrize("row", [*(row for _, row in ROWS), *TABLE["rules"].values()], ids=lambda _: "")
def test_every_row_names_its_source_and_its_date(row: dict[str, Any]) -> None:
    assert row["source"]
    assert all(source.startswith("https://") for source in row["source"])
    assert row["date"] >= "2026-11-28"


def test_rows_are_in_the_order_of_their_versions() -> None:
    for family in TABLE["families"]:
        versions = [model_table._parsed(row.get("version", "")) for row in family["rows"]]
        assert versions == sorted(versions), family["family"]
        assert len(set(versions)) == len(versions), family["family"]
        assert all(versions) or len(versions) == 1, family["family"]


def test_the_table_is_read_when_it_is_first_needed() -> None:
    program = (
        "import practice.turns.model_table as table\n"
        "assert table._table.cache_info().currsize == 0\n"
        "table.known('gpt-5')\n"
        "assert table._table.cache_info().currsize == 1\n"
        "assert table._pattern.cache_info().currsize < 40\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=model_table.FILE.parents[2], timeout=60)
