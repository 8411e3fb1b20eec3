"""docs/limits.md and the class in docs/runbook.md: computed from what is measured, and complete."""

import json
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest

from local.intrinsics import parse
from local.stack import Stack
from practice import limits
from practice.store import accounts
from practice.table import ids
from practice.turns import configuration
from tests.support import deliveries
from tests.support.learners import Learner
from tests.support.lists import assert_complete
from tests.support.providers import FakeProvider, replies
from tools import capacity
from tools.capacity import Figures, Load, Units

READS = {"Query", "BatchGetItem"}
ANSWER = " ".join(f"word{number}" for number in range(200))[:1200]


@pytest.mark.parametrize("block", capacity.BLOCKS)
def test_the_tables_of_the_pages_are_as_computed(block: str) -> None:
    path, table = capacity.BLOCKS[block]
    page = (capacity.ROOT / path).read_text()

    assert capacity.written(page, block, table(Figures.read())) == page, "python -m tools.capacity --write"


@pytest.fixture
def two_models(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with FakeProvider() as fake:
        fake.plays = {"a": replies(ANSWER), "b": replies(ANSWER)}
        models = {"*": {"provider": "openai", "base_url": f"{fake.url}/v1"}}
        monkeypatch.setenv("MODELS", json.dumps(models))
        configuration.clear_cache()
        yield
        monkeypatch.undo()
        configuration.clear_cache()


@pytest.mark.usefixtures("two_models")
def test_a_turn_asks_of_the_table_what_the_arithmetic_expects(
    ada: Learner,
    stack: Stack,
    announce: Callable[..., Any],
    requests_to_table: Callable[[], Any],
    needs: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needs("capacity")
    monkeypatch.setattr(accounts, "REMEMBERED_SECONDS", 3600.0)
    delivered = deliveries.of(stack)

    def units(call: Callable[[], object]) -> Units:
        with requests_to_table() as requests:
            call()
        read = sum(spent for operation, spent in requests if operation in READS)
        return Units(read, sum(spent for _, spent in requests) - read)

    ids.clear_lease()  # of sixteen, of which this test takes few
    announce(ada.user_id, "a", "b")
    ada.get("/sessions")
    examples = [ada.add_example(input_text="x" * 200, output_text="y" * 400)["example_id"] for _ in range(5)]
    delivered.run()
    opened: list[int] = []

    def run() -> None:
        body = {"prompt_text": "p" * 300, "few_shot_example_ids": examples}
        answer = ada.post(f"/sessions/run?class_id={ada.user_id}", body)
        assert len(answer.json["results"]) == 2
        opened.append(answer.json["session_id"])

    def chat() -> None:
        answer = ada.post(f"/sessions/{opened[0]}/chat", {"prompt_text": "p" * 300})
        assert len(answer.json["results"]) == 2

    ada.open_session(class_id=ada.user_id)  # takes the lease that /run has its id from
    delivered.run()
    first = units(run)
    after_the_first = units(delivered.run)
    for _ in range(9):
        chat()
        delivered.run()
    before = len(stream_records(stack))
    turn = units(chat)
    records = len(stream_records(stack)) - before
    after = units(delivered.run)

    assert (first, turn, after) == (capacity.FIRST_TURN, capacity.TURN, capacity.AFTER_A_TURN)
    assert records == capacity.RECORDS
    title = Units(*(both - one for both, one in zip(after_the_first, after, strict=True)))
    assert title == capacity.TITLE


def stream_records(stack: Stack) -> list[Any]:
    """All of the table's stream so far."""
    table = stack.engine.client().describe_table(TableName=stack.template.table["TableName"])["Table"]
    streams, arn = stack.engine.streams(), table["LatestStreamArn"]
    [shard] = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]
    iterator = streams.get_shard_iterator(
        StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]
    found: list[Any] = []
    while True:
        page = streams.get_records(ShardIterator=iterator, Limit=1000)
        found += page["Records"]
        if not page["Records"]:
            return found
        iterator = page["NextShardIterator"]


def test_twice_the_learners_ask_twice_as_much() -> None:
    figures = Figures.read()
    one, two = Load(5_000, figures), Load(10_000, figures)

    assert two.requests == pytest.approx(2 * one.requests)
    assert two.units.write == pytest.approx(2 * one.units.write)
    assert sum(two.dollars().values()) == pytest.approx(2 * sum(one.dollars().values()), rel=0.01)


def test_the_workers_of_queues_leave_executions_to_those_who_wait() -> None:
    declared = parse((capacity.ROOT / "template.yaml").read_text())["Resources"]
    of_queues = [
        each["Properties"]
        for each in declared.values()
        if each["Type"] == "AWS::Lambda::EventSourceMapping"
        and declared[each["Properties"]["EventSourceArn"]["Fn::GetAtt"][0]]["Type"] == "AWS::SQS::Queue"
    ]
    together = sum(each["ScalingConfig"]["MaximumConcurrency"] for each in of_queues)

    assert together < 0.6 * 1_000
    assert f"together take {together} executions" in (capacity.ROOT / "docs/limits.md").read_text()


ROWS = {
    "MAX_ID": "an id",
    "MAX_KNOWLEDGE_ID": "knowledge id",
    "TITLE_CHARACTERS": "title, notes, model name",
    "GENERATED_TITLE_CHARACTERS": "title that a model writes",
    "NOTES_CHARACTERS": "title, notes, model name",
    "KNOWLEDGE_IDS": "knowledge ids; ids sent in an array",
    "SENT_IDS": "knowledge ids; ids sent in an array",
    "MODEL_NAME_CHARACTERS": "title, notes, model name",
    "PROMPT_BYTES": "prompt",
    "RESPONSE_BYTES": "response text",
    "RESPONSE_JSON_BYTES": "response text",
    "EXAMPLE_BYTES": "an example's two texts",
    "SELECTED_EXAMPLES": "examples of a selection",
    "SELECTION_BYTES": "examples of a selection",
    "OBJECT_BYTES": "free-form object",
    "OBJECT_DEPTH": "free-form object",
    "SESSION_MODELS": "models of a session",
    "MODELS_BYTES": "models of a session",
    "TURN_MODELS": "models of a turn",
    "SESSION_IDS": "ids of a session over its life",
    "USAGE_DAYS": "days of usage",
    "DEFAULT_USAGE_DAYS": "days of usage",
    "CONNECTIONS": "live connections of a user",
    "FOLLOWERS": "followers of a turn",
    "LIVE_ID_CHARACTERS": "`id` of a live message",
    "LIVE_MESSAGE_BYTES": "a live message",
    "DELTA_BYTES": "a live message",
    "FOLLOWER_BACKLOG_BYTES": "followers of a turn",
    "LIVE_TITLE_CHARACTERS": "a live message",
    "PAGE_SIZE": "page",
    "MAX_PAGE_SIZE": "page",
    "EXPANDED_PAGE_SIZE": "page",
    "FUNCTION_RESULT_BYTES": "an HTTP response",
    "BODY_BYTES": "an HTTP response",
    "PROBLEMS": "problems in a 422",
    "PROBLEM_NAME_CHARACTERS": "problems in a 422",
    "TOKEN_CHARACTERS": "token",
    "IDEMPOTENCY_KEY_CHARACTERS": "`Idempotency-Key`",
    "DEDUP_ID_CHARACTERS": "`dedup_id` of a message",
    "RATING_TAGS": "tags of a rating, its comment",
    "TAG_CHARACTERS": "tags of a rating, its comment",
    "COMMENT_CHARACTERS": "tags of a rating, its comment",
    "JUDGED_ANSWERS": "answers that a vote compares",
    "CLASS_VOTERS": "voters of a class",
    "COMPARED_MODELS": "models that the votes of a user compare in a class",
    "COMPARED_BYTES": "models that the votes of a user compare in a class",
}
"""The row of docs/limits.md that has each constant."""


ELSEWHERE = {
    "runtime.deadline.LONGEST_SECONDS": ("a request", "29 seconds"),
    "turns.worker.MARGIN_SECONDS": ("a request", "3 seconds"),
    "store.connections.LONGEST_SECONDS": ("live connections of a user", "2 hours"),
    "turns.run.POLL_SECONDS": ("followers of a turn", "1 second"),
    "table.TIMEOUT_SECONDS": ("contention for one object", "8 seconds"),
    "store.accounts.REMEMBERED_SECONDS": ("a revoked token", "50 seconds"),
    "runtime.secrets.LIFETIME_SECONDS": ("a secret that was rotated", "5 minutes"),
    "http.jwks.FRESH_SECONDS": ("a key set", "10 minutes"),
    "http.jwks.STALE_SECONDS": ("a key set", "60 minutes"),
    "http.jwks.MAX_BYTES": ("a key set", "256 KB"),
    "store.erasures.RECEIPT_SECONDS": ("the receipt of an erasure", "400 days"),
    "store.responses.INGESTED_SECONDS": ("a `dedup_id`", "30 days"),
    "turns.providers.openai.ANSWER_BYTES": ("what a provider sends", "8 MB"),
    "turns.knowledge.TOP_K": ("excerpts of a knowledge base", "5"),
    "turns.knowledge.EXCERPT_CHARACTERS": ("excerpts of a knowledge base", "2,000 characters"),
    "turns.knowledge.TIMEOUT_SECONDS": ("excerpts of a knowledge base", "4 seconds"),
    "transfers.export_jobs.AT_ONCE_SECONDS": ("an export or import at once", "15 seconds"),
    "transfers.import_jobs.LINES_AT_ONCE": ("an export or import at once", "1,000 lines"),
    "transfers.jobs.KEPT": ("a job of that kind", "24 hours"),
    "transfers.import_jobs.FILE_BYTES": ("a job of that kind", "1 GB"),
    "transfers.claims.CLAIM_SECONDS": ("the claim of an import", "60 seconds"),
    "transfers.files.LINK_SECONDS": ("a link to a file", "60 minutes"),
}
"""The same of constants in other modules, with the words of the page."""
UNITS = {
    "second": 1,
    "seconds": 1,
    "minutes": 60,
    "hours": 3600,
    "days": 86400,
    "KB": 1024,
    "MB": 1024**2,
    "GB": 1024**3,
    "lines": 1,
    "characters": 1,
}


@pytest.mark.parametrize("constant", ELSEWHERE)
def test_the_page_has_the_limits_of_other_modules(constant: str) -> None:
    module, _, name = constant.rpartition(".")
    value = getattr(import_module(f"practice.{module}"), name)
    row, words = ELSEWHERE[constant]
    number, _, unit = words.replace(",", "").partition(" ")
    page = (capacity.ROOT / "docs/limits.md").read_text().partition("## Own limits")[2]
    reported = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|", page, re.MULTILINE))[row]

    assert re.search(rf"(?<![\d,.]){re.escape(words)}(?![\d,.]\d)", reported)
    assert int(number) * UNITS.get(unit, 1) == (value.total_seconds() if name == "KEPT" else value)


def spelled(value: int) -> set[str]:
    """How a page may write a number."""
    forms = {f"{value:,}"}
    if value % limits.KB == 0:
        forms |= {f"{value // limits.KB:,} KB", f"{value // limits.KB**2} MB"}
    if value % 100_000 == 0:
        forms.add(f"{value / 1e6:g} MB")
    return forms | {2**53 - 1: {"2^53-1"}, 2**63: {"2^63"}}.get(value, set())


def test_the_page_has_every_limit_with_its_value() -> None:
    values = {name: value for name, value in vars(limits).items() if name.isupper() and name != "KB"}
    page = (capacity.ROOT / "docs/limits.md").read_text().partition("## Own limits")[2]
    rows = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|", page, re.MULTILINE))

    assert_complete(ROWS, values, "ROWS, and its value to `Own limits` of docs/limits.md")
    for name, row in ROWS.items():
        pattern = "|".join(rf"(?<![\d,.]){re.escape(form)}(?![\d,.]\d)" for form in spelled(values[name]))
        assert re.search(pattern, rows[row]), f"{name} = {values[name]:,} is not in the row of {row}"
