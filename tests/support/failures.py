"""A failing test shows the functions' log of the failing request alone; `--full-log` shows every request's."""

import json
from collections.abc import Generator
from typing import Any

import pytest

LOGGER = "practice-api"
NOT_SHOWN = {"_aws", "location", "service", "stage", "lambda_request_id", "cold_start"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--full-log",
        action="store_true",
        help="with a failing test, show the functions' log of every request",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and not item.config.getoption("--full-log"):
        report.sections = [section for each in report.sections if (section := shortened(*each))[1]]
    return report


def shortened(title: str, text: str) -> tuple[str, str]:
    """The section without the log of earlier requests."""
    lines = text.splitlines()
    if " log" in title:  # the messages of the lines that standard output has in full
        return title, "\n".join(line for line in lines if f" {LOGGER}:" not in line)
    parsed = [log_line(line) for line in lines]
    ends = [number for number, line in enumerate(parsed) if line and line["message"] == "invocation"]
    start = ends[-2] + 1 if len(ends) > 1 else 0
    kept = [line for line, record in zip(lines[:start], parsed[:start], strict=True) if record is None]
    if start:
        kept.append(f"({len(ends) - 1} earlier requests: --full-log shows their log)")
    for line, record in zip(lines[start:], parsed[start:], strict=True):
        kept.append(line if record is None else readable(record))
    return title, "\n".join(kept)


def log_line(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        record = json.loads(line)
    except ValueError:
        return None
    is_ours = isinstance(record, dict) and record.get("service") == LOGGER and "message" in record
    return record if is_ours else None


def readable(record: dict[str, Any]) -> str:
    shown = {name: value for name, value in record.items() if name not in NOT_SHOWN and value is not None}
    cause = shown.pop("cause", "")
    return json.dumps(shown, ensure_ascii=False) + (f"\n{cause}" if cause else "")
